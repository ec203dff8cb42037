"""An engine whose jobs do what the test says, and that tells the test what happens."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sutazai import clock
from sutazai.database import Connection, Database, signal
from sutazai.engine import store
from sutazai.engine.job import Consumer, Ending, Job, NewJob, Outcome, Succeeded
from sutazai.engine.rescuer import Rescuer
from sutazai.engine.scheduler import Scheduler
from sutazai.engine.worker import Worker
from tests.postgres import PostgresServer

PATIENCE = 20.0
"""Seconds until something that should happen counts as not happening."""
NEVER = 3_600.0
"""A poll so rare that only a signal can wake."""

Script = Callable[[Job], Awaitable[Outcome]]


class Told(NamedTuple):
    """What a committed hook told: which, of which job, in which attempt, and how it ended."""

    hook: str
    key: str
    attempt: int
    outcome: str = ""
    final: bool = False


class Scripted:
    """The handler of the kind `k`; a job without a script succeeds at once."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.began: asyncio.Queue[Job] = asyncio.Queue()
        self.stopped: asyncio.Queue[str] = asyncio.Queue()
        self.poison: Callable[[str, Job, Outcome | None], bool] = lambda *_: False
        self.now_running = 0
        self.most_running = 0

    def readied(self, connection: Connection, jobs: Sequence[Job], now: int) -> None:
        for job in jobs:
            self._tell(connection, "readied", job)

    def started(self, connection: Connection, jobs: Sequence[Job], now: int) -> Mapping[int, Any]:
        for job in jobs:
            self._tell(connection, "started", job)
        return {job.id: f"prepared {job.key}" for job in jobs}

    def before_ended(self, connection: Connection, jobs: Sequence[Job]) -> None:
        pass

    def ended(self, connection: Connection, endings: Sequence[Ending], now: int) -> None:
        for ending in endings:
            self._tell(connection, "ended", ending.job, ending)

    def _tell(
        self, connection: Connection, hook: str, job: Job, ending: Ending | None = None
    ) -> None:
        told: list[Any] = [hook, job.key, job.attempt]
        if ending is not None:
            told += [type(ending.outcome).__name__, ending.final]
        # As a signal, because that arrives only if, and as often as, the hook was committed.
        signal(connection, "told", json.dumps(told))
        if self.poison(hook, job, None if ending is None else ending.outcome):
            raise ValueError(f"{hook} of {job.key} is poisoned")

    async def run(self, job: Job, prepared: Any) -> Outcome:
        assert prepared == f"prepared {job.key}"
        self.now_running += 1
        self.most_running = max(self.most_running, self.now_running)
        self.began.put_nowait(job)
        try:
            return await self.scripts[job.key](job) if job.key in self.scripts else Succeeded()
        except asyncio.CancelledError:
            self.stopped.put_nowait(job.key)
            raise
        finally:
            self.now_running -= 1


