"""How long a review takes beside its engines run bare, on the same files in the same run."""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ruff import find_ruff_bin  # type: ignore[import-untyped]  # ships no types

from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.protocol import Place
from sutazai.analysis.reviewer import Reviewable, Reviewer

LINES = 11_000
ROUNDS = 5

_BANDIT = """
import sys, time
from bandit.core.config import BanditConfig
from bandit.core.manager import BanditManager
for _ in range({rounds}):
    started = time.perf_counter()
    manager = BanditManager(BanditConfig(), "file")
    manager.discover_files([sys.argv[1]], True)
    manager.run_tests()
    print(time.perf_counter() - started, flush=True)
"""


class Figures(NamedTuple):
    """Medians in seconds over the same package of `lines` lines in `files` files."""

    files: int
    lines: int
    ruff: float
    bandit: float
    first: float
    warm: float
    cached: float

    @property
    def ratio(self) -> float:
        """Warm review against the sum of the engines run bare."""
        return self.warm / (self.ruff + self.bandit)


class MemoryCache:
    """A review cache in a dictionary; `blind` finds nothing."""

    def __init__(self, *, blind: bool = False) -> None:
        self._entries: dict[str, bytes] = {}
        self._blind = blind

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        if self._blind:
            return {}
        return {key: self._entries[key] for key in keys if key in self._entries}

    async def put_many(self, entries: Mapping[str, bytes]) -> None:
        self._entries.update(entries)


def sample(source: Path, target: Path, lines: int = LINES) -> tuple[int, int]:
    """Copy Python files of `source` into `target` until `lines` are reached: files and lines."""
    files = total = 0
    for path in sorted(source.rglob("*.py")):
        text = path.read_text("utf-8", errors="replace")
        count = text.count("\n")
        if count < 20 or total + count > lines * 1.05:
            continue
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, "utf-8")
        files, total = files + 1, total + count
        if total >= lines:
            break
    return files, total


def measure(folder: Path, rounds: int = ROUNDS) -> Figures:
    """Medians for the package in `folder`."""
    files = sorted(folder.rglob("*.py"))
    lines = sum(path.read_text("utf-8").count("\n") for path in files)
    ruff = [find_ruff_bin(), "check", "--isolated", "--no-cache", "--quiet", "--exit-zero"]
    ruff += ["--select=S,B,PERF,F,E7,PLE,RUF,ASYNC,C90", "--output-format=json", str(folder)]
    bare_ruff = _timed(lambda: subprocess.run(ruff, check=True, capture_output=True), rounds)
    # Bandit without its start, as a library in one process: its first round warms it up.
    bandit = subprocess.run(
        [sys.executable, "-c", _BANDIT.format(rounds=rounds + 1), str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    bare_bandit = [float(line) for line in bandit.stdout.split()][1:]
    first, warm, cached = asyncio.run(_reviews(folder, rounds))
    return Figures(
        len(files),
        lines,
        statistics.median(bare_ruff),
        statistics.median(bare_bandit),
        first,
        warm,
        cached,
    )


async def _reviews(folder: Path, rounds: int) -> tuple[float, float, float]:
    pool = AnalysisPool()
    await pool.start()
    try:
        reviewer = Reviewer(pool)
        what = Reviewable(place=Place(root=str(folder)))

        async def once(cache: MemoryCache) -> float:
            started = time.perf_counter()
            await reviewer.review(what, cache)
            return time.perf_counter() - started

        blind = MemoryCache(blind=True)
        first = await once(blind)
        warm = [await once(blind) for _ in range(rounds)]
        kept = MemoryCache()
        await once(kept)
        cached = [await once(kept) for _ in range(rounds)]
    finally:
        await pool.close()
    return first, statistics.median(warm), statistics.median(cached)


def _timed(call: Callable[[], object], rounds: int) -> list[float]:
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return seconds


def main(source: Path | None = None) -> Figures:
    """Measure on part of an installed package and print the figures."""
    import tempfile

    import httpx2

    package = source or Path(httpx2.__file__).parent.parent / "sqlalchemy" / "orm"
    with tempfile.TemporaryDirectory() as folder:
        sample(package, Path(folder))
        figures = measure(Path(folder))
    print(f"review of {figures.lines:,} lines in {figures.files} files, {os.cpu_count()} cores")
    print(f"  engines bare: ruff {figures.ruff * 1e3:.0f} ms, bandit {figures.bandit * 1e3:.0f} ms")
    print(f"  first (workers start)      {figures.first * 1e3:6.0f} ms")
    print(f"  warm, nothing cached       {figures.warm * 1e3:6.0f} ms  {figures.ratio:.2f} x bare")
    print(f"  warm, all cached           {figures.cached * 1e3:6.0f} ms")
    return figures


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
