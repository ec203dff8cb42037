"""A whole server in a thread of this process, for as long as a command needs one."""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Iterator

import structlog

from sutazai.cli.listener import Listener, listening
from sutazai.settings import Settings
from sutazai.telemetry.logs import configure_logging


@contextlib.contextmanager
def embedded_server(settings: Settings) -> Iterator[str]:
    """The URL of a server with these settings; it is gone when the block ends, however it ends."""
    if not structlog.is_configured():
        configure_logging(settings.log_level, log_format=settings.log_format)
    ready: concurrent.futures.Future[_Running] = concurrent.futures.Future()

    def run() -> None:
        try:
            # Not uvloop: its child processes want the main thread.
            asyncio.run(_serve(settings, ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=run, name="embedded-server")
    thread.start()
    try:
        yield ready.result().url
    finally:
        # Also where Ctrl-C came while it was still starting: it can be told once it is up.
        with contextlib.suppress(Exception):
            ready.result().stop()
        thread.join()


class _Running:
    """What the other thread needs of a server that is up."""

    def __init__(self, url: str, listener: Listener) -> None:
        self.url = url
        self._listener = listener
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """Ask the server to end; safe from any thread."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._listener.stop)


async def _serve(settings: Settings, ready: "concurrent.futures.Future[_Running]") -> None:
    async with listening(settings) as up:
        ready.set_result(_Running(up.url, up.listener))
