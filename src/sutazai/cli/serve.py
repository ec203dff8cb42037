"""`sutazai serve`: the whole product in one process."""

import asyncio
import gc
import os
import signal
from typing import Any

import uvloop
from rich.text import Text

from sutazai.cli.failures import Failure, told
from sutazai.cli.listener import Listener, Up, listening
from sutazai.cli.output import err, printable
from sutazai.errors import SutazaiError
from sutazai.settings import Settings, load, slips
from sutazai.telemetry.logs import configure_logging

_STOPPED_AT_ONCE = 130


def serve(**flags: Any) -> None:
    """Run until SIGINT or SIGTERM; Failure with one clear line when it cannot start.

    Garbage is collected from when the server is up.
    """
    try:
        settings = load(**flags)
        configure_logging(settings.log_level, log_format=settings.log_format)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except SutazaiError as error:
        raise Failure(f"sutazai cannot start: {told(error)}") from error
    except asyncio.CancelledError:
        # Asked to stop before it was up: there is nothing to finish.
        return


async def _serve(settings: Settings) -> None:
    stopping = _Stopping(settings)
    async with listening(settings) as up:
        stopping.listener = up.listener
        # What is there now stays out of every full collection, which would stop all requests.
        gc.freeze()
        gc.enable()
        _welcome(settings, up)


class _Stopping:
    """The first signal ends the server in good order, the second at once."""

    def __init__(self, settings: Settings) -> None:
        self.listener: Listener | None = None
        self._settings = settings
        self._asked = False
        self._starting = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self._asked:
            # Nothing that was acknowledged is lost: the next start goes on with it.
            os._exit(_STOPPED_AT_ONCE)
        self._asked = True
        if self.listener is None:
            assert self._starting is not None
            self._starting.cancel()
            return
        self.listener.stop()
        err().print(
            f"Stopping: running tasks have {self._settings.drain_seconds:g} s to finish, then they "
            "wait for the next start. Ctrl-C again stops at once.",
            soft_wrap=True,
        )


def _welcome(settings: Settings, up: Up) -> None:
    console = err()
    console.print(Text.assemble(("SutazAI", "bold green"), " is up at ", (up.url, "bold")))
    state = "PostgreSQL" if settings.database_url else printable(str(settings.data_dir.resolve()))
    lines = [
        ("Workspace", printable(str(up.workspace))),
        ("State", state),
        ("API", f"{up.url}/docs"),
        ("Log in", f"sutazai login {up.url}"),
    ]
    if not settings.agents:
        lines.append(("Agents", "none in this process (--no-agents)"))
    lines.append(("Stop", "Ctrl-C"))
    for name, value in lines:
        console.print(Text.assemble((f"  {name:<10}", "dim"), value), soft_wrap=True)
    for slip in slips():
        console.print(Text(printable(f"  {slip.problem}. {slip.remedy}"), "yellow"), soft_wrap=True)
    password = up.application.admin_password
    if password is not None:
        console.print(
            Text.assemble(
                "  First start: the user ",
                ("admin", "bold"),
                " has the password ",
                (password, "bold"),
                " (shown this once)",
            ),
            soft_wrap=True,
        )
