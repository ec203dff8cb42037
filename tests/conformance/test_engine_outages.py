"""PostgreSQL goes away while jobs run: every job acknowledged still ends, and ends once."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import pytest

from sutazai import clock
from sutazai.database import Connection, Database
from sutazai.database.postgresql import PostgresqlDatabase
from sutazai.database.schema import migrate_postgresql
from sutazai.engine import store
from sutazai.engine.job import Consumer, Ending, Job, NewJob, Outcome, Succeeded
from sutazai.engine.rescuer import Rescuer
from sutazai.engine.scheduler import Scheduler
from sutazai.engine.worker import Worker
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.events import log
from sutazai.events.model import SYSTEM, NewEvent
from sutazai.events.reader import SettledReader
from tests.conformance.rig import Scripted, eventually
from tests.postgres import PostgresServer


class Recording(Scripted):
    """Writes each end into the log, for signals may be lost with the connection."""

    def ended(self, connection: Connection, endings: Sequence[Ending], now: int) -> None:
        data = [
            {"key": end.job.key, "outcome": type(end.outcome).__name__, "final": end.final}
            for end in endings
        ]
        events = [NewEvent(f"ended:{one['key']}", one, SYSTEM, "tests") for one in data]
        log.append(connection, [e for e in events if e.data["final"]], now=now)

    async def run(self, job: Job, prepared: object) -> Outcome:
        await asyncio.sleep(0.01)  # so that there is always something running
        return Succeeded()


class Cluster(NamedTuple):
    """Two processes' worth of workers on one server."""

    server: PostgresServer
    name: str
    databases: list[Database]
    reader: SettledReader

    async def accept(self, *keys: str) -> list[str]:
        """Enqueue each for itself; those that were acknowledged."""
        return [key for key in keys if await self._accept(key)]

    async def _accept(self, key: str) -> bool:
        job = NewJob(key=key, kind="k", queue="q", max_attempts=100)
        try:
            await self.databases[0].run(partial(store.enqueue, jobs=[job]))
        except SutazaiError as error:
            if error.code is not ErrorCode.DATABASE_ERROR:
                raise
            return False
        return True

    async def all_end_once(self, acknowledged: list[str]) -> None:
        ends: Counter[str] = Counter()

        async def are_there() -> bool:
            for event in await self.reader.next():
                ends[event.event_type.removeprefix("ended:")] += 1
            return set(acknowledged) <= ends.keys() and not await self._live()

        await eventually(are_there)
        assert set(ends.values()) == {1}

    async def _live(self) -> int:
        rows = await self.databases[0].read(lambda c: c.execute(store.JOBS.select()).all())
        return len(rows)


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may take down."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
async def cluster(own_server: PostgresServer) -> AsyncIterator[Cluster]:
    name = own_server.create()
    url = own_server.url(name)
    await migrate_postgresql(url)
    async with contextlib.AsyncExitStack() as stack:
        databases: list[Database] = []
        for number in (1, 2):
            database = PostgresqlDatabase(url)
            stack.push_async_callback(database.close)
            handlers = {"k": Recording()}
            worker = Worker(
                database=database,
                worker_id=f"worker-{number}",
                handlers=handlers,
                consumers=[Consumer("agent", ("q",), 5)],
                lease_seconds=3,
                poll_seconds=0.5,
            )
            await worker.start()
            stack.push_async_callback(worker.stop, drain_seconds=1)
            for part in (
                Rescuer(database=database, handlers=handlers, interval_seconds=0.2),
                Scheduler(database=database, handlers=handlers),
            ):
                await part.start()
                stack.push_async_callback(part.stop)
            databases.append(database)
        yield Cluster(own_server, name, databases, SettledReader(databases[0], after=0))


async def test_connections_that_are_cut_under_load_cost_no_job(cluster: Cluster) -> None:
    acknowledged: list[str] = []
    for number in range(8):
        acknowledged += await cluster.accept(*(f"job-{number}-{part}" for part in range(20)))
        cluster.server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{cluster.name}'"
        )
    acknowledged += await cluster.accept("last")
    assert "last" in acknowledged
    await cluster.all_end_once(acknowledged)


async def test_a_server_that_crashes_and_comes_back_costs_no_job(cluster: Cluster) -> None:
    acknowledged: list[str] = []
    for number in range(2):
        acknowledged += await cluster.accept(*(f"job-{number}-{part}" for part in range(50)))
        with cluster.server.down():
            assert not await cluster.accept(f"refused-{number}")
    acknowledged += await cluster.accept("last")
    assert "last" in acknowledged
    await cluster.all_end_once(acknowledged)


async def test_signals_of_other_processes_come_again_after_a_crash(cluster: Cluster) -> None:
    heard = asyncio.Event()
    here, there = cluster.databases
    here.listen(store.READY, lambda payload: heard.set() if payload == "news" else None)
    with cluster.server.down(), pytest.raises(SutazaiError):
        await here.read(store.next_run_at)

    async def reaches_the_other() -> bool:
        job = NewJob(key=f"news-{clock.now()}", kind="k", queue="news")
        with contextlib.suppress(SutazaiError):
            await there.run(partial(store.enqueue, jobs=[job]))
        return heard.is_set()

    await eventually(reaches_the_other)
