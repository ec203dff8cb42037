"""Chores: work that comes again and again, whoever does it, whatever happens to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sutazai import clock
from sutazai.database import Connection, Database, signal
from sutazai.engine import recurring, store
from sutazai.engine.recurring import Chore, Recurring, in_batches
from sutazai.engine.scheduler import Scheduler
from sutazai.engine.worker import Worker
from tests.conformance.rig import NEVER, PATIENCE, eventually

_HOUR = 3_600.0


class Household:
    """One chore and as many processes to do it as are asked for."""

    def __init__(self, database: Database, stack: contextlib.AsyncExitStack) -> None:
        self.database = database
        self.done: asyncio.Queue[str] = asyncio.Queue()
        self.fails = False
        self._stack = stack

    async def _sweep(self) -> None:
        self.done.put_nowait("sweep")
        if self.fails:
            raise LookupError

    async def process(self, *names: str) -> None:
        """A worker with these chores."""
        chores = [Chore(name, _HOUR, self._sweep) for name in names]
        handler = Recurring(database=self.database, chores=chores)
        handlers = {recurring.KIND: handler}
        scheduler = Scheduler(database=self.database, handlers=handlers, poll_seconds=NEVER)
        await scheduler.start()
        self._stack.push_async_callback(scheduler.stop)
        await handler.ensure()
        worker = Worker(
            database=self.database,
            worker_id=f"worker-{id(handler)}",
            handlers=handlers,
            consumers=[recurring.CONSUMER],
            lease_seconds=60,
            poll_seconds=NEVER,
        )
        await worker.start()
        self._stack.push_async_callback(worker.stop, drain_seconds=1)

    async def until_done(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.done.get()

    async def until_planned(self, *, attempt: int) -> int:
        """Wait until it is to come again, after so many failures; when, in µs from now."""

        async def is_planned() -> bool:
            return [(row.state, row.attempt) for row in await self.jobs()] == [
                ("scheduled", attempt)
            ]

        await eventually(is_planned)
        [row] = await self.jobs()
        return int(row.run_at - clock.now())

    async def jobs(self) -> list[Any]:
        return list(await self.database.read(lambda c: c.execute(store.JOBS.select()).all()))

    async def hurry(self) -> None:
        """Let its time come."""

        def unit(connection: Connection) -> None:
            connection.execute(store.JOBS.update().values(run_at=clock.now() - 1))
            signal(connection, store.SCHEDULED)

        await self.database.run(unit)


@pytest.fixture
async def household(database: Database) -> AsyncIterator[Household]:
    async with contextlib.AsyncExitStack() as stack:
        yield Household(database, stack)


async def test_a_chore_is_done_at_once_and_again_when_its_time_comes(household: Household) -> None:
    await household.process("sweep")
    await household.until_done()
    left = await household.until_planned(attempt=0)
    assert 0.9 * _HOUR < left / clock.SECOND <= _HOUR
    await household.hurry()
    await household.until_done()
    await household.until_planned(attempt=0)
    assert household.done.empty()


async def test_several_processes_have_one_chore_of_a_name_between_them(
    household: Household,
) -> None:
    for _ in range(3):
        await household.process("sweep")
    await household.until_done()
    await household.until_planned(attempt=0)
    assert household.done.empty()


async def test_a_chore_that_fails_is_tried_again_and_then_comes_at_its_next_time(
    household: Household,
) -> None:
    household.fails = True
    await household.process("sweep")
    for attempt in (1, 2):
        await household.until_done()
        await household.until_planned(attempt=attempt)
        await household.hurry()
    await household.until_done()
    left = await household.until_planned(attempt=0)
    assert left / clock.SECOND > 0.9 * _HOUR


async def test_a_chore_that_nobody_knows_any_more_ends_quietly(household: Household) -> None:
    """As one that an older version left behind."""
    left_behind = Chore("polish", _HOUR, household.until_done)
    await Recurring(database=household.database, chores=[left_behind]).ensure()
    await household.process("sweep")
    await household.until_done()

    async def only_one_is_left() -> bool:
        return [row.payload for row in await household.jobs()] == ["sweep"]

    await eventually(only_one_is_left)


async def test_batches_go_on_until_there_is_nothing_left(database: Database) -> None:
    left = [3, 2, 1, 0, 9]
    await in_batches(database, lambda _: left.pop(0))
    assert left == [9]