class Rig:
    """Workers, scheduler and rescuer on one database; everything polls so rarely as never."""

    def __init__(self, database: Database, stack: contextlib.AsyncExitStack) -> None:
        self.database = database
        self.handler = Scripted()
        self.told: list[Told] = []
        self._news = asyncio.Event()
        self._stack = stack
        self._handlers = {"k": self.handler}
        self._workers = 0
        self.rescuer = Rescuer(database=database, handlers=self._handlers)
        database.listen("told", self._hear)

    def _hear(self, payload: str) -> None:
        if payload:
            self.told.append(Told(*json.loads(payload)))
            self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what the hooks told makes the condition true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_ended(self, *keys: str) -> None:
        """Wait until these jobs are over for good."""
        await self.until(lambda: set(keys) <= {one.key for one in self.of("ended") if one.final})

    async def until_ends(self, key: str, count: int) -> None:
        """Wait until so many attempts at a job have ended."""
        await self.until(lambda: len(self.ends(key)) == count)

    async def until_told(self, hook: str, count: int) -> None:
        """Wait until a hook was told of so many jobs."""
        await self.until(lambda: len(self.of(hook)) >= count)

    async def handler_is_idle(self) -> None:
        """Wait until no attempt is being made."""

        async def is_idle() -> bool:
            return not self.handler.now_running

        await eventually(is_idle)

    def of(self, hook: str, key: str | None = None) -> list[Told]:
        """What was told by a hook, of one job or of all."""
        return [one for one in self.told if one.hook == hook and key in (None, one.key)]

    def ends(self, key: str) -> list[tuple[int, str, bool]]:
        """Every recorded end of a job: its attempt, the outcome, whether it was the last."""
        return [(one.attempt, one.outcome, one.final) for one in self.of("ended", key)]

    async def began(self) -> Job:
        """The next attempt that begins."""
        async with asyncio.timeout(PATIENCE):
            return await self.handler.began.get()

    async def stopped(self) -> str:
        """The next attempt that is told to stop."""
        async with asyncio.timeout(PATIENCE):
            return await self.handler.stopped.get()

    async def enqueue(self, *keys: str, **fields: Any) -> None:
        """Add jobs that are alike but for their keys."""
        fields = {"kind": "k", "queue": "q", **fields}
        jobs = [NewJob(key=key, **fields) for key in keys]
        await self.database.run(partial(store.enqueue, jobs=jobs))

    async def worker(
        self,
        *,
        capacity: int = 4,
        queues: tuple[str, ...] = ("q",),
        lease_seconds: float = 60.0,
        drain_seconds: float = 0.0,
        consumers: Sequence[Consumer] | None = None,
    ) -> Worker:
        """A worker that runs from now on."""
        self._workers += 1
        worker = Worker(
            database=self.database,
            worker_id=f"worker-{self._workers}",
            handlers=self._handlers,
            consumers=consumers or [Consumer("agent", queues, capacity)],
            lease_seconds=lease_seconds,
            poll_seconds=NEVER,
        )
        await worker.start()
        self._stack.push_async_callback(worker.stop, drain_seconds=drain_seconds)
        return worker

    async def scheduler(self) -> None:
        """Have delayed jobs made ready from now on."""
        scheduler = Scheduler(database=self.database, handlers=self._handlers, poll_seconds=NEVER)
        await scheduler.start()
        self._stack.push_async_callback(scheduler.stop)

    async def lapse(self) -> None:
        """Let every lease be over, and have the rescuer look."""
        await self.database.run(store.void_leases)
        await self.rescuer.rescue()

    async def hurry(self) -> None:
        """Make due whatever waits for its time."""

        def unit(connection: Connection) -> None:
            waiting = store.JOBS.c.state == "scheduled"
            connection.execute(store.JOBS.update().where(waiting).values(run_at=clock.now() - 1))
            signal(connection, store.SCHEDULED)

        await self.database.run(unit)

    async def jobs(self) -> dict[str, Any]:
        """The live jobs' rows, by key."""
        rows = await self.database.read(lambda c: c.execute(store.JOBS.select()).all())
        return {row.key: row for row in rows}


async def eventually(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait for what nothing announces, such as a heartbeat or the end of a lease."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110  # a row tells nobody that it has changed
            await asyncio.sleep(0.02)  # then it looks again


def waits_for(gate: asyncio.Event, outcome: Outcome | None = None) -> Script:
    """A script that ends once the gate is open."""

    async def script(job: Job) -> Outcome:
        await gate.wait()
        return Succeeded() if outcome is None else outcome

    return script


def always(outcome: Outcome) -> Script:
    """A script that ends so at once."""

    async def script(job: Job) -> Outcome:
        return outcome

    return script


@contextlib.asynccontextmanager
async def outage(
    database: Database, url: str | None, data_dir: Path, postgres: PostgresServer
) -> AsyncIterator[None]:
    """While inside, the database refuses what it is asked."""
    if url is None:
        await database.run(lambda c: c.exec_driver_sql("PRAGMA busy_timeout=1").scalar())
        with contextlib.closing(sqlite3.connect(data_dir / "sutazai.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.rollback()
        return
    name = url.partition("?")[0].rpartition("/")[2]
    postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    postgres.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    try:
        yield
    finally:
        postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
