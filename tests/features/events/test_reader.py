"""The reader that follows the log: nothing is lost, nothing comes twice, the order is kept."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sutazai import clock
from sutazai.database import Connection, Database
from sutazai.database.postgresql import PostgresqlDatabase, postgresql_engine
from sutazai.errors import SutazaiError
from sutazai.events import log
from sutazai.events.model import SYSTEM, NewEvent
from sutazai.events.reader import SettledReader
from tests.conformance.rig import outage
from tests.postgres import PostgresServer

PATIENCE = 20.0


def write(connection: Connection, *names: str) -> None:
    events = [NewEvent(name, {}, SYSTEM, "tests") for name in names]
    log.append(connection, events, now=clock.now())


def _keep(name: str, connection: Connection) -> None:
    write(connection, name)


class Writer:
    """A transaction that stays open until told what becomes of it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    async def change_something(self) -> None:
        """Get a transaction id, as every change before its event does."""
        await self.connection.exec_driver_sql("SELECT pg_current_xact_id()")

    async def append(self, *names: str) -> None:
        await self.connection.run_sync(write, *names)

    async def commit(self) -> None:
        await self.connection.commit()

    async def roll_back(self) -> None:
        await self.connection.rollback()

    async def crash(self) -> None:
        """The process is gone, and with it its connection."""
        await self.connection.invalidate()


class Writers:
    """Any number of them beside each other, as many processes would be."""

    def __init__(self, engine: AsyncEngine, stack: contextlib.AsyncExitStack) -> None:
        self._engine = engine
        self._stack = stack

    async def one(self) -> Writer:
        connection = await self._engine.connect()
        self._stack.push_async_callback(connection.invalidate)
        return Writer(connection)


@pytest.fixture
async def shared(postgres_url: str) -> AsyncIterator[PostgresqlDatabase]:
    database = PostgresqlDatabase(postgres_url)
    yield database
    await database.close()


@pytest.fixture
async def writers(postgres_url: str) -> AsyncIterator[Writers]:
    engine = postgresql_engine(postgres_url, size=20)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        yield Writers(engine, stack)


async def read(reader: SettledReader) -> list[str]:
    """What it hands out now; a second look, because the first may only note a gap."""
    events = [*await reader.next(), *await reader.next()]
    return [event.event_type for event in events]


async def test_what_was_committed_is_handed_out_once_and_in_order(database: Database) -> None:
    reader = SettledReader(database, after=0)
    assert await read(reader) == []
    await database.run(lambda c: write(c, "a", "b"))
    await database.run(lambda c: write(c, "c"))
    assert await read(reader) == ["a", "b", "c"]
    assert await read(reader) == []
    assert not reader.waits_at_gap


async def test_small_looks_see_the_same_as_large_ones(database: Database) -> None:
    names = [f"event-{number}" for number in range(25)]
    await database.run(lambda c: write(c, *names))
    reader = SettledReader(database, after=0)
    found = []
    while events := await reader.next(limit=4):
        assert len(events) <= 4
        found += [event.event_type for event in events]
    assert found == names


async def test_a_unit_that_fails_leaves_no_event_and_holds_up_none(database: Database) -> None:
    def fails(connection: Connection) -> None:
        write(connection, "never was")
        raise LookupError

    reader = SettledReader(database, after=0)
    await database.run(lambda c: write(c, "before"))
    with pytest.raises(LookupError):
        await database.run(fails)
    await database.run(lambda c: write(c, "after"))
    assert await read(reader) == ["before", "after"]
    assert not reader.waits_at_gap


async def test_it_waits_for_an_open_transaction_with_a_lower_id(
    shared: Database, writers: Writers
) -> None:
    reader = SettledReader(shared, after=0)
    slow, quick = await writers.one(), await writers.one()
    await slow.append("slow")
    await quick.append("quick")
    await quick.commit()
    assert await read(reader) == []
    assert reader.waits_at_gap
    await slow.append("slow, too")
    await slow.commit()
    assert await read(reader) == ["slow", "quick", "slow, too"]
    assert not reader.waits_at_gap


async def test_it_waits_also_for_one_that_began_after_the_last_that_ended(
    shared: Database, writers: Writers
) -> None:
    """Such a transaction lies above the snapshot's xmax, which counts from those that ended."""
    reader = SettledReader(shared, after=0)
    old, young = await writers.one(), await writers.one()
    await old.change_something()
    await young.append("young")
    await old.append("old")
    await old.commit()
    assert await read(reader) == []
    assert reader.waits_at_gap
    await young.commit()
    assert await read(reader) == ["young", "old"]


