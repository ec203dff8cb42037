"""The real sandbox; each test runs real programs in it."""

import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.analysis.sandbox import SandboxEnd, SandboxLimits, SandboxRun

Python = Callable[..., Awaitable[SandboxEnd]]

TRIES = """
import errno
def tried(what, act):
    try:
        act()
    except OSError as error:
        print(what, errno.errorcode.get(error.errno, error))
    else:
        print(what, "went through")
"""


def said(code: bytes) -> dict[str, str]:
    """What each try said, by its name."""
    return dict(line.split(maxsplit=1) for line in code.decode().splitlines())


@pytest.fixture
def kept_out(tmp_path: Path) -> Path:
    """A folder that the sandbox was told to keep out, such as the data directory."""
    place = tmp_path / "kept_out"
    place.mkdir()
    (place / "secret").write_text("the secret of the server")
    return place


@pytest.fixture
def sandbox(kept_out: Path) -> LinuxSandbox:
    return LinuxSandbox(excluded=[str(kept_out)])


@pytest.fixture
def python(sandbox: LinuxSandbox) -> Python:
    """Runs a piece of Python; limits may be given by name."""

    async def run(code: str, *, limits: dict[str, Any] | None = None, **how: Any) -> SandboxEnd:
        # The machine may be busy: what is not about time has plenty of it.
        allowed = SandboxLimits(**{"seconds": 60, "cpu_seconds": 60, **(limits or {})})
        argv = ("python", "-c", textwrap.dedent(code))
        return await sandbox.run(SandboxRun(argv=argv, limits=allowed, **how))

    return run
