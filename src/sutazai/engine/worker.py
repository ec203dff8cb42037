"""The worker: claims what its consumers have room for, runs it, reports how it ended."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from sutazai import clock
from sutazai.database import Connection, Database, Standby, StepFailed, step
from sutazai.engine import ending, store
from sutazai.engine.ending import Handlers
from sutazai.engine.job import Consumer, Ending, Failed, Job, Outcome, Released
from sutazai.engine.store import Held
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.telemetry.instruments import Instruments
from sutazai.telemetry.tracing import Attempt, Kind, Tracing, fail, span

_logger = structlog.get_logger(__name__)

# How long a handler that was told to stop may take to clean up before it is left behind.
_STOP_GRACE = 5.0
_REPORT_GRACE = 2.0
_RETRY_PAUSE = 0.5
# While another process claims, it may hold more rows than it will take; so who found too little
# looks once more.
_SECOND_LOOK = 0.05

_NONE: frozenset[str] = frozenset()
_STOPPED = Released("the worker is shutting down")
_UNSTARTED = Failed(
    ErrorCode.INTERNAL_ERROR, "The job could not be started; the server's log has the reason."
)


class _Running:
    """One attempt in progress; `abandoned` once its end no longer counts."""

    __slots__ = ("abandoned", "job", "task")

    def __init__(self, job: Job, task: asyncio.Task[Outcome]) -> None:
        self.job = job
        self.task = task
        self.abandoned = False

    def abandon(self) -> None:
        self.abandoned = True
        self.task.cancel()


class Worker:
    """Runs jobs for its consumers, as many at a time as each has capacity."""

    def __init__(
        self,
        *,
        database: Database,
        worker_id: str,
        handlers: Handlers,
        consumers: Sequence[Consumer],
        lease_seconds: float,
        poll_seconds: float = 2.0,
        instruments: Instruments | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """Whatever runs here runs elsewhere once this was silent for `lease_seconds`.

        `poll_seconds` is how long a lost signal can delay a job.
        """
        self._database = database
        self._worker_id = worker_id
        self._lease = int(lease_seconds * clock.SECOND)
        self._poll_seconds = poll_seconds
        self._handlers = handlers
        self._instruments = instruments
        self._tracing = tracing
        self._consumers = {consumer.name: consumer for consumer in consumers}
        self._queues = frozenset(queue for consumer in consumers for queue in consumer.queues)
        # Queues that may have work: asking one makes it cold, a signal makes it hot again.
        self._hot: set[str] = set(self._queues)
        self._shut: Mapping[str, frozenset[str]] = {}
        self._looked_again: set[str] = set()
        self._second_look: asyncio.TimerHandle | None = None
        self._running: dict[Held, _Running] = {}
        self._load = dict.fromkeys(self._consumers, 0)
        self._endings: list[Ending] = []
        self._cancelled_meanwhile: set[str] = set()
        self._is_turning = False
        self._standby: Standby | None = None
        self._wake = asyncio.Event()
        self._beat_now = asyncio.Event()
        self._changed = asyncio.Event()
        self._draining = False
        self._loops: list[asyncio.Task[None]] = []

    @property
    def load(self) -> dict[str, int]:
        """How many jobs each consumer is running here."""
        return dict(self._load)

    def shut(self, queues: Mapping[str, frozenset[str]]) -> None:
        """From now on consumers take nothing from these queues of theirs, but from all others.

        On the event loop.
        """
        opened = {
            queue
            for consumer, before in self._shut.items()
            for queue in before - queues.get(consumer, frozenset())
        }
        self._shut = dict(queues)
        self._heat(frozenset(opened))

    @property
    def is_healthy(self) -> bool:
        """Whether it still claims and beats."""
        return bool(self._loops) and not any(loop.done() for loop in self._loops)

    async def start(self) -> None:
        """Begin to claim."""
        self._database.listen(store.READY, self._on_ready)
        self._database.listen(store.CANCELLED, self._on_cancelled)
        self._wake.set()
        self._loops = [asyncio.create_task(self._claim_loop()), asyncio.create_task(self._beat())]

    async def stop(self, *, drain_seconds: float) -> None:
        """Claim nothing more, let running work finish for a while, give the rest back."""
        self._draining = True
        self._wake.set()
        await self._until(self._is_idle, drain_seconds)
        for running in list(self._running.values()):
            running.task.cancel()
        await self._until(self._is_idle, _STOP_GRACE)
        # What does not even stop when told to is given back all the same: its end counts no more.
        for running in list(self._running.values()):
            running.abandon()
            self._endings.append(ending.decide(running.job, _STOPPED, now=clock.now()))
        self._wake.set()
        # Where this fails the leases lapse by themselves and a rescuer takes over.
        await self._until(lambda: not self._endings and not self._is_turning, _REPORT_GRACE)
        if self._second_look is not None:
            self._second_look.cancel()
        for loop in self._loops:
            loop.cancel()
        self._standby = None
        await asyncio.gather(*self._loops, return_exceptions=True)

    def _is_idle(self) -> bool:
        claims = self._is_turning or self._standby is not None
        return not self._running and not self._endings and not claims

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()

    # --- signals

    def _on_ready(self, queue: str) -> None:
        if not queue:
            self._heat(self._queues)
        elif queue in self._queues:
            self._heat((queue,))

    def _heat(self, queues: Sequence[str] | frozenset[str]) -> None:
        self._hot.update(queues)
        self._wake.set()

    def _on_cancelled(self, key: str) -> None:
        if not key:
            self._beat_now.set()
            return
        if self._is_turning:
            self._cancelled_meanwhile.add(key)
        for running in self._running.values():
            if running.job.key == key:
                running.abandon()

    # --- claiming and reporting, in one transaction a turn

    async def _claim_loop(self) -> None:
        while True:
            self._stand_by()
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._wake.wait()
            except TimeoutError:
                self._hot |= self._queues
            self._wake.clear()
            await self._withdraw()
            try:
                while self._endings or self._wants(self._hot):
                    await self._turn()
            except Exception as error:
                if isinstance(error, SutazaiError):
                    _logger.warning("worker.turn_failed", reason=error.message)
                else:
                    _logger.exception("worker.turn_failed")
                await asyncio.sleep(_RETRY_PAUSE)
                self._wake.set()

    def _stand_by(self) -> None:
        """Until the next turn, let what becomes ready be claimed as it does."""
        wants = self._wants(self._queues)
        if wants:
            queues = {queue for want in wants for queue in want.queues}
            unit = partial(self._unit_at_once, wants)
            self._standby = self._database.stand_by(store.READY, queues, unit, self._handed)

    async def _withdraw(self) -> None:
        if self._standby is not None:
            await self._standby.withdraw()
            self._standby = None
            self._changed.set()

    def _handed(self, claimed: list[tuple[Job, Any]] | None) -> None:
        if self._standby is not None:  # else it was stopped meanwhile, and the leases lapse
            for job, prepared in claimed or ():
                self._begin(job, prepared)
            self._wake.set()

    def _wants(self, queues: Collection[str]) -> list[store.Want]:
        """What there is room for from these queues."""
        if self._draining or not queues:
            return []
        wants = []
        for consumer in self._consumers.values():
            free = consumer.capacity - self._load[consumer.name]
            shut = self._shut.get(consumer.name, _NONE)
            asked = tuple(
                queue for queue in consumer.queues if queue in queues and queue not in shut
            )
            if free > 0 and asked:
                wants.append(store.Want(consumer.name, asked, free))
        return wants

    async def _turn(self) -> None:
        # They stay in the list, and so under lease, until their end is on the disk.
        endings = list(self._endings)
        wants = self._wants(self._hot)
        # Cold before the claim: a signal that comes during it makes the queue hot again.
        asked = {queue for want in wants for queue in want.queues}
        self._hot -= asked
        self._is_turning = True
        self._cancelled_meanwhile.clear()
        try:
            claimed = await self._exchange(endings, wants)
        except BaseException:
            self._hot |= asked
            raise
        else:
            del self._endings[: len(endings)]
            for job, prepared in claimed:
                if job.key not in self._cancelled_meanwhile:
                    self._begin(job, prepared)
            self._judge_heat(wants, [job for job, _ in claimed])
        finally:
            self._is_turning = False
            self._changed.set()

    async def _exchange(
        self, endings: list[Ending], wants: list[store.Want]
    ) -> list[tuple[Job, Any]]:
        try:
            return await self._database.run(partial(self._unit, endings, wants))
        except SutazaiError:
            raise
        except Exception:
            _logger.exception("worker.unit_failed")
            # What cannot be started took a place in the claim, but takes none here.
            self._hot.update(queue for want in wants for queue in want.queues)
            return await self._database.run(partial(self._unit_apart, endings, wants))

    def _judge_heat(self, wants: list[store.Want], claimed: list[Job]) -> None:
        taken = dict.fromkeys((want.consumer for want in wants), 0)
        for job in claimed:
            taken[job.consumer or ""] += 1
        unfilled: set[str] = set()
        for want in wants:
            if taken[want.consumer] >= want.limit:
                # Filled to the brim, so there may be more where that came from.
                self._hot.update(want.queues)
            else:
                unfilled.update(want.queues)
        if unfilled and self._database.dialect == "postgresql":
            again = unfilled - self._looked_again
            self._looked_again = (self._looked_again - unfilled) | again
            if again:
                loop = asyncio.get_running_loop()
                self._second_look = loop.call_later(_SECOND_LOOK, self._heat, frozenset(again))

    def _unit(
        self, endings: list[Ending], wants: list[store.Want], connection: Connection
    ) -> list[tuple[Job, Any]]:
        now = clock.now()
        ending.apply(connection, endings, self._handlers, now=now)
        claimed: list[tuple[Job, Any]] = []
        for kind, group in ending.by_kind(
            self._claim(connection, wants, now), lambda job: job.kind
        ):
            prepared = self._handlers[kind].started(connection, group, now)
            claimed += [(job, prepared.get(job.id)) for job in group]
        return claimed

    def _unit_at_once(
        self, wants: list[store.Want], queues: Sequence[str], connection: Connection
    ) -> list[tuple[Job, Any]]:
        """As `_unit`, in the transaction in which something became ready in these queues."""
        asked = [
            want._replace(queues=tuple(queue for queue in want.queues if queue in queues))
            for want in wants
        ]
        claimed = self._unit([], [want for want in asked if want.queues], connection)
        store.signal_again(connection, queues)
        return claimed

    def _unit_apart(
        self, endings: list[Ending], wants: list[store.Want], connection: Connection
    ) -> list[tuple[Job, Any]]:
        """As `_unit`, but a job whose handler fails in it does not take the others with it."""
        now = clock.now()
        ending.apply_apart(connection, endings, self._handlers, now=now)
        claimed: list[tuple[Job, Any]] = []
        unstarted: list[Ending] = []
        for job in self._claim(connection, wants, now):
            try:
                prepared = step(connection, partial(self._start_one, connection, job, now))
            except StepFailed:
                _logger.exception("worker.start_failed", job=job.key, kind=job.kind)
                unstarted.append(ending.decide(job, _UNSTARTED, now=now))
            else:
                claimed.append((job, prepared))
        ending.apply_apart(connection, unstarted, self._handlers, now=now)
        return claimed

    def _start_one(self, connection: Connection, job: Job, now: int) -> Any:
        return self._handlers[job.kind].started(connection, [job], now).get(job.id)

    def _claim(self, connection: Connection, wants: list[store.Want], now: int) -> list[Job]:
        if not wants:
            return []
        return store.claim(
            connection, wants, worker=self._worker_id, lease_expires_at=now + self._lease
        )

    # --- running

    def _begin(self, job: Job, prepared: Any) -> None:
        task = asyncio.create_task(self._attempt(job, prepared))
        running = self._running[Held(job.id, job.token)] = _Running(job, task)
        self._load[job.consumer or ""] += 1
        # Not in the task itself: one that is cancelled before its first step never gets there.
        task.add_done_callback(partial(self._over, running))

    def _over(self, running: _Running, task: asyncio.Task[Outcome]) -> None:
        job = running.job
        del self._running[Held(job.id, job.token)]
        self._load[job.consumer or ""] -= 1
        outcome = _outcome(job, task)
        if not running.abandoned:
            self._endings.append(ending.decide(job, outcome, now=clock.now()))
        self._wake.set()
        self._changed.set()

    async def _attempt(self, job: Job, prepared: Any) -> Outcome:
        # A job that nobody's request led to is in no trace.
        with span(
            self._tracing if job.traceparent else None,
            f"process {job.kind}",
            kind=Kind.CONSUMER,
            parent=job.traceparent,
            attempt=Attempt(job.key, job.token),
            attributes={
                "sutazai.job.kind": job.kind,
                "sutazai.job.key": job.key,
                "sutazai.job.attempt": job.attempt,
                "sutazai.job.queue": job.queue,
            },
        ) as current:
            outcome = await self._within_limit(job, prepared)
            if isinstance(outcome, Failed):
                fail(current, outcome.code)
            return outcome

    async def _within_limit(self, job: Job, prepared: Any) -> Outcome:
        limit = None if job.timeout is None else job.timeout / clock.SECOND
        try:
            async with asyncio.timeout(limit) as deadline:
                return await self._handlers[job.kind].run(job, prepared)
        except TimeoutError as error:
            if deadline.expired() and limit is not None:
                return Failed(ErrorCode.TASK_TIMEOUT, f"It was not done within {limit:g} s.")
            return _crash(job, error)
        except (Exception, SystemExit) as error:
            return _crash(job, error)

    async def _beat(self) -> None:
        """Renew the leases, and stop what is no longer ours."""
        pause = usual = self._lease / clock.SECOND / 3
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._beat_now.wait()
            self._beat_now.clear()
            try:
                await self._renew()
                pause = usual
            except Exception as error:
                if isinstance(error, SutazaiError):
                    _logger.warning("worker.heartbeat_failed", reason=error.message)
                else:
                    _logger.exception("worker.heartbeat_failed")
                pause = min(usual, _RETRY_PAUSE)

    async def _renew(self) -> None:
        before = dict(self._running)
        # Only what is known here: what was claimed and never heard of shall lapse.
        known = before.keys() | {Held(end.job.id, end.job.token) for end in self._endings}
        if not known:
            return

        def renew(connection: Connection) -> set[Held]:
            return store.renew(
                connection,
                known,
                worker=self._worker_id,
                lease_expires_at=clock.now() + self._lease,
            )

        held = await self._database.run(renew)
        for attempt, running in before.items():
            if attempt not in held and attempt in self._running and not running.abandoned:
                job = running.job
                _logger.warning("worker.lease_lost", job=job.key, attempt=job.attempt)
                if self._instruments is not None:
                    self._instruments.lease_lost()
                running.abandon()


def _outcome(job: Job, task: asyncio.Task[Outcome]) -> Outcome:
    if task.cancelled():
        if task.cancelling():
            return _STOPPED
        # Nobody told it to stop: something that it waited for was cancelled.
        return _crash(job, asyncio.CancelledError())
    error = task.exception()
    return task.result() if error is None else _crash(job, error)


def _crash(job: Job, error: BaseException) -> Failed:
    _logger.error("worker.crashed", job=job.key, attempt=job.attempt, exc_info=error)
    message = f"The attempt crashed: {type(error).__name__}."
    return Failed(ErrorCode.INTERNAL_ERROR, message, retryable=True)
