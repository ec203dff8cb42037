"""Worker processes: started on first use, retired when idle, and survived when they die."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisError, AnalysisPool
from sutazai.analysis.protocol import FileRef, Inline, Place
from sutazai.analysis.reading import take
from sutazai.analysis.reviewer import Reviewable, Reviewer, shard

pytestmark = pytest.mark.anyio

DEFECT = "import pickle\n\n\ndef load(data):\n    return pickle.loads(data)\n"


class Cache:
    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        return {key: self.entries[key] for key in keys if key in self.entries}

    async def put_many(self, entries: Mapping[str, bytes]) -> None:
        self.entries.update(entries)


@pytest.fixture
async def pool() -> AsyncIterator[AnalysisPool]:
    pool = AnalysisPool(processes=2)
    await pool.start()
    yield pool
    await pool.close()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for number in range(6):
        (tmp_path / f"module{number}.py").write_text(DEFECT + f"# {number}\n" * 8_000)
    return tmp_path


def workspace(path: Path) -> Reviewable:
    return Reviewable(place=Place(root=str(path)))


_others: set[int] = set()


@pytest.fixture(autouse=True)
def others() -> None:
    """Remember the children that servers of other tests in this process have."""
    _others.clear()
    _others.update(child.pid for child in psutil.Process().children(recursive=True))


def workers() -> list[psutil.Process]:
    """The worker processes that this test started."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
            started_here = child.pid not in _others
            if started_here and "sutazai.analysis.worker" in " ".join(child.cmdline()):
                found.append(child)
    return found


async def until_workers(reached: Callable[[int], bool]) -> None:
    """Wait until the number of worker processes satisfies `reached`: there is no signal for it."""
    async with asyncio.timeout(30):
        while not reached(len(workers())):  # noqa: ASYNC110  # other processes set no event
            await asyncio.sleep(0.005)  # time itself: the next look at the process table


def none(count: int) -> bool:
    return count == 0


async def test_no_process_is_started_before_it_is_needed(pool: AnalysisPool) -> None:
    assert pool.alive == 0
    assert workers() == []


async def test_a_review_is_shared_out_over_the_workers(pool: AnalysisPool, package: Path) -> None:
    told: list[tuple[int, int, int, int]] = []

    async def report(done: int, total: int, lines: int, issues: int) -> None:
        told.append((done, total, lines, issues))

    result = await Reviewer(pool).review(workspace(package), Cache(), report)
    assert [review.file for review in result.files] == [f"/module{n}.py" for n in range(6)]
    assert all(len(review.findings) == 1 for review in result.files)
    assert pool.alive == 2
    assert told[0] == (0, 6, 0, 0)
    assert all(earlier[0] <= later[0] for earlier, later in itertools.pairwise(told))


async def test_the_second_review_comes_from_the_cache(pool: AnalysisPool, package: Path) -> None:
    cache = Cache()
    first = await Reviewer(pool).review(workspace(package), cache)
    (package / "module3.py").write_text("eval(input())\n")
    second = await Reviewer(pool).review(workspace(package), cache)
    assert (first.files_cached, second.files_cached) == (0, 5)
    assert second.files[0] == first.files[0]
    assert second.files[3].findings[0].rule == "code-injection"


async def test_a_broken_cache_entry_is_as_good_as_none(pool: AnalysisPool, package: Path) -> None:
    cache = Cache()
    await Reviewer(pool).review(workspace(package), cache)
    cache.entries = dict.fromkeys(cache.entries, b"\xff broken")
    result = await Reviewer(pool).review(workspace(package), cache)
    assert result.files_cached == 0
    assert len(result.files) == 6


async def test_the_workers_answer_is_the_users_error(pool: AnalysisPool, tmp_path: Path) -> None:
    what = Reviewable(place=Place(root=str(tmp_path)), patterns=("../x",))
    with pytest.raises(InputError, match=r"\.\."):
        await Reviewer(pool).review(what, Cache())
    assert pool.alive == 1


async def test_idle_workers_end(package: Path) -> None:
    pool = AnalysisPool(processes=2, idle_seconds=0.05)
    await pool.start()
    await Reviewer(pool).review(workspace(package), Cache())
    await until_workers(none)
    assert pool.alive == 0
    result = await Reviewer(pool).review(workspace(package), Cache())
    assert len(result.files) == 6
    await pool.close()


async def test_cancelling_a_review_kills_its_workers(pool: AnalysisPool, package: Path) -> None:
    task = asyncio.create_task(Reviewer(pool).review(workspace(package), Cache()))
    await until_workers(bool)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_workers(none)
    result = await Reviewer(pool).review(workspace(package), Cache())
    assert len(result.files) == 6


