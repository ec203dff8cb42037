"""`sutazai serve`: the whole product in one process."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop
from rich.text import Text

from sutazai.bootstrap import Application, running
from sutazai.cli.listener import Listener, open_socket, url_of
from sutazai.cli.output import err, printable
from sutazai.cli.serving import Serving, noted
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.settings import Settings, load
from sutazai.telemetry import configure_logging

_CANNOT_START = 1
_STOPPED_AT_ONCE = 130


def serve(**flags: Any) -> None:
    """Run until SIGINT or SIGTERM; exit code 1 with one clear line when it cannot start."""
    try:
        settings = load(**flags)
        configure_logging(settings.log_level)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except SutazaiError as error:
        err().print(
            Text("sutazai cannot start: ", "red") + Text(printable(error.message)), soft_wrap=True
        )
        sys.exit(_CANNOT_START)
    except asyncio.CancelledError:
        # Asked to stop before it was up: there is nothing to finish.
        return


async def _serve(settings: Settings) -> None:
    stopping = _Stopping(settings)
    workspace = _checked(settings.workspace)
    with open_socket(settings.host, settings.port) as opened:
        async with running(settings) as application:
            listener = Listener(application, settings)
            serving = asyncio.create_task(listener.serve(sockets=[opened]))
            up = asyncio.create_task(listener.up.wait())
            await asyncio.wait((serving, up), return_when=asyncio.FIRST_COMPLETED)
            up.cancel()
            stopping.listener = listener
            url = url_of(opened, settings.host)
            with noted(settings.data_dir, Serving(url, workspace)):
                _welcome(settings, application, url, workspace)
                await serving


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
        err().print(
            f"Stopping: running tasks have {self._settings.drain_seconds:g} s to finish, then they "
            "wait for the next start. Ctrl-C again stops at once.",
            soft_wrap=True,
        )
        self.listener.stop()


def _checked(workspace: Path) -> Path:
    real = workspace.resolve()
    if not real.is_dir() or not os.access(real, os.R_OK | os.X_OK):
        raise SutazaiError(
            ErrorCode.VALIDATION_ERROR,
            f"The workspace {workspace} is not a folder that can be read. Choose another with "
            "--workspace.",
        )
    return real


def _welcome(settings: Settings, application: Application, url: str, workspace: Path) -> None:
    console = err()
    console.print(Text("SutazAI", "bold green") + Text(" is up at ") + Text(url, "bold"))
    state = "PostgreSQL" if settings.database_url else printable(str(settings.data_dir.resolve()))
    lines = [
        ("Workspace", printable(str(workspace))),
        ("State", state),
        ("API", f"{url}/docs"),
        ("Log in", f"sutazai login {url}"),
    ]
    if not settings.agents:
        lines.append(("Agents", "none in this process (--no-agents)"))
    for name, value in lines:
        console.print(Text(f"  {name:<10}", "dim") + Text(value), soft_wrap=True)
    if application.admin_password is not None:
        console.print(
            Text("  First start: the user ")
            + Text("admin", "bold")
            + Text(" has the password ")
            + Text(application.admin_password, "bold")
            + Text(" (shown this once)"),
            soft_wrap=True,
        )
