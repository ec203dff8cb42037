"""The workspace: the one folder whose files a task may name, and the only door to them.

Every open walks down from the root, one component at a time, never through a symbolic link, so
neither `..` nor a link swapped in at the last moment leads out of it. Only regular files are read.
"""

import errno
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from sutazai.analysis.globs import Glob, InputError, split_pattern

SKIPPED_FOLDERS = frozenset(
    b".git .hg .svn .venv venv node_modules __pycache__ .mypy_cache .ruff_cache .pytest_cache "
    b".hypothesis .tox .nox .eggs .idea site-packages .terraform".split()
)
"""Folders left out when a whole folder or a glob is taken; naming a file in one still works."""

_WALKED_ENTRIES = 200_000
_SKIPS_TOLD = 1_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one task may take in; sizes are in bytes."""

    file_bytes: int = 2 * 1024 * 1024
    total_bytes: int = 64 * 1024 * 1024
    files: int = 5_000


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder that was not read, and why."""

    file: str
    reason: str


class Selection(msgspec.Struct, kw_only=True):
    """The regular files a set of patterns means, as path components below the root."""

    files: list[tuple[bytes, ...]]
    skipped: list[Skipped]
    skipped_total: int


class NotReadable(Exception):
    """A file cannot be taken in; the message says why."""


