"""The port to the sandbox: where code that is not ours runs, cut off from everything."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

MIB = 1024 * 1024


class SandboxLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one run may use; the run is ended, or refused more, where it takes more.

    `seconds` is wall-clock time, `cpu_seconds` that of all its processes. `memory` (of all its
    processes), `file_bytes` (all it writes together) and `output_bytes` (of each stream; the run
    ends with the first byte beyond) are in bytes. Threads count as `processes`.
    """

    seconds: float = 10
    cpu_seconds: int = 10
    memory: int = 512 * MIB
    processes: int = 16
    file_bytes: int = 64 * MIB
    output_bytes: int = MIB


class SandboxRun(msgspec.Struct, frozen=True, kw_only=True):
    """A command to run: no network, no environment but this, nothing of the machine to be seen.

    `argv[0]` may be `python`, the interpreter of the server with the packages it has. `files`
    (relative path to content) are written into the private working folder, which is gone
    afterwards; of it `collect` (relative paths of regular files) is brought back. `source` is an
    absolute path of a folder that is shown read-only at `/source`. Files and folders named in
    `hidden` (relative to `source`) are empty there, and the files cannot be read. Of those in
    `replaced`, which must exist there, another content is shown.
    """

    argv: tuple[str, ...]
    files: Mapping[str, bytes] = {}
    source: str | None = None
    hidden: tuple[str, ...] = ()
    replaced: Mapping[str, bytes] = {}
    stdin: bytes = b""
    environment: Mapping[str, str] = {}
    collect: tuple[str, ...] = ()
    limits: SandboxLimits = SandboxLimits()


class SandboxEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended.

    `exit_code` is negative for a signal, as in `subprocess`, and 127 where the program is not
    there. `limit` names the one of SandboxLimits that ended the run or made it fail, such as
    `seconds`; None where none did. `files` has what was to be collected and was there, `seconds`
    the wall-clock time it took.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    files: Mapping[str, bytes]
    limit: str | None
    seconds: float


class SandboxUnavailable(Exception):
    """This machine can isolate nothing; the message says why and what to do about it."""


class Sandbox(Protocol):
    """Runs code that is not ours."""

    async def run(self, run: SandboxRun) -> SandboxEnd:
        """Run to the end or to a limit; nothing of it is left when this returns or is cancelled.

        SandboxUnavailable where this machine offers no isolation: nothing is ever run bare.
        """
        ...
