"""The files of a commit, written by ourselves: no filter, hook or attribute has a say in it."""

import errno
import os
import subprocess
from pathlib import Path
from typing import IO

import msgspec

from sutazai.adapters.git_process import too_large
from sutazai.analysis.globs import InputError
from sutazai.analysis.workspace import Skipped

_REGULAR, _LINK, _SUBMODULE = "100", "120000", "160000"
_MOST_FILES = 100_000
_LARGEST_FILE = 32 * 1024**2
_LFS = b"version https://git-lfs.github.com/spec/"
_LARGEST_POINTER = 1024
# What a commit's names alone can bring about: too long, or one thing under the name of another.
_HARMLESS = {errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EINVAL, errno.EILSEQ}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a commit's tree."""

    mode: str
    digest: str
    size: int
    path: str


def entries(listing: bytes, most_bytes: int) -> tuple[list[Entry], list[Skipped]]:
    """What `git ls-tree -r -l -z` lists: what is to be written, and what is left out.

    InputError where that is more than `most_bytes`, or too many files.
    """
    wanted, skipped = [], []
    for line in filter(None, listing.split(b"\0")):
        head, _, name = line.partition(b"\t")
        mode, _, digest, size = head.decode().split()
        path = os.fsdecode(name)
        shown = "/" + name.decode("utf-8", "backslashreplace")
        if reason := _unwanted(mode, path, size):
            skipped.append(Skipped(file=shown, reason=reason))
        else:
            wanted.append(Entry(mode=mode, digest=digest, size=int(size), path=path))
    if len(wanted) > _MOST_FILES:
        raise InputError(f"The repository has more than {_MOST_FILES:,} files.")
    if sum(entry.size for entry in wanted) > most_bytes:
        raise InputError(too_large(most_bytes))
    return wanted, skipped


def write(wanted: list[Entry], target: Path, source: IO[bytes], ask: IO[bytes]) -> list[Skipped]:
    """Write the entries below `target`, from a `git cat-file --batch`; what was left out."""
    skipped = []
    for entry in wanted:
        ask.write(entry.digest.encode() + b"\n")
        ask.flush()
        content = _blob(source)
        reason = _write_file(target, entry, content)
        if len(content) <= _LARGEST_POINTER and content.startswith(_LFS):
            reason = "kept elsewhere (Git LFS); only its pointer was read"
        if reason:
            shown = "/" + os.fsencode(entry.path).decode("utf-8", "backslashreplace")
            skipped.append(Skipped(file=shown, reason=reason))
    return skipped


def read_commit(
    command: list[str], environment: dict[str, str], wanted: list[Entry], target: Path
) -> list[Skipped]:
    """Run the `git cat-file` of `command` and write what is wanted."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, close_fds=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            return write(wanted, target, process.stdout, process.stdin)
        except BaseException:
            process.kill()
            raise


def _unwanted(mode: str, path: str, size: str) -> str | None:
    parts = path.split("/")
    if mode == _SUBMODULE:
        return "a submodule"
    if mode == _LINK:
        return "a symbolic link"
    if not mode.startswith(_REGULAR):
        return "not a regular file"
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return "its name leads out of the repository"
    if any(part.lower() == ".git" for part in parts):
        return "its name is git's own"
    if int(size) > _LARGEST_FILE:
        return f"larger than {_LARGEST_FILE:,} bytes ({int(size):,})"
    return None


def _blob(source: IO[bytes]) -> bytes:
    digest, kind, size = source.readline().decode().split()
    if kind != "blob":
        raise InputError(f"The repository is damaged: {digest} is a {kind}.")
    content = source.read(int(size) + 1)
    if len(content) != int(size) + 1:
        raise InputError("The repository is damaged: a file ends early.")
    return content[:-1]


def _write_file(target: Path, entry: Entry, content: bytes) -> str | None:
    """Write one file; why not, where it cannot be."""
    path = target / entry.path
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o755 if entry.mode == "100755" else 0o644)
    except OSError as error:
        if error.errno in _HARMLESS:
            return f"cannot be written here: {error.strerror}"
        raise
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return None
