"""Git's own command line, with nothing of the machine's configuration and within limits."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from sutazai.analysis.globs import InputError
from sutazai.analysis.repositories import RepositoryUnavailable

_MOST_OUTPUT = 64 * 1024 * 1024
_MOST_ERRORS = 64 * 1024
_ADDRESS_SPACE = 4 * 1024**3
# Started before git, because limits set in a child between fork and exec are not safe in a
# process with threads.
_LIMITED = (
    "import os, resource as r, sys\n"
    f"r.setrlimit(r.RLIMIT_AS, ({_ADDRESS_SPACE},) * 2)\n"
    "r.setrlimit(r.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)\n"
    "r.setrlimit(r.RLIMIT_CORE, (0, 0))\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",
    "gc.auto": "0",
    "http.followRedirects": "false",
    "http.proxy": "",
    "http.sslVerify": "true",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "protocol.allow": "never",
    "submodule.recurse": "false",
}


class Git(msgspec.Struct, frozen=True, kw_only=True):
    """How git is called: `seconds` for each call, `file_bytes` for what it may write to a file."""

    seconds: float
    file_bytes: int
    certificates: str | None = None

    async def run(
        self,
        *arguments: str,
        folder: Path,
        settings: Sequence[tuple[str, str]] = (),
        watched: "Watched | None" = None,
    ) -> bytes:
        """What it prints. InputError where it refuses, RepositoryUnavailable when out of time."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*arguments, settings=settings),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=folder,
            env=self.environment(folder),
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self.seconds):
                out, err = await _conversation(process, watched)
        except TimeoutError:
            raise RepositoryUnavailable(
                f"The repository was not fetched within {self.seconds:g} s."
            ) from None
        finally:
            _kill(process)
            await asyncio.shield(process.wait())
        if process.returncode != 0:
            raise _failure(err.decode("utf-8", "replace"))
        return out

    def command(self, *arguments: str, settings: Sequence[tuple[str, str]] = ()) -> list[str]:
        """The whole command line, limits included."""
        given = [*_SETTINGS.items(), *settings]
        options = [part for name, value in given for part in ("-c", f"{name}={value}")]
        limited = [sys.executable, "-I", "-S", "-c", _LIMITED, str(self.file_bytes)]
        return [*limited, "git", "--no-replace-objects", *options, *arguments]

    def environment(self, home: Path) -> dict[str, str]:
        """All that git finds in its environment."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_PROTOCOL_FROM_USER": "0",
        }
        if self.certificates is not None:
            environment["GIT_SSL_CAINFO"] = self.certificates
        return environment


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that a call fills, and how much at most."""

    folder: Path
    most_bytes: int

    async def watch(self) -> None:
        """InputError as soon as it holds more."""
        while True:
            await asyncio.sleep(0.1)
            size = await asyncio.to_thread(_size, self.folder)
            if size > self.most_bytes:
                raise InputError(too_large(self.most_bytes))


def too_large(most: int) -> str:
    """What a user is told of a repository that is larger than `most` bytes."""
    return (
        f"The repository holds more than {most // 1024**2} MB; SUTAZAI_REPOSITORY_MEGABYTES of "
        "the server says how much it takes."
    )


async def _conversation(process: Process, watched: Watched | None) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watched.watch()) if watched else None
            out = group.create_task(_read(process.stdout, _MOST_OUTPUT))
            err = group.create_task(_read(process.stderr, _MOST_ERRORS))
            await asyncio.wait([out, err])
            await process.wait()
            if watching:
                watching.cancel()
    except* InputError as refused:
        raise refused.exceptions[0] from None
    return out.result(), err.result()


async def _read(stream: asyncio.StreamReader, most: int) -> bytes:
    parts, size = [], 0
    while part := await stream.read(64 * 1024):
        size += len(part)
        if size <= most:
            parts.append(part)
        elif most == _MOST_OUTPUT:
            raise InputError("The repository has too many files or branches.")
    return b"".join(parts)


def _kill(process: Process) -> None:
    """End git and what it started, all of which are in a session of their own."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118  # walks fast
    return total


_MEANINGS = (
    ("could not read Username", "it does not exist, or it is not public"),
    ("Authentication failed", "it does not exist, or it is not public"),
    ("does not appear to be a git repository", "there is no repository"),
    ("dubious ownership", "it belongs to another user than the server runs as"),
    ("returned error: 30", "its host redirects elsewhere; name the place where it is now"),
    ("redirect", "its host redirects elsewhere; name the place where it is now"),
    ("couldn't find remote ref", "it has no such branch, tag or commit"),
    ("not our ref", "it has no such commit"),
    ("certificate", "its host's certificate is not valid"),
    ("not found", "it does not exist, or it is not public"),
    ("File too large", "it is larger than this server takes"),
)
_PASSING = (
    "Failed to connect",
    "Could not resolve",
    "Connection refused",
    "Connection reset",
    "Connection timed out",
    "Operation timed out",
    "Empty reply",
    "early EOF",
    "unexpected disconnect",
    "returned error: 429",
    "returned error: 5",
)


def _failure(said: str) -> Exception:
    """What git's complaint means, in words for a user."""
    found = (meaning for sign, meaning in _MEANINGS if sign.lower() in said.lower())
    if meaning := next(found, None):
        return InputError(f"The repository could not be fetched: {meaning}.")
    lines = [line.strip() for line in said.splitlines() if line.startswith(("fatal:", "error:"))]
    reason = lines[0].partition(": ")[2][:200] if lines else "git gave no reason"
    told = f"The repository could not be fetched: {reason}."
    return (RepositoryUnavailable if any(one in said for one in _PASSING) else InputError)(told)
