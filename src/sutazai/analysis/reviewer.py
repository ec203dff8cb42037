"""A whole review, asynchronously: what is named, what is cached, and the rest over the workers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from sutazai.analysis.pool import AnalysisPool, WorkerDied
from sutazai.analysis.protocol import (
    Collect,
    FileRef,
    FileReview,
    Inline,
    Place,
    Progress,
    Review,
    Unparsed,
)
from sutazai.analysis.workspace import Skipped

_SMALLEST_SHARD = 60_000
_LARGEST_SHARD = 1_000_000
_CACHE_BATCH = 200


class ReviewCache(Protocol):
    """Where finished reviews are kept; the agents' ResultCache is one."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The entries that are there."""
        ...

    async def put_many(self, entries: Mapping[str, bytes]) -> None:
        """Keep these."""
        ...


class Reviewable(msgspec.Struct, frozen=True, kw_only=True):
    """What to review: inline code, or patterns in a workspace (none: all of it).

    `instead` are files of the workspace to be read as if they were so; whole-project analyses heed
    it (`reading.contents`), a Reviewer does not.
    """

    place: Place | None = None
    patterns: tuple[str, ...] = ()
    inline: tuple[Inline, ...] = ()
    instead: tuple[Inline, ...] = ()

    def with_file(self, file: Inline) -> "Reviewable":
        """The same, but for one file's content."""
        if self.place is None:
            inline = tuple(file if one.name == file.name else one for one in self.inline)
            return msgspec.structs.replace(self, inline=inline)
        return msgspec.structs.replace(self, instead=(*self.instead, file))


class ReviewResult(msgspec.Struct, kw_only=True):
    """Every file's review in the order of names, and what was left out."""

    files: list[FileReview]
    files_cached: int
    skipped: list[Skipped]
    skipped_total: int
    analysers: dict[str, str]


Report = Callable[[int, int, int, int], Awaitable[None]]
"""Called with files done, files in all, lines and issues so far."""


class Reviewer:
    """Runs reviews over a pool that it does not own."""

    def __init__(self, pool: AnalysisPool) -> None:
        self._pool = pool

    async def review(
        self, what: Reviewable, cache: ReviewCache, report: Report | None = None
    ) -> ReviewResult:
        """Review `what`. Raises InputError for input that cannot be used, AnalysisError else.

        Cancelling it ends the work at once.
        """
        collected = await self._pool.collect(
            Collect(place=what.place, patterns=what.patterns, inline=what.inline)
        )
        done = await _cached(cache, [ref.key for ref in collected.files])
        missing = [ref for ref in collected.files if ref.key not in done]
        told = _Told(report, len(collected.files), list(done.values()))
        await told.tell()
        fresh = await self._fresh(what.place, missing, told)
        await _keep(cache, fresh)
        by_file = {review.file: review for review in (*done.values(), *fresh)}
        files = [by_file[ref.file] for ref in collected.files]
        gone = [review.skipped for review in files if review.skipped]
        return ReviewResult(
            files=[review for review in files if not review.skipped],
            files_cached=len(done),
            skipped=[*collected.skipped, *gone],
            skipped_total=collected.skipped_total + len(gone),
            analysers=collected.analysers,
        )

    async def is_cached(self, what: Reviewable, cache: ReviewCache) -> bool:
        """Whether there is a kept review of every file, as it is now, by today's analysers."""
        collected = await self._pool.collect(
            Collect(place=what.place, patterns=what.patterns, inline=what.inline)
        )
        keys = [ref.key for ref in collected.files]
        return bool(keys) and (await _cached(cache, keys)).keys() >= set(keys)

    async def _fresh(
        self, place: Place | None, refs: list[FileRef], told: "_Told"
    ) -> list[FileReview]:
        shards = shard(refs, self._pool.processes)
        reviews: list[FileReview] = []

        async def one(files: list[FileRef]) -> None:
            reviews.extend(await self._shard(place, files, told))

        try:
            async with asyncio.TaskGroup() as group:
                reporting = group.create_task(told.keep_telling())
                async with asyncio.TaskGroup() as working:
                    for files in shards:
                        working.create_task(one(files))
                reporting.cancel()
        except* Exception as failures:
            raise _first(failures) from None
        return reviews

    async def _shard(
        self, place: Place | None, files: list[FileRef], told: "_Told"
    ) -> list[FileReview]:
        """Review one shard; when it kills its worker, find the file that does and go on without."""
        try:
            answer = await self._pool.review(Review(place=place, files=files), told.add)
        except WorkerDied as death:
            if len(files) == 1:
                return [_fatal(files[0], str(death))]
            half = len(files) // 2
            return [
                *await self._shard(place, files[:half], told),
                *await self._shard(place, files[half:], told),
            ]
        return answer.files


class _Told:
    """Progress so far, passed on a few times a second however often the workers speak."""

    def __init__(self, report: Report | None, total: int, done: list[FileReview]) -> None:
        self._report = report
        self._total = total
        self._files = len(done)
        self._lines = sum(review.lines for review in done)
        self._issues = sum(len(review.findings) for review in done)
        self._news = asyncio.Event()

    def add(self, progress: Progress) -> None:
        self._files = min(self._files + progress.files, self._total)
        self._lines += progress.lines
        self._issues += progress.issues
        self._news.set()

    async def tell(self) -> None:
        if self._report is not None:
            await self._report(self._files, self._total, self._lines, self._issues)

    async def keep_telling(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self.tell()


def shard(refs: Sequence[FileRef], processes: int) -> list[list[FileRef]]:
    """Split files into balanced groups by size: one per process, more only for large inputs.

    Each group costs a run of ruff, so small inputs stay together.
    """
    total = sum(ref.size for ref in refs)
    wanted = max(1, min(processes, total // _SMALLEST_SHARD), -(-total // _LARGEST_SHARD))
    groups: list[list[FileRef]] = [[] for _ in range(min(wanted, len(refs)))]
    sizes = [0] * len(groups)
    for ref in sorted(refs, key=lambda ref: -ref.size):
        smallest = sizes.index(min(sizes))
        groups[smallest].append(ref)
        sizes[smallest] += ref.size
    return groups


async def _cached(cache: ReviewCache, keys: list[str]) -> dict[str, FileReview]:
    found = await cache.get_many(keys) if keys else {}
    decoder = msgspec.msgpack.Decoder(FileReview)
    reviews: dict[str, FileReview] = {}
    for number, (key, entry) in enumerate(found.items(), 1):
        try:
            reviews[key] = decoder.decode(entry)
        except msgspec.MsgspecError:
            continue  # written by another version: as good as absent
        if number % _CACHE_BATCH == 0:
            await asyncio.sleep(0)
    return reviews


async def _keep(cache: ReviewCache, reviews: list[FileReview]) -> None:
    entries = {review.key: msgspec.msgpack.encode(review) for review in reviews if review.key}
    if entries:
        await cache.put_many(entries)


def _fatal(ref: FileRef, reason: str) -> FileReview:
    unparsed = Unparsed(file=ref.file, line=1, reason=reason)
    return FileReview(file=ref.file, key="", lines=0, findings=[], unparsed=unparsed)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
