"""Work for agents from outside: handed out, renewed, reported on, whatever carries the messages.

HTTP and every other transport drive this one service. An assignment is an attempt at a job of the
engine: its lease lapses unless the agent renews it, and the token in its id refuses whoever comes
late. There is no worker in between: each call is one unit, and waiting costs nothing but a place.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
import structlog

from sutazai import clock
from sutazai.agents import outside
from sutazai.agents.contract import AgentDescription, Assignment
from sutazai.agents.model import OUTSIDE, AgentStatus, Resources
from sutazai.database import Connection, Database, StepFailed, step
from sutazai.engine import ending, remote_store
from sutazai.engine import store as jobs
from sutazai.engine.job import Attempt, Failed, Job, Outcome, Released, Succeeded
from sutazai.engine.remote_store import Claimed, Lease
from sutazai.errors import ErrorCode, SutazaiError, not_found
from sutazai.tasks import store
from sutazai.tasks.model import TaskStatus, assignment_id_of, attempt_of
from sutazai.tasks.runner import KIND, TaskRunner, encoded, write_progress
from sutazai.tasks.waiting_line import Place, WaitingLine
from sutazai.telemetry.instruments import Instruments

_logger = structlog.get_logger(__name__)

# How long a lost signal can delay a job, and how often who waits is seen to be there.
_POLL_SECONDS = 2.0
# While another process claims, it may hold more rows than it will take; so one looks once more.
_SECOND_LOOK = 0.05
_MOST_REMEMBERED = 10_000

_UNSTARTED = Failed(
    ErrorCode.INTERNAL_ERROR, "The task could not be started; the server's log has the reason."
)


class Given(msgspec.Struct, frozen=True):
    """An assignment as it is handed to an agent, and when its lease lapses (µs).

    `waited` is how many seconds its task could have started earlier, of a first attempt.
    """

    assignment: Assignment
    lease_expires_at: int
    waited: float | None


class HeldLease(msgspec.Struct, frozen=True):
    """An assignment that an agent holds, and when its lease lapses (µs)."""

    assignment_id: str
    task_id: str
    lease_expires_at: int


class Pulse(msgspec.Struct, frozen=True):
    """The answer to a heartbeat: what the agent holds, and what it names but holds no longer."""

    agent_id: str
    status: AgentStatus
    assignments: tuple[HeldLease, ...]
    cancelled: tuple[str, ...]


class _Turn(NamedTuple):
    """What one look for work brought, which queues were looked at, and whether there was room."""

    given: list[Given]
    queues: tuple[str, ...]
    had_room: bool


class Assignments:
    """What agents from outside do; the caller has made sure who they are."""

    def __init__(
        self,
        *,
        database: Database,
        runner: TaskRunner,
        lease_seconds: float,
        instruments: Instruments | None = None,
    ) -> None:
        """An agent that was silent for `lease_seconds` loses what it holds."""
        self._database = database
        self._runner = runner
        self._handlers = {KIND: runner}
        self._lease = int(lease_seconds * clock.SECOND)
        self._instruments = instruments
        self._line = WaitingLine()
        self._begun: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._loop: asyncio.Task[None] | None = None
        self._settling: set[asyncio.Task[object]] = set()

    async def start(self) -> None:
        """Begin to wake those that wait."""
        self._database.listen(jobs.READY, self._on_ready)
        self._loop = asyncio.create_task(self._watch())

    def end_waits(self) -> None:
        """Let go whoever waits, now and from now on: the server is stopping."""
        self._line.close()

    async def stop(self) -> None:
        """Let go whoever waits, and wake nobody any more."""
        self.end_waits()
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
        await asyncio.gather(*self._settling, return_exceptions=True)

    def _on_ready(self, queue: str) -> None:
        self._line.wake([queue] if queue else self._line.queues)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                await self._look_after()
            except Exception as error:  # one look that fails must not be the last
                if isinstance(error, SutazaiError):
                    _logger.warning("assignments.look_failed", reason=error.message)
                else:
                    _logger.exception("assignments.look_failed")

    async def _look_after(self) -> None:
        """Keep those that wait online, wake who has missed something, tell who has room again."""
        if waiting := self._line.agents:
            present = await self._database.run(partial(outside.keep_present, agent_ids=waiting))
            # Swept away or deleted: the next look says which.
            for agent_id in waiting - present:
                self._line.wake_agent(agent_id)
            ready = partial(remote_store.ready_among, queues=self._line.queues)
            self._line.wake(await self._database.read(ready))
        # A lapsed or cancelled assignment makes room without a word from its agent.
        for agent_id in await self._database.read(outside.full_ones):
            if await self._database.run(partial(_note_load, agent_id)):
                self._line.wake_agent(agent_id)

    # --- claiming

    async def claim(
        self,
        agent_id: str,
        *,
        wait: float = 0,
        limit: int = 1,
        still_allowed: Callable[[], Awaitable[object]] | None = None,
    ) -> list[Given]:
        """Work for an agent, up to `limit` and its capacity, waiting so many seconds at most.

        `still_allowed` is asked before every further look and may raise. NOT_FOUND for an agent
        that is not from outside. Who cancels the call gives back what it was about to get.
        """
        turn = await self._take(agent_id, limit)
        if turn.given or wait <= 0 or self._line.is_closed:
            return turn.given
        until = time.monotonic() + wait
        with self._line.place(agent_id) as place:
            woken = False
            while True:
                # In line before looking, so that nothing comes in between unseen.
                self._line.join(place, turn.queues)
                turn = await self._take(agent_id, limit)
                if turn.given:
                    # There may be more: on leaving, the next one looks.
                    place.woken.set()
                    return turn.given
                left = until - time.monotonic()
                if left <= 0 or self._line.is_closed:
                    return []
                again = woken and self._database.dialect == "postgresql"
                woken = await self._wait(place, turn, min(left, _SECOND_LOOK) if again else left)
                if not woken and not again:
                    return []
                if woken and still_allowed is not None:
                    await still_allowed()

    async def _wait(self, place: Place, turn: _Turn, seconds: float) -> bool:
        if not turn.had_room:
            # Only the agent's own room can help it; others may take what comes.
            self._line.leave(place)
        return await place.wait(seconds)

    async def _take(self, agent_id: str, limit: int) -> _Turn:
        taking = asyncio.create_task(self._exchange(agent_id, limit))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            # Whoever asked is gone. What was taken in its name meanwhile goes back at once.
            self._settle(self._give_back_taken(agent_id, taking))
            raise

    async def _exchange(self, agent_id: str, limit: int) -> _Turn:
        try:
            turn = await self._database.run(partial(self._look, agent_id, limit, False))
        except SutazaiError:
            raise
        except Exception:
            _logger.exception("assignments.unit_failed")
            turn = await self._database.run(partial(self._look, agent_id, limit, True))
        for given in turn.given:
            assignment = given.assignment
            self._begun[assignment.assignment_id] = (assignment.type, time.monotonic())
            if self._instruments is not None:
                self._instruments.task_started(assignment.type, given.waited)
            while len(self._begun) > _MOST_REMEMBERED:
                self._begun.popitem(last=False)
        return turn

    def _look(self, agent_id: str, limit: int, apart: bool, connection: Connection) -> _Turn:
        now = clock.now()
        agent = outside.find(connection, agent_id)
        outside.beat(connection, agent)
        running = remote_store.count_running(connection, agent_id)
        queues = (*agent.capabilities, f"@{agent_id}")
        room = agent.max_capacity - running
        claimed: list[Claimed] = []
        if room > 0:
            claimed = remote_store.claim(
                connection,
                jobs.Want(agent_id, queues, min(room, limit)),
                worker=OUTSIDE,
                lease_expires_at=now + self._lease,
                now=now,
            )
        start = self._start_apart if apart else self._start
        given = start(connection, agent, claimed, now) if claimed else []
        outside.note_load(connection, agent_id, running + len(given))
        return _Turn(given, queues, room > 0)

    def _start(
        self, connection: Connection, agent: AgentDescription, claimed: Sequence[Claimed], now: int
    ) -> list[Given]:
        prepared = self._runner.started(connection, [one.job for one in claimed], now)
        given = []
        for job, lease_expires_at in claimed:
            work = prepared.get(job.id)
            if work is None:
                gone = Failed(ErrorCode.NOT_FOUND, "The task is no longer there.")
                ending.apply(
                    connection, [ending.decide(job, gone, now=now)], self._handlers, now=now
                )
                continue
            assignment = Assignment(
                assignment_id=assignment_id_of(job.key, job.attempt, job.token),
                task_id=work.task_id,
                type=work.type,
                description=work.description,
                metadata=work.metadata,
                attempt=job.attempt,
                configuration=agent.configuration,
            )
            waited = (now - work.could_start_at) / clock.SECOND if job.attempt == 1 else None
            given.append(Given(assignment, lease_expires_at, waited))
        return given

    def _start_apart(
        self, connection: Connection, agent: AgentDescription, claimed: Sequence[Claimed], now: int
    ) -> list[Given]:
        """As `_start`, but a task that cannot be started does not take the others with it."""
        given: list[Given] = []
        for one in claimed:
            try:
                given += step(connection, partial(self._start, connection, agent, [one], now))
            except StepFailed:
                _logger.exception("assignments.start_failed", task_id=one.job.key)
                failed = ending.decide(one.job, _UNSTARTED, now=now)
                ending.apply_apart(connection, [failed], self._handlers, now=now)
        return given

    async def _give_back_taken(self, agent_id: str, taking: asyncio.Task[_Turn]) -> None:
        turn = await taking
        for given in turn.given:
            assignment_id = given.assignment.assignment_id
            await self.release(agent_id, assignment_id, reason="the agent hung up")

    def _settle(self, work: Awaitable[object]) -> None:
        async def settled() -> None:
            try:
                await work
            except SutazaiError as error:
                _logger.warning("assignments.not_given_back", reason=error.message)
            except Exception:
                _logger.exception("assignments.not_given_back")

        task: asyncio.Task[object] = asyncio.create_task(settled())
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    # --- reporting

    async def heartbeat(
        self,
        agent_id: str,
        *,
        holding: Collection[str] | None = None,
        resources: Resources | None = None,
    ) -> Pulse:
        """An agent is there, and renews the leases of what it says it holds (None: of everything).

        What it names and does not hold any more was cancelled, or was given to another.
        """
        unit = partial(self._pulse, agent_id, holding, resources)
        return await self._database.run(unit)

    def _pulse(
        self,
        agent_id: str,
        holding: Collection[str] | None,
        resources: Resources | None,
        connection: Connection,
    ) -> Pulse:
        agent = outside.find(connection, agent_id)
        outside.beat(connection, agent, resources=resources)
        leases = remote_store.leases_of(connection, agent_id)
        held = {one.attempt: one for one in leases}
        named = {one: attempt_of(one) for one in holding or ()}
        renewing = list(held) if holding is None else [one for one in named.values() if one in held]
        expires_at = clock.now() + self._lease
        renewed = remote_store.renew(connection, agent_id, renewing, lease_expires_at=expires_at)
        held |= {one.attempt: one for one in renewed}
        outside.note_load(connection, agent_id, len(held))
        busy = len(held) >= agent.max_capacity
        return Pulse(
            agent_id=agent_id,
            status=AgentStatus.BUSY if busy else AgentStatus.ACTIVE,
            assignments=tuple(map(_held_lease, held.values())),
            cancelled=tuple(one for one, attempt in named.items() if attempt not in held),
        )

    async def progress(
        self, agent_id: str | None, assignment_id: str, percent: int, counters: Mapping[str, int]
    ) -> int:
        """How far an assignment is; renews its lease: until when (µs).

        NOT_FOUND for what is no assignment's id, CONFLICT for what the agent does not hold.
        `agent_id=None` stands for whichever agent it is.
        """
        unit = partial(self._progress, agent_id, assignment_id, percent, counters)
        return await self._database.run(unit)

    def _progress(
        self,
        agent_id: str | None,
        assignment_id: str,
        percent: int,
        counters: Mapping[str, int],
        connection: Connection,
    ) -> int:
        job, agent = self._held(connection, agent_id, assignment_id)
        attempt = Attempt(job.key, job.token)
        expires_at = clock.now() + self._lease
        renewed = remote_store.renew(
            connection, agent.agent_id, [attempt], lease_expires_at=expires_at
        )
        if not renewed:
            raise _lost(connection, agent.agent_id, assignment_id)
        write_progress(connection, job.key, job.attempt, agent.agent_id, percent, counters)
        return renewed[0].lease_expires_at

    async def complete(
        self, agent_id: str | None, assignment_id: str, result: object
    ) -> TaskStatus:
        """Record the result of an assignment, once.

        The same result again is answered the same way; otherwise as `progress`. VALIDATION_ERROR
        for a result that is too large.
        """
        outcome = encoded(result)
        if isinstance(outcome, Failed):
            raise SutazaiError(ErrorCode.VALIDATION_ERROR, outcome.message)
        return await self._report(agent_id, assignment_id, outcome)

    async def fail(
        self,
        agent_id: str | None,
        assignment_id: str,
        *,
        code: ErrorCode,
        message: str,
        retryable: bool = False,
    ) -> TaskStatus:
        """Record that an assignment cannot be done; a retryable failure uses the attempts left.

        Otherwise as `complete`.
        """
        return await self._report(
            agent_id, assignment_id, Failed(code, message, retryable=retryable)
        )

    async def release(
        self,
        agent_id: str | None,
        assignment_id: str,
        *,
        reason: str = "",
        delay_seconds: float = 0,
    ) -> TaskStatus:
        """Give an assignment back untouched, for anybody to take; uses up no attempt."""
        run_at = None
        if delay_seconds > 0:
            run_at = clock.now() + int(delay_seconds * clock.SECOND)
        outcome = Released(reason or "the agent gave it back", run_at)
        return await self._report(agent_id, assignment_id, outcome)

    async def _report(
        self, agent_id: str | None, assignment_id: str, outcome: Outcome
    ) -> TaskStatus:
        unit = partial(self._end, agent_id, assignment_id, outcome)
        status, worked_for = await self._database.run(unit)
        begun = self._begun.pop(assignment_id, None)
        if begun is not None and self._instruments is not None:
            self._instruments.task_ran(begun[0], time.monotonic() - begun[1])
        self._line.wake_agent(worked_for)
        return status

    def _end(
        self, agent_id: str | None, assignment_id: str, outcome: Outcome, connection: Connection
    ) -> tuple[TaskStatus, str]:
        try:
            job, agent = self._held(connection, agent_id, assignment_id)
        except SutazaiError as error:
            if error.code is not ErrorCode.CONFLICT or agent_id is None:
                raise
            status = _recorded(connection, agent_id, assignment_id, outcome)
            if status is None:
                raise
            return status, agent_id
        now = clock.now()
        end = ending.decide(job, outcome, now=now)
        if not ending.apply(connection, [end], self._handlers, now=now):
            raise _lost(connection, agent.agent_id, assignment_id)
        running = remote_store.count_running(connection, agent.agent_id)
        outside.note_load(connection, agent.agent_id, running)
        if not end.final:
            return TaskStatus.QUEUED, agent.agent_id
        done = isinstance(outcome, Succeeded)
        return TaskStatus.COMPLETED if done else TaskStatus.FAILED, agent.agent_id

    def _held(
        self, connection: Connection, agent_id: str | None, assignment_id: str
    ) -> tuple[Job, AgentDescription]:
        """The job of an assignment, and the agent that holds it, which has thereby beaten."""
        attempt = attempt_of(assignment_id)
        if attempt is None:
            raise not_found("assignment", assignment_id)
        job = remote_store.find(connection, attempt)
        if job is None or job.consumer is None or agent_id not in (None, job.consumer):
            raise _lost(connection, agent_id, assignment_id)
        agent = outside.find(connection, job.consumer)
        outside.beat(connection, agent)
        return job, agent

    # --- agents that go

    def give_back(self, connection: Connection, agent_id: str) -> None:
        """Inside a unit: end the attempts of an agent that is removed; others take the tasks."""
        now = clock.now()
        gone = Released("the agent was removed")
        held = remote_store.held_by(connection, agent_id)
        endings = [ending.decide(job, gone, now=now) for job in held]
        ending.apply(connection, endings, self._handlers, now=now)

    def let_go(self, agent_id: str) -> None:
        """Wake the claims of an agent that was removed, so that they learn of it."""
        self._line.wake_agent(agent_id)


def _note_load(agent_id: str, connection: Connection) -> bool:
    """Whether an agent that was full has room again."""
    agent = outside.find(connection, agent_id)
    running = remote_store.count_running(connection, agent_id)
    outside.note_load(connection, agent_id, running)
    return running < agent.max_capacity


def _held_lease(lease: Lease) -> HeldLease:
    (key, token), number, expires_at = lease
    return HeldLease(assignment_id_of(key, number, token), key, expires_at)


def _recorded(
    connection: Connection, agent_id: str, assignment_id: str, outcome: Outcome
) -> TaskStatus | None:
    """How the task ended if this very report ended it before, its answer having been lost."""
    attempt = attempt_of(assignment_id)
    task = None if attempt is None else store.get(connection, attempt.key)
    if task is None or task.assigned_agent != agent_id:
        return None
    if not assignment_id.startswith(assignment_id_of(task.task_id, task.attempt, 0)[:-1]):
        return None
    match outcome:
        case Succeeded(value=text):
            same = text == store.get_result(connection, task.task_id)
            return task.status if task.status is TaskStatus.COMPLETED and same else None
        case Failed(code=code, message=message):
            error = task.error
            same = error is not None and (error.code, error.message) == (str(code), message)
            return task.status if task.status is TaskStatus.FAILED and same else None
        case _:
            return None


def _lost(connection: Connection, agent_id: str | None, assignment_id: str) -> SutazaiError:
    """Why a report does not count; says of the task only what its agent may know."""
    attempt = attempt_of(assignment_id)
    task = None if attempt is None else store.get(connection, attempt.key)
    why = "its lease was lost, or its task has ended"
    if task is not None and task.assigned_agent == agent_id and task.status.is_final:
        why = f"its task has ended as {task.status}"
    message = f"The assignment is no longer the agent's: {why}. Stop working on it."
    return SutazaiError(ErrorCode.CONFLICT, message)
