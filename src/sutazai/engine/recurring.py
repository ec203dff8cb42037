"""Work that comes again and again, as a durable job of its own for each."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sutazai import clock
from sutazai.database import Connection, Database
from sutazai.engine import store
from sutazai.engine.job import Consumer, Ending, Job, NewJob, Outcome, Succeeded

KIND = "recurring"
CONSUMER = Consumer("recurring", (KIND,), 1)


class Chore(NamedTuple):
    """Something to do every so many seconds, by one worker of all."""

    name: str
    every: float
    work: Callable[[], Awaitable[None]]


class Recurring:
    """The handler of the chores; a chore that fails comes again at its next time."""

    def __init__(self, *, database: Database, chores: Sequence[Chore]) -> None:
        self._database = database
        self._chores = {chore.name: chore for chore in chores}

    async def ensure(self) -> None:
        """See to it that there is a job for each chore."""
        await self._database.run(self._ensure)

    def _ensure(self, connection: Connection) -> None:
        for name in sorted(self._chores):
            store.enqueue_unless_there(connection, self._job(name, clock.now()))

    def _job(self, name: str, run_at: int) -> NewJob:
        return NewJob(key=f"{KIND}:{name}", kind=KIND, queue=KIND, payload=name, run_at=run_at)

    def readied(self, connection: Connection, jobs: Sequence[Job], now: int) -> None:
        """See `Handler.readied`."""

    def started(self, connection: Connection, jobs: Sequence[Job], now: int) -> Mapping[int, Any]:
        """See `Handler.started`."""
        return {}

    async def run(self, job: Job, prepared: Any) -> Outcome:
        """See `Handler.run`."""
        chore = self._chores.get(job.payload)
        if chore is not None:
            await chore.work()
        return Succeeded()

    def before_ended(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """See `Handler.before_ended`."""

    def ended(self, connection: Connection, endings: Sequence[Ending], now: int) -> None:
        """See `Handler.ended`."""
        for ending in endings:
            chore = self._chores.get(ending.job.payload)
            if ending.final and chore is not None:
                later = self._job(chore.name, now + int(chore.every * clock.SECOND))
                store.enqueue_unless_there(connection, later)


async def in_batches(database: Database, purge: Callable[[Connection], int]) -> None:
    """Run a unit that deletes some rows until it deletes none, other units getting their turn."""
    while await database.run(partial(purge)):
        pass