class Workspace:
    """`root` and what lies below it, without `excluded` (absolute paths, such as the data folder).

    Shown paths start with `/`, which means the root. Raises InputError if the root is no folder.
    """

    def __init__(
        self, root: str, excluded: Sequence[str] = (), limits: Limits | None = None
    ) -> None:
        self._root = Path(os.path.realpath(root))
        self._limits = limits or Limits()
        self._excluded = tuple(os.fsencode(os.path.realpath(path)) for path in excluded)
        if not self._root.is_dir():
            raise InputError("The workspace does not exist or is not a folder.")

    def select(self, patterns: Sequence[str]) -> Selection:
        """Every file that a path or glob of `patterns` means; all of the workspace for none.

        A path may be a file or a folder; `**` spans folders. Raises InputError, with the pattern
        in its message, where a pattern is malformed, climbs out, or means nothing at all.
        """
        found: dict[tuple[bytes, ...], None] = {}
        skipped: dict[str, str] = {}
        walk = _Walk(self, found, skipped)
        for pattern in patterns or ("/",):
            parts = split_pattern(pattern)
            before = len(found) + len(skipped)
            walk.expand(pattern, parts)
            if len(found) + len(skipped) == before and not walk.met(parts):
                raise InputError(f"Nothing in the workspace matches {pattern!r}.")
        if len(found) > self._limits.files:
            raise InputError(
                f"{len(found)} files were named; at most {self._limits.files} are reviewed in one "
                "task. Name fewer with `files`."
            )
        told = [Skipped(file=file, reason=reason) for file, reason in skipped.items()]
        return Selection(files=sorted(found), skipped=told[:_SKIPS_TOLD], skipped_total=len(told))

    def read(self, parts: tuple[bytes, ...]) -> bytes:
        """The whole content of a regular file. Raises NotReadable with the reason."""
        with self.opened(parts) as file:
            status = os.fstat(file.fileno())
            most = self._limits.file_bytes
            content = b"" if status.st_size > most else file.read(most + 1)
            if status.st_size > most or len(content) > most:
                size = max(status.st_size, len(content))
                raise NotReadable(f"larger than {most:,} bytes ({size:,})")
        return content

    @contextmanager
    def opened(self, parts: tuple[bytes, ...]) -> Iterator[io.BufferedReader]:
        """A regular file of any size, to be read in pieces. Raises NotReadable with the reason."""
        try:
            with self._opened(parts[:-1]) as folder:
                # Looked at before it is opened: opening a device or a FIFO can have effects.
                if not stat.S_ISREG(os.lstat(parts[-1], dir_fd=folder).st_mode):
                    raise NotReadable("not a regular file")
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                descriptor = os.open(parts[-1], flags, dir_fd=folder)
        except OSError as error:
            raise NotReadable(_os_reason(error)) from None
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise NotReadable("not a regular file")
            yield file

    def resolve(self, parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """The same place without symbolic links. Raises InputError where that is outside."""
        real = os.path.realpath(b"/".join((os.fsencode(self._root), *parts)))
        root = os.fsencode(self._root)
        if real != root and not real.startswith(root.rstrip(b"/") + b"/"):
            raise InputError(f"{shown(parts)!r} leads out of the workspace.")
        return tuple(part for part in real[len(root) :].split(b"/") if part)

    def excludes(self, parts: tuple[bytes, ...]) -> bool:
        """Whether a place is, or lies below, one that is kept from the agents."""
        path = b"/".join((os.fsencode(self._root), *parts))
        return any(path == out or path.startswith(out + b"/") for out in self._excluded)

    def kind(self, parts: tuple[bytes, ...]) -> int | None:
        """The type bits of `st_mode`, None where nothing is; links are not followed."""
        if not parts:
            return stat.S_IFDIR
        try:
            with self._opened(parts[:-1]) as folder:
                return stat.S_IFMT(os.lstat(parts[-1], dir_fd=folder).st_mode)
        except OSError:
            return None

    def entries(self, parts: tuple[bytes, ...]) -> list[tuple[bytes, int]]:
        """Name and type of what a folder holds, sorted by name. Raises NotReadable."""
        try:
            with self._opened(parts) as folder, os.scandir(folder) as listing:
                return sorted((os.fsencode(entry.name), _kind_of(entry)) for entry in listing)
        except OSError as error:
            raise NotReadable(_os_reason(error)) from None

    @contextmanager
    def _opened(self, parts: tuple[bytes, ...]) -> Iterator[int]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        descriptor = os.open(self._root, flags)
        try:
            for part in parts:
                below = os.open(part, flags | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)


class _Walk:
    """Expands patterns into files, counting what it meets so that a huge tree cannot stall it."""

    def __init__(
        self,
        workspace: Workspace,
        found: dict[tuple[bytes, ...], None],
        skipped: dict[str, str],
    ) -> None:
        self._workspace = workspace
        self._found = found
        self._skipped = skipped
        self._visited = 0
        self._met: set[tuple[str, ...]] = set()

    def met(self, parts: tuple[str, ...]) -> bool:
        """Whether the pattern named something, if only an empty folder or a file already found."""
        return parts in self._met

    def expand(self, pattern: str, parts: tuple[str, ...]) -> None:
        # A file may be called `a[1].py`: what is there under exactly this name is meant.
        exact = self._workspace.kind(tuple(os.fsencode(part) for part in parts)) is not None
        glob = Glob(parts, literal=exact)
        base = self._workspace.resolve(tuple(os.fsencode(part) for part in glob.fixed))
        if self._workspace.excludes(base):
            raise InputError(f"{pattern!r} lies in a folder that agents may not read.")
        kind = self._workspace.kind(base)
        if kind is None:
            raise InputError(f"There is no {shown(base)!r} in the workspace.")
        if stat.S_ISDIR(kind):
            self._folder(base, glob, parts)
        elif not glob.wild:
            self._met.add(parts)
            self._file(base, kind)

    def _folder(self, base: tuple[bytes, ...], glob: Glob, pattern: tuple[str, ...]) -> None:
        if not glob.wild:
            self._met.add(pattern)
        stack = [(base, glob.start)]
        while stack:
            folder, states = stack.pop()
            try:
                entries = self._workspace.entries(folder)
            except NotReadable as error:
                self._skipped[shown(folder)] = str(error)
                continue
            if any(name == b"pyvenv.cfg" for name, _ in entries) and folder != base:
                self._skipped[shown(folder)] = "a virtual environment"
                continue
            for name, kind in entries:
                self._count()
                below = (*folder, name)
                after = glob.step(states, os.fsdecode(name))
                if not after or self._workspace.excludes(below):
                    continue
                if stat.S_ISDIR(kind):
                    if name in SKIPPED_FOLDERS:
                        self._skipped[shown(below)] = "a folder of tools or dependencies"
                    else:
                        stack.append((below, after))
                elif glob.accepts(after):
                    self._met.add(pattern)
                    self._file(below, kind)

    def _file(self, parts: tuple[bytes, ...], kind: int) -> None:
        if stat.S_ISREG(kind):
            self._found[parts] = None
        elif stat.S_ISLNK(kind):
            self._skipped[shown(parts)] = "a symbolic link"
        else:
            self._skipped[shown(parts)] = "not a regular file"

    def _count(self) -> None:
        self._visited += 1
        if self._visited > _WALKED_ENTRIES:
            raise InputError(
                f"The workspace has more than {_WALKED_ENTRIES:,} entries. "
                "Name the files to review with `files`."
            )


def shown(parts: tuple[bytes, ...]) -> str:
    """How a path is written in results: from the root `/`, odd bytes escaped, valid Unicode."""
    return "/" + "/".join(part.decode("utf-8", "backslashreplace") for part in parts)


def _kind_of(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    return stat.S_IFREG if entry.is_file(follow_symlinks=False) else stat.S_IFIFO


def _os_reason(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "a symbolic link, or no folder where one was expected"
    if error.errno == errno.ENOENT:
        return "no longer there"
    return error.strerror or "cannot be read"