async def test_a_reader_that_begins_now_knows_what_is_still_open_below(
    shared: Database, writers: Writers
) -> None:
    old, young = await writers.one(), await writers.one()
    await old.change_something()
    await young.append("young")
    await old.append("old")
    await old.commit()
    beginning = asyncio.create_task(SettledReader.at_the_end(shared))
    done, _ = await asyncio.wait([beginning], timeout=0.3)  # long enough for a wrong answer
    assert not done
    await young.commit()
    reader = await beginning
    await shared.run(lambda c: write(c, "new"))
    assert await read(reader) == ["new"]


@pytest.mark.parametrize("how", ["roll_back", "crash"])
async def test_it_passes_what_will_never_come(shared: Database, writers: Writers, how: str) -> None:
    reader = SettledReader(shared, after=0)
    lost, kept = await writers.one(), await writers.one()
    await lost.append("lost")
    await kept.append("kept")
    await kept.commit()
    assert await read(reader) == []
    await getattr(lost, how)()
    found: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while not found:
            found = await read(reader)
    assert found == ["kept"]
    assert not reader.waits_at_gap


async def test_a_gap_that_fills_is_forgotten(shared: Database, writers: Writers) -> None:
    reader = SettledReader(shared, after=0)
    slow, quick = await writers.one(), await writers.one()
    await slow.append("slow")
    await quick.append("quick")
    await quick.commit()
    assert await read(reader) == []
    await slow.commit()
    # A transaction that has nothing to do with it keeps the gap from being settled otherwise.
    await (await writers.one()).change_something()
    assert await read(reader) == ["slow", "quick"]
    assert not reader.waits_at_gap


async def test_every_gap_of_a_look_is_settled_together(shared: Database, writers: Writers) -> None:
    reader = SettledReader(shared, after=0)
    for number in range(10):
        lost = await writers.one()
        await lost.append("lost")
        await lost.roll_back()
        await shared.run(partial(_keep, f"kept-{number}"))
    assert await read(reader) == [f"kept-{number}" for number in range(10)]


async def _write_at_random(
    writer: Writer, name: str, chance: random.Random, committed: list[Sequence[str]]
) -> None:
    for number in range(chance.randint(3, 8)):
        names = [f"{name}-{number}-{part}" for part in range(chance.randint(1, 3))]
        if chance.random() < 0.5:
            await writer.change_something()
        for one in names:
            await writer.append(one)
            await asyncio.sleep(chance.random() * 0.005)  # so that they overlap in many ways
        if chance.random() < 0.3:
            await writer.roll_back()
        else:
            await writer.commit()
            committed.append(names)


async def test_many_writers_and_rollbacks_cost_no_event(shared: Database, writers: Writers) -> None:
    reader = SettledReader(shared, after=0)
    found: list[tuple[int, str]] = []

    async def follow() -> None:
        while True:
            found.extend((event.id, event.event_type) for event in await reader.next())

    committed: list[Sequence[str]] = []
    following = asyncio.create_task(follow())
    async with asyncio.TaskGroup() as group:
        for number in range(12):
            writer = await writers.one()
            chance = random.Random(number)  # the same histories in every run
            group.create_task(_write_at_random(writer, f"writer-{number}", chance, committed))
    wanted = sorted(name for names in committed for name in names)
    async with asyncio.timeout(PATIENCE):
        while len(found) < len(wanted):
            assert not following.done()
            await asyncio.sleep(0.01)  # then it looks again
    following.cancel()
    assert sorted(name for _, name in found) == wanted
    assert [number for number, _ in found] == sorted({number for number, _ in found})
    order = {name: place for place, (_, name) in enumerate(found)}
    for names in committed:
        assert sorted(names, key=order.__getitem__) == list(names)


async def test_a_look_that_fails_loses_nothing(
    shared: Database,
    writers: Writers,
    postgres_url: str,
    data_dir: Path,
    postgres: PostgresServer,
) -> None:
    reader = SettledReader(shared, after=0)
    await shared.run(partial(_keep, "first"))
    slow, quick = await writers.one(), await writers.one()
    await slow.append("slow")
    await quick.append("quick")
    await quick.commit()
    released = [event.event_type for event in await reader.next()]
    async with outage(shared, postgres_url, data_dir, postgres):
        with pytest.raises(SutazaiError):
            await reader.next()
    assert released + await read(reader) == ["first", "quick"]
