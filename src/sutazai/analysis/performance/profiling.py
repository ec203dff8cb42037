"""A measured profile of a command, run in the sandbox."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from sutazai.analysis.globs import InputError, split_pattern
from sutazai.analysis.protocol import Inline
from sutazai.analysis.sandbox import MIB, Sandbox, SandboxEnd, SandboxLimits, SandboxRun

_RUNNER = Path(__file__).with_name("profile_runner.py")
_GRACE_SECONDS = 10
_MOST_ARGUMENTS, _LONGEST_ARGUMENT = 100, 4_096
_TAIL = 4_000
_LARGEST_PROFILE = 4 * MIB
_PYTHON = ("python", "python3")


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to profile: a script or a module with its arguments, in a folder or given inline."""

    argv: tuple[str, ...]
    module: bool
    seconds: float
    source: str | None = None
    inline: tuple[Inline, ...] = ()


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One function as the profiler saw it, in its own order of fields."""

    file: str
    line: int
    function: str
    calls: int
    primitive_calls: int
    own_seconds: float
    cumulative_seconds: float


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of one run went. `how` is `normally`, `exception` or `out of time`."""

    how: str
    exit_code: int
    error: str
    seconds: float
    profiled_seconds: float
    calls: int
    peak_memory: int
    functions: list[Row]
    stdout: str = ""
    stderr: str = ""


class NotProfiled(Exception):
    """The command ran, but left no profile; the message says why."""


def parsed_command(value: Any) -> tuple[tuple[str, ...], bool]:
    """The arguments from the script or module on, and whether it is a module.

    Raises InputError for what is no Python command.
    """
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise InputError('`command` must be a list of strings such as ["python", "script.py"].')
    if len(value) > _MOST_ARGUMENTS or any(len(part) > _LONGEST_ARGUMENT for part in value):
        raise InputError(
            f"`command` takes {_MOST_ARGUMENTS} strings of {_LONGEST_ARGUMENT} characters at most."
        )
    if any("\0" in part for part in value):
        raise InputError("`command` holds a NUL character.")
    match value:
        case [python, "-m", module, *rest] if python in _PYTHON:
            return (module, *rest), True
        case [python, script, *rest] if python in _PYTHON and not script.startswith("-"):
            return ("/".join(split_pattern(script)), *rest), False
    raise InputError(
        'Only Python is profiled: `command` must be like ["python", "script.py", …] or ["python", '
        '"-m", "module", …], without options of the interpreter.'
    )


async def profile(sandbox: Sandbox, command: Command) -> Profile:
    """Run the command under the profiler. Raises NotProfiled, SandboxUnavailable."""
    inside = "/sandbox" if command.source is None else "/source"
    first, *rest = command.argv
    script = first if command.module else f"{inside}/{first}"
    folder = script.rpartition("/")[0]
    paths = [inside, f"{inside}/src"] if command.module else [folder, inside, f"{inside}/src"]
    wanted = {
        "argv": [script, *rest],
        "module": command.module,
        "seconds": command.seconds,
        "folder": inside,
        "paths": list(dict.fromkeys(paths)),
    }
    limit = command.seconds + _GRACE_SECONDS
    end = await sandbox.run(
        SandboxRun(
            argv=("python", "profile_runner.py"),
            files={
                **{"/".join(split_pattern(one.name)): one.content for one in command.inline},
                "profile_runner.py": _RUNNER.read_bytes(),
                "profile.json": json.dumps(wanted).encode(),
            },
            source=command.source,
            collect=("profiled.json",),
            limits=SandboxLimits(
                seconds=limit,
                cpu_seconds=int(2 * limit),
                memory=1024 * MIB,
                processes=64,
                file_bytes=256 * MIB,
            ),
        )
    )
    return _read(end)


def _read(end: SandboxEnd) -> Profile:
    """What was written; the program under test could have written anything."""
    tails = {"stdout": _tail(end.stdout), "stderr": _tail(end.stderr)}
    content = end.files.get("profiled.json")
    if content is None:
        why = (
            f"it was ended by the limit of {end.limit}"
            if end.limit
            else f"the program ended its process by itself (exit code {end.exit_code})"
        )
        raise NotProfiled(f"There is no profile: {why}. {tails['stderr'][-500:]}".strip())
    try:
        if len(content) > _LARGEST_PROFILE:
            raise msgspec.ValidationError
        found = msgspec.json.decode(content, type=Profile)
    except msgspec.MsgspecError:
        raise NotProfiled("There is no profile: the program wrote over it.") from None
    return msgspec.structs.replace(found, **tails)


def _tail(output: bytes) -> str:
    return output[-_TAIL:].decode("utf-8", "replace")


def shown_file(file: str) -> str:
    """How a file of the sandbox is called outside of it; `/…` is one of the project."""
    for inside in ("/source", "/sandbox"):
        if file.startswith(inside + "/"):
            return file.removeprefix(inside)
    for marker in ("/site-packages/", "/dist-packages/"):
        if marker in file:
            return file.rpartition(marker)[2]
    if file in ("~", "") or file.startswith("<"):
        return "<built-in>" if file in ("~", "") else file
    return file.rpartition("/lib/")[2] if "/lib/" in file else file.rpartition("/")[2]


def is_of_project(file: str) -> bool:
    """Whether a file of the sandbox is one of the project."""
    return file.startswith(("/source/", "/sandbox/"))


def hottest(rows: Sequence[Row], top: int, *, own: bool) -> list[Row]:
    """The functions that took most time, their own or with all that they call."""
    key = (lambda row: row.own_seconds) if own else (lambda row: row.cumulative_seconds)
    return sorted(rows, key=key, reverse=True)[:top]
