"""Whether claiming and listing stay as cheap with a million stored tasks as with ten thousand."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from sutazai import clock, ids
from sutazai.database import Connection, open_database
from sutazai.engine import store as jobs
from sutazai.engine.job import NewJob
from sutazai.tasks import listing_store
from sutazai.tasks.counts_store import COUNTS
from sutazai.tasks.model import TaskFilter, TaskStatus
from sutazai.tasks.store import TASKS

_SIZES = (10_000, 1_000_000)
_ROUNDS = 40


def _rows(count: int) -> list[dict[str, Any]]:
    now = clock.now()
    return [
        {
            "task_id": ids.new_uuid(),
            "type": "ping",
            "description": "stored",
            "status": "completed",
            "priority": 5,
            "progress": 100,
            "metadata": "{}",
            "attempt": 1,
            "max_attempts": 3,
            "timeout_seconds": 600.0,
            "submitted_by": "user-1",
            "created_at": now,
            "started_at": now,
            "ended_at": now,
        }
        for _ in range(count)
    ]


def _fill(connection: Connection, count: int) -> None:
    for _ in range(count // 10_000):
        connection.execute(insert(TASKS), _rows(10_000))
    values = {"type": "ping", "status": "completed", "slot": 0, "count": count}
    connection.execute(insert(COUNTS), values)


def _list(connection: Connection) -> None:
    wanted = TaskFilter(status=TaskStatus.COMPLETED)
    listing_store.page(connection, wanted, limit=20, offset=0, before=None)
    listing_store.total(connection, wanted)


def _claim(connection: Connection) -> None:
    new = [NewJob(key=ids.new_uuid(), kind="task", queue="ping") for _ in range(10)]
    jobs.enqueue(connection, new)
    wants = [jobs.Want("bench", ("ping",), 10)]
    taken = jobs.claim(connection, wants, worker="w", lease_expires_at=clock.now())
    jobs.finish(connection, [jobs.Held(job.id, job.token) for job in taken])


async def _measure(size: int) -> tuple[float, float]:
    """Milliseconds for (a batch of ten through the queue, a page with its total)."""
    with tempfile.TemporaryDirectory() as directory:
        database = await open_database(url=None, data_dir=Path(directory))
        await database.run(lambda connection: _fill(connection, size))

        async def median(unit: Callable[[Connection], None], *, write: bool) -> float:
            taken = []
            for _ in range(_ROUNDS):
                begun = time.perf_counter()
                await (database.run(unit) if write else database.read(unit))
                taken.append((time.perf_counter() - begun) * 1000)
            return statistics.median(taken)

        claim = await median(_claim, write=True)
        page = await median(_list, write=False)
        await database.close()
        return claim, page


def main() -> None:
    (claim, page), (claim_many, page_many) = (asyncio.run(_measure(size)) for size in _SIZES)
    print(f"claim and finish 10, {_SIZES[0]:>9,} stored {claim:6.2f} ms")
    growth = claim_many / claim
    print(f"claim and finish 10, {_SIZES[1]:>9,} stored {claim_many:6.2f} ms   {growth:.2f}x")
    print(f"list a page,         {_SIZES[0]:>9,} stored {page:6.2f} ms")
    growth = page_many / page
    print(f"list a page,         {_SIZES[1]:>9,} stored {page_many:6.2f} ms   {growth:.2f}x")


if __name__ == "__main__":
    main()