async def test_a_file_that_kills_its_worker_is_reported_and_the_rest_reviewed(
    pool: AnalysisPool, package: Path
) -> None:
    # Newer syntax, so that libcst reads it, nested by `if` expressions until its stack is gone.
    (package / "killer.py").write_text("type X = int\ny = " + "a if b else " * 60_000 + "c\n")
    result = await Reviewer(pool).review(workspace(package), Cache())
    unparsed = [review.unparsed for review in result.files if review.unparsed]
    assert [item.file for item in unparsed] == ["/killer.py"]
    assert len(result.files) == 7
    assert sum(len(review.findings) for review in result.files) == 6


async def test_a_worker_killed_from_outside_costs_only_time(
    pool: AnalysisPool, package: Path
) -> None:
    await Reviewer(pool).review(workspace(package), Cache())
    review = asyncio.create_task(Reviewer(pool).review(workspace(package), Cache()))
    await asyncio.sleep(0)
    os.kill(workers()[0].pid, signal.SIGKILL)
    try:
        result = await review
    except AnalysisError:
        pytest.fail("a dead worker must be replaced")
    assert all(len(review.findings) == 1 for review in result.files)


async def test_a_request_over_its_time_is_ended(package: Path) -> None:
    pool = AnalysisPool(processes=1, request_seconds=0.01)
    await pool.start()
    with pytest.raises(AnalysisError, match="longer than"):
        await Reviewer(pool).review(workspace(package), Cache())
    await pool.close()
    assert workers() == []


async def test_a_closed_pool_says_so(package: Path) -> None:
    pool = AnalysisPool()
    with pytest.raises(AnalysisError, match="shut down"):
        await Reviewer(pool).review(workspace(package), Cache())


async def test_inline_code_needs_no_workspace(pool: AnalysisPool) -> None:
    inline = Inline(name="given.py", content=DEFECT.encode())
    result = await Reviewer(pool).review(Reviewable(inline=(inline,)), Cache())
    assert result.files[0].findings[0].file == "given.py"


def test_workers_end_with_their_parent() -> None:
    code = """
import asyncio, os, sys
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.protocol import Collect

async def main():
    pool = AnalysisPool(processes=1)
    await pool.start()
    await pool.collect(Collect(place=None, patterns=(), inline=()))
    [worker] = pool._all
    print(worker._process.pid, flush=True)
    os._exit(0)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    gone = psutil.Process(int(done.stdout)) if psutil.pid_exists(int(done.stdout)) else None
    if gone is not None:
        gone.wait(timeout=30)


@pytest.fixture
def left_behind() -> Path:
    """A worker's folder whose server is gone."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder = Path(tempfile.mkdtemp(prefix=f"sutazai-analysis-{ended.pid}-"))
    (folder / "f00000.py").write_text(DEFECT)
    return folder


async def test_what_a_killed_server_left_behind_is_cleared(
    pool: AnalysisPool, left_behind: Path
) -> None:
    await Reviewer(pool).review(Reviewable(inline=(Inline(name="a.py", content=b"x"),)), Cache())
    assert not os.access(left_behind, os.F_OK)


def test_the_parent_never_loads_the_engines() -> None:
    code = """
import sys
import tempfile
import sutazai.builtin_agents.code_reviewer
heavy = {"bandit", "libcst", "ruff", "stevedore", "yaml"} & {m.split(".")[0] for m in sys.modules}
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_shards_are_balanced_and_small_inputs_stay_together() -> None:
    def refs(*sizes: int) -> list[FileRef]:
        return [FileRef(file=f"/{n}", size=size, key=str(n)) for n, size in enumerate(sizes)]

    assert [len(group) for group in shard(refs(10, 10, 10), 4)] == [3]
    groups = shard(refs(300_000, 100_000, 100_000, 100_000), 2)
    assert sorted(sum(ref.size for ref in group) for group in groups) == [300_000, 300_000]
    assert shard([], 2) == []


async def test_a_worker_runs_any_function_of_the_analysis(
    pool: AnalysisPool, package: Path
) -> None:
    taken = await pool.call(take, workspace(package))
    assert [source.file for source in taken.sources] == [f"/module{n}.py" for n in range(6)]
    assert taken.sources[0].lines[0] == "import pickle"


async def test_a_refusal_of_a_called_function_is_the_callers(
    pool: AnalysisPool, package: Path
) -> None:
    with pytest.raises(InputError, match="absent"):
        await pool.call(take, Reviewable(place=Place(root=str(package)), patterns=("absent.py",)))


async def test_a_worker_runs_nothing_but_functions_of_the_analysis(pool: AnalysisPool) -> None:
    def outside(argument: Reviewable) -> Reviewable:
        return argument

    with pytest.raises(AnalysisError, match="no function of the analysis"):
        await pool.call(outside, Reviewable())
