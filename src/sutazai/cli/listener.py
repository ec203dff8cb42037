"""The HTTP server on a socket of ours, so that starting and stopping are in our hands."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import uvicorn

from sutazai.bootstrap import Application, running
from sutazai.cli.http import HttpProtocol
from sutazai.cli.serving import Serving, noted
from sutazai.cli.wire import WireProtocol
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.settings import Settings

_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104  # compared with, not bound to
_LOOPBACK = ("127.0.0.1", "::1")
_LONGEST_MESSAGE = 1024 * 1024


class Up(NamedTuple):
    """A server that is listening."""

    url: str
    workspace: Path
    application: Application
    listener: "Listener"


@contextlib.asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[Up]:
    """Start a server, and leave its note; the block's end waits until it was told to stop.

    SutazaiError where it cannot start.
    """
    workspace = _checked(settings.workspace)
    with open_socket(settings.host, settings.port) as opened:
        async with running(settings) as application:
            listener = Listener(application, settings)
            serving = asyncio.create_task(listener.serve(sockets=[opened]))
            up = asyncio.create_task(listener.up.wait())
            await asyncio.wait((serving, up), return_when=asyncio.FIRST_COMPLETED)
            up.cancel()
            url = url_of(opened, settings.host)
            with noted(settings.data_dir, Serving(url, workspace)):
                yield Up(url, workspace, application, listener)
                await serving


def _checked(workspace: Path) -> Path:
    real = workspace.resolve()
    if not real.is_dir() or not os.access(real, os.R_OK | os.X_OK):
        raise SutazaiError(
            ErrorCode.VALIDATION_ERROR,
            f"The workspace {workspace} is not a folder that can be read. Choose another with "
            "--workspace.",
        )
    return real


def open_socket(host: str, port: int) -> socket.socket:
    """Bound, not yet listening; SutazaiError says why an address cannot be had."""
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
    except OSError as error:
        opened.close()
        raise _cannot_listen(host, port, error) from error
    return opened


def _cannot_listen(host: str, port: int, error: OSError) -> SutazaiError:
    if error.errno == errno.EADDRINUSE:
        code = ErrorCode.CONFLICT
        message = f"Port {port} on {host} is in use by another program. Choose one with --port."
    elif error.errno in (errno.EACCES, errno.EPERM):
        code = ErrorCode.FORBIDDEN
        message = f"Port {port} may not be used without privileges. Choose another with --port."
    else:
        code = ErrorCode.VALIDATION_ERROR
        message = (
            f"This machine cannot listen on {host!r}: {error.strerror}. Choose an address of its "
            "own with --host."
        )
    return SutazaiError(code, message)


def url_of(opened: socket.socket, host: str) -> str:
    """Where a browser on this machine finds it."""
    name = "localhost" if host in (*_EVERYWHERE, *_LOOPBACK) else host
    if ":" in name:
        name = f"[{name}]"
    return f"http://{name}:{opened.getsockname()[1]}"


class Listener(uvicorn.Server):
    """Serves an application on a socket; leaves the signals to whoever started it."""

    def __init__(self, application: Application, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                application.app,
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=10,
                http=HttpProtocol,
                ws=WireProtocol,
                ws_max_size=_LONGEST_MESSAGE,
                # Compressed, every event would have to be encoded anew for every subscriber.
                ws_per_message_deflate=False,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=list(settings.trusted_proxies),
            )
        )
        self._services = application.services
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so through `up`."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: uvicorn would end the process by the signal before running tasks are drained."""
        yield

    def stop(self) -> None:
        """Finish what is being answered, end what would go on for ever, return from `serve`."""
        self._services.streams.close()
        self._services.tasks.end_waits()
        self._services.workflows.executions.end_waits()
        self._services.assignments.end_waits()
        self.should_exit = True
