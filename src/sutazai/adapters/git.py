"""Repositories fetched by git, shallow, into a cache keyed by commit."""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec

from sutazai.adapters import git_files
from sutazai.adapters.git_process import Git, Watched
from sutazai.adapters.git_sources import (
    Revision,
    Source,
    Sources,
    checked_branch,
    checked_revision,
)
from sutazai.analysis.globs import InputError
from sutazai.analysis.repositories import Checkout, Range, RepositoryUnavailable
from sutazai.analysis.workspace import Skipped

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHORTENED = re.compile(r"[0-9a-f]{4,39}")
_OLDEST_GIT = (2, 37)
_NEW, _TREE, _NOTE, _LOCK = "new-", "tree", "note", "lock"
_FETCHED = "refs/fetched/it"
_DEEPER = (20, 80, 300)
"""How many commits more are fetched each time while a range is not whole; then it stays cut."""
_SKIPS_TOLD = 100
_LEFT_SECONDS = 3600


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The note beside a checkout: its size in bytes, and what it leaves out."""

    size: int
    skipped: list[Skipped]


class GitRepositories:
    """Checkouts below `folder`, which is this server's alone; see `Repositories`.

    A repository holds at most `most_bytes`, fetched and unpacked each; the cache forgets what was
    not used for longest when it holds more than `keep_bytes`.
    """

    def __init__(
        self,
        *,
        folder: str,
        sources: Sources,
        most_bytes: int,
        keep_bytes: int,
        seconds: float,
        certificates: str | None = None,
    ) -> None:
        self._folder = Path(folder)
        self._sources = sources
        self._most = most_bytes
        self._keep = keep_bytes
        self._git = Git(seconds=seconds, file_bytes=most_bytes, certificates=certificates)
        self._fetching: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._usable = False

    @asynccontextmanager
    async def checkout(self, url: str, branch: str | None) -> AsyncIterator[Checkout]:
        """The files of the commit that `branch` is at now, for as long as this is held."""
        branch = checked_branch(branch)
        source = await self._sources.admitted(url)
        await self._prepare()
        ref, commit = await self._resolved(source, branch)
        name = f"{hashlib.sha256(source.url.encode()).hexdigest()[:24]}-{commit}"
        place = self._folder / name
        lock = self._fetching.setdefault(name, asyncio.Lock())
        async with lock:
            held = await asyncio.to_thread(_hold, place)
            if held is None:
                await self._fetch(source, ref, commit, place)
                held = await asyncio.to_thread(_hold, place)
        if held is None:
            raise RepositoryUnavailable("The repository was removed while it was fetched.")
        try:
            kept = msgspec.json.decode((place / _NOTE).read_bytes(), type=_Kept)
            yield Checkout(
                root=str(place / _TREE),
                repository=url,
                branch=branch,
                commit=commit,
                skipped=tuple(kept.skipped),
            )
        finally:
            os.close(held)

    @asynccontextmanager
    async def commits(self, url: str, base: str, head: str | None) -> AsyncIterator[Range]:
        """Two commits and the history between them; not kept, for ranges seldom come twice."""
        wanted = [checked_revision("base", base), checked_revision("head", head or "HEAD")]
        source = await self._sources.admitted(url)
        await self._prepare()
        found = [await self._resolved(source, one.branch) for one in wanted]
        await asyncio.to_thread(self._make_room)
        aside = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=_NEW, dir=self._folder))
        try:
            repository = aside / _TREE / ".git"
            repository.parent.mkdir()
            await self._make_repository(repository, found[0][1])
            names = [f"{_FETCHED}-{number}" for number in range(len(found))]
            refs = [f"+{ref}:{name}" for (ref, _), name in zip(found, names, strict=True)]
            depth = max(one.depth for one in wanted)
            await self._download(source, repository, refs, f"--depth={depth}")
            start, end = [
                await self._commit(repository, f"{name}{one.steps}", one)
                for name, one in zip(names, wanted, strict=True)
            ]
            for more in _DEEPER:
                if not await self._is_cut(repository, start, end):
                    break
                await self._download(source, repository, refs, f"--deepen={more}")
            yield Range(root=str(repository.parent), repository=url, base=start, head=end)
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True))

    async def _commit(self, repository: Path, name: str, wanted: Revision) -> str:
        try:
            said = await self._git.run(
                "rev-parse", "--verify", "-q", f"{name}^{{commit}}", folder=repository
            )
        except InputError:
            told = f"{wanted.branch or 'HEAD'}{wanted.steps}"
            raise InputError(f"The repository has no commit {told!r}.") from None
        return said.decode().strip()

    async def _is_cut(self, repository: Path, base: str, head: str) -> bool:
        """Whether history ends, for not having been fetched, in the middle of a range."""
        shallow = repository / "shallow"
        if not shallow.is_file():
            return False
        ends = set(shallow.read_text().split())
        listed = await self._git.run("rev-list", head, f"^{base}", folder=repository)
        return not ends.isdisjoint(listed.decode().split())

    async def _make_repository(self, place: Path, commit: str) -> None:
        """An empty one for objects that are named as `commit` is."""
        digest = "sha256" if len(commit) == 64 else "sha1"
        await self._git.run(
            *("init", "-q", "--bare", "--template=", f"--object-format={digest}", place.name),
            folder=place.parent,
        )

    async def _download(
        self, source: Source, repository: Path, refs: Sequence[str], depth: str
    ) -> None:
        options = ("-q", depth, "--no-tags", "--no-write-fetch-head", "--no-auto-gc")
        await self._git.run(
            *("fetch", *options, "--no-recurse-submodules", "--", source.url, *refs),
            folder=repository,
            settings=source.settings,
            watched=Watched(folder=repository, most_bytes=self._most),
        )

    async def _prepare(self) -> None:
        if self._usable:
            return
        if shutil.which("git") is None:
            raise InputError("This server has no git, which repositories are fetched with.")
        await asyncio.to_thread(self._folder.mkdir, 0o700, True, True)
        said = (await self._git.run("version", folder=self._folder)).decode()
        found = re.search(r"(\d+)\.(\d+)", said)
        if found is None or (int(found[1]), int(found[2])) < _OLDEST_GIT:
            raise InputError(
                f"This server's git is too old to fetch repositories safely ({said.strip()}); it "
                f"takes git {_OLDEST_GIT[0]}.{_OLDEST_GIT[1]} or newer."
            )
        self._usable = True

    async def _resolved(self, source: Source, branch: str | None) -> tuple[str, str]:
        """What to ask the host for, and the commit that it is at now."""
        if branch is not None and _COMMIT.fullmatch(branch):
            return branch, branch
        wanted = (
            ["HEAD"]
            if branch is None
            else [f"refs/heads/{branch}", f"refs/tags/{branch}", f"refs/tags/{branch}^{{}}"]
        )
        said = await self._git.run(
            "ls-remote", "--", source.url, *wanted, folder=self._folder, settings=source.settings
        )
        refs: dict[str, str] = {}
        for line in said.decode("utf-8", "replace").splitlines():
            found, _, name = line.partition("\t")
            refs[name] = found
        ref = next((ref for ref in wanted if ref in refs), None)
        if ref is None:
            told = "is empty" if branch is None else f"has no branch, tag or commit {branch!r}"
            if branch is not None and _SHORTENED.fullmatch(branch):
                told += "; a commit is named by its whole id"
            raise InputError(f"The repository {told}.")
        commit = refs.get(f"{ref}^{{}}", refs[ref])
        if not _COMMIT.fullmatch(commit):
            raise InputError("The repository's host gave an answer that is none.")
        return ref, commit

    async def _fetch(self, source: Source, ref: str, commit: str, place: Path) -> None:
        """Fetch aside, and put it in its place when it is whole."""
        await asyncio.to_thread(self._make_room)
        aside = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=_NEW, dir=self._folder))
        try:
            repository = aside / "git"
            await self._make_repository(repository, commit)
            await self._download(source, repository, [f"+{ref}:{_FETCHED}"], "--depth=1")
            said = await self._git.run(
                "rev-parse", "--verify", "-q", f"{_FETCHED}^{{commit}}", folder=repository
            )
            if said.decode().strip() != commit:
                # It moved between the two questions; what was promised is what was asked first.
                raise RepositoryUnavailable("The branch moved while it was fetched.")
            await self._unpack(repository, commit, aside)
            await asyncio.to_thread(shutil.rmtree, repository)
            with contextlib.suppress(OSError):  # another process was faster: its work is as good
                await asyncio.to_thread(aside.rename, place)
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True))

    async def _unpack(self, repository: Path, commit: str, aside: Path) -> None:
        listing = await self._git.run(
            "ls-tree", "-r", "-l", "-z", "--full-tree", commit, folder=repository
        )
        wanted, skipped = git_files.entries(listing, self._most)
        tree = aside / _TREE
        tree.mkdir()
        command = self._git.command("--git-dir", str(repository), "cat-file", "--batch")
        environment = self._git.environment(aside)
        skipped += await asyncio.to_thread(
            git_files.read_commit, command, environment, wanted, tree
        )
        size = sum(entry.size for entry in wanted)
        note = _Kept(size=size, skipped=skipped[:_SKIPS_TOLD])
        (aside / _NOTE).write_bytes(msgspec.json.encode(note))
        (aside / _LOCK).touch()

    def _make_room(self) -> None:
        """Remove what was not used for longest, and what a killed server left half fetched."""
        places: list[tuple[float, Path, int]] = []
        for place in self._folder.iterdir():
            with contextlib.suppress(OSError, msgspec.DecodeError):
                if place.name.startswith(_NEW):
                    if place.stat().st_mtime < time.time() - self._git.seconds - _LEFT_SECONDS:
                        shutil.rmtree(place, ignore_errors=True)
                else:
                    kept = msgspec.json.decode((place / _NOTE).read_bytes(), type=_Kept)
                    places.append(((place / _LOCK).stat().st_mtime, place, kept.size))
        total = sum(size for _, _, size in places)
        for _, place, size in sorted(places):
            if total <= self._keep:
                break
            if _remove(place):
                total -= size


def _hold(place: Path) -> int | None:
    """Keep a checkout from being removed until what is returned is closed; None for none."""
    lock = place / _LOCK
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_ino != lock.stat().st_ino:
            raise FileNotFoundError(lock)
        os.utime(descriptor)  # what was used last is removed last
    except FileNotFoundError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(place: Path) -> bool:
    """Remove a checkout, unless somebody holds it."""
    with contextlib.suppress(OSError), (place / _LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = Path(tempfile.mkdtemp(prefix=_NEW, dir=place.parent))
        place.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        return True
    return False
