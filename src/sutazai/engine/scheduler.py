"""The scheduler: makes delayed jobs claimable when their time comes."""

import asyncio
import contextlib
from functools import partial

import structlog

from sutazai import clock
from sutazai.database import Connection, Database, StepFailed, step
from sutazai.engine import ending, store
from sutazai.engine.ending import Handlers
from sutazai.engine.job import Job
from sutazai.errors import SutazaiError

_logger = structlog.get_logger(__name__)

# Someone else holds what is due, so it will be ready in a moment.
_BUSY_PAUSE = 0.05
_RETRY_PAUSE = 1.0


class Scheduler:
    """Sleeps until the earliest delayed job is due; several may run beside each other."""

    def __init__(
        self, *, database: Database, handlers: Handlers, poll_seconds: float = 5.0
    ) -> None:
        """`poll_seconds` is the longest sleep: the net under a lost signal."""
        self._database = database
        self._handlers = handlers
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch the time."""
        self._database.listen(store.SCHEDULED, lambda _: self._wake.set())
        self._loop = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])

    async def _watch(self) -> None:
        while True:
            self._wake.clear()
            try:
                pause = await self._make_ready()
            except Exception as error:
                if isinstance(error, SutazaiError):
                    _logger.warning("scheduler.failed", reason=error.message)
                else:
                    _logger.exception("scheduler.failed")
                pause = _RETRY_PAUSE
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause, self._poll_seconds)):
                    await self._wake.wait()

    async def _make_ready(self) -> float:
        """Make claimable what is due; the seconds until something is again."""
        while True:
            due = await self._database.read(store.next_run_at)
            if due is None:
                return self._poll_seconds
            seconds = (due - clock.now()) / clock.SECOND
            if seconds > 0:
                return seconds
            if not await self._ready_some():
                return _BUSY_PAUSE

    async def _ready_some(self) -> int:
        try:
            return await self._database.run(partial(_ready, self._handlers))
        except SutazaiError:
            raise
        except Exception:
            _logger.exception("scheduler.unit_failed")
            return await self._database.run(partial(_ready_apart, self._handlers))


def _ready(handlers: Handlers, connection: Connection) -> int:
    now = clock.now()
    jobs = store.ready_due(connection, now=now)
    for kind, group in ending.by_kind(jobs, lambda job: job.kind):
        handlers[kind].readied(connection, group, now)
    return len(jobs)


def _ready_apart(handlers: Handlers, connection: Connection) -> int:
    """As `_ready`, but a job whose handler fails in it becomes ready all the same."""
    now = clock.now()
    jobs = store.ready_due(connection, now=now)
    for job in jobs:
        try:
            step(connection, partial(_tell_one, handlers, connection, job, now))
        except StepFailed:
            _logger.exception("scheduler.handler_failed", job=job.key, kind=job.kind)
    return len(jobs)


def _tell_one(handlers: Handlers, connection: Connection, job: Job, now: int) -> None:
    handlers[job.kind].readied(connection, [job], now)
