"""An idle worker takes what becomes ready in the transaction that brings it, and nothing amiss."""

import asyncio
import contextlib
from pathlib import Path

from sutazai.database import Connection, open_database
from sutazai.database.unit import Tallies, take_signals
from sutazai.engine import store
from sutazai.engine.job import NewJob
from tests.conformance.rig import Rig, eventually, waits_for


class Commits:
    """Remembers how many units each commit held."""

    def __init__(self) -> None:
        self.units: list[int] = []

    def committed(self, seconds: float, units: int) -> None:
        self.units.append(units)

    def add_tallies(self, tallies: Tallies) -> None:
        pass


async def _enqueue_unseen(rig: Rig, **priorities: int) -> None:
    """Add jobs, in this order and at once, whose signal is lost."""
    added = [
        NewJob(key=key, kind="k", queue="q", priority=priority)
        for key, priority in priorities.items()
    ]

    def unit(connection: Connection) -> None:
        store.enqueue(connection, added)
        take_signals(connection)

    await rig.database.run(unit)


async def test_a_job_begins_in_the_transaction_that_enqueues_it(data_dir: Path) -> None:
    commits = Commits()
    database = await open_database(url=None, data_dir=data_dir, meter=commits)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        rig = Rig(database, stack)
        await rig.worker()
        numbers = iter(range(1_000))

        async def begins_at_once() -> bool:
            # The worker may still be about to wait for more when a job has ended.
            key = f"job {next(numbers)}"
            commits.units.clear()
            await rig.enqueue(key)
            await rig.until_ended(key)
            return commits.units == [2, 1]

        await eventually(begins_at_once)


async def test_what_is_more_urgent_or_older_is_not_overtaken(rig: Rig) -> None:
    await rig.worker(capacity=1)
    await rig.enqueue("before")
    await rig.until_ended("before")
    await _enqueue_unseen(rig, older=5, urgent=9)
    await rig.enqueue("newest")
    await rig.until_ended("urgent", "older", "newest")
    assert [one.key for one in rig.of("started")] == ["before", "urgent", "older", "newest"]


async def test_no_more_is_taken_at_once_than_there_is_room_for(rig: Rig) -> None:
    gate = asyncio.Event()
    keys = [f"job {number}" for number in range(9)]
    rig.handler.scripts = dict.fromkeys(keys, waits_for(gate))
    await rig.worker(capacity=2)
    await rig.enqueue("before")
    await rig.until_ended("before")
    await asyncio.gather(*map(rig.enqueue, keys[:5]))
    await rig.enqueue(*keys[5:])
    await rig.until_told("started", 3)
    gate.set()
    await rig.until_ended(*keys)
    assert rig.handler.most_running == 2
