"""The rescuer: puts back what a dead, hung or cut-off worker was running."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import structlog

from sutazai import clock
from sutazai.database import Connection, Database
from sutazai.engine import ending, remote_store, store
from sutazai.engine.ending import Handlers
from sutazai.engine.job import Ending, Failed, Job, Lost, Outcome
from sutazai.errors import ErrorCode, SutazaiError

_logger = structlog.get_logger(__name__)

OnRemoteEnded = Callable[[Job, Outcome, int, int], None]
"""Is told of an attempt, how it ended, and from when until when it lasted (µs)."""


class _Rescued(NamedTuple):
    """The end of an attempt; `begun` only of a remote worker's."""

    ending: Ending
    begun: int | None
    now: int


_Apply = Callable[..., object]  # ending.apply or ending.apply_apart

_LOST = Lost("the worker went away")
# Waking so much later than wanted means that this whole process stood still.
_OVERSLEPT = 1.0


class Rescuer:
    """Looks for lapsed leases; any process may rescue any other's work."""

    def __init__(
        self,
        *,
        database: Database,
        handlers: Handlers,
        interval_seconds: float = 2.0,
        on_remote_ended: OnRemoteEnded | None = None,
    ) -> None:
        """`on_remote_ended` is told of the attempts of remote workers that were ended here."""
        self._on_remote_ended = on_remote_ended
        self._database = database
        self._handlers = handlers
        self._interval = interval_seconds
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._loop = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop looking."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])

    async def rescue(self) -> int:
        """Put back or fail every job whose lease is over; how many."""
        rescued = 0
        while ended := await self._rescue_some():
            rescued += len(ended)
            for end, begun, now in ended:
                if begun is not None and self._on_remote_ended is not None:
                    self._on_remote_ended(end.job, end.outcome, begun, now)
        return rescued

    async def _rescue_some(self) -> list[_Rescued]:
        try:
            return await self._database.run(partial(_rescue, self._handlers, ending.apply))
        except SutazaiError:
            raise
        except Exception:
            _logger.exception("rescuer.unit_failed")
            return await self._database.run(partial(_rescue, self._handlers, ending.apply_apart))

    async def _watch(self) -> None:
        in_order = True
        while True:
            in_order = await self._look(may_rescue=in_order)
            before = asyncio.get_running_loop().time()
            await asyncio.sleep(self._interval)
            slept = asyncio.get_running_loop().time() - before
            in_order = in_order and slept < self._interval + _OVERSLEPT

    async def _look(self, *, may_rescue: bool) -> bool:
        """Whether the database answers.

        When it did not a moment ago, or this process stood still, leases have lapsed whose workers
        are alive: they get one interval to renew them.
        """
        try:
            if not may_rescue:
                await self._database.read(store.next_run_at)
            elif rescued := await self.rescue():
                _logger.warning("rescuer.rescued", jobs=rescued)
        except SutazaiError as error:
            _logger.warning("rescuer.failed", reason=error.message)
            return False
        except Exception:
            _logger.exception("rescuer.failed")
            return False
        return True


def _rescue(handlers: Handlers, apply: _Apply, connection: Connection) -> list[_Rescued]:
    now = clock.now()
    lost = store.lapsed(connection, now=now)
    begun = remote_store.begun_at(connection, lost)
    endings = [ending.decide(job, _outcome(job, begun.get(job.id), now), now=now) for job in lost]
    ending.lock_first(connection, endings, handlers)
    jobs = store.still_held(connection, lost) if lost else []
    held = {job.id for job in jobs}
    endings = [end for end in endings if end.job.id in held]
    apply(connection, endings, handlers, now=now)
    return [_Rescued(end, begun.get(end.job.id), now) for end in endings]


def _outcome(job: Job, begun: int | None, now: int) -> Outcome:
    """How an attempt ends that was lost, or was not done in its time."""
    if begun is None or not remote_store.is_overdue(job, begun, now=now):
        return _LOST
    limit = (job.timeout or 0) / clock.SECOND
    return Failed(ErrorCode.TASK_TIMEOUT, f"It was not done within {limit:g} s.")
