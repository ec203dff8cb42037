"""Work for agents from outside: handed out, renewed, reported on, whatever carries the messages.

HTTP and every other transport drive this one service. An assignment is an attempt at a job of the
engine: its lease lapses unless the agent renews it, and the token in its id refuses whoever comes
late. Each report is one unit; `claims` hands out.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from sutazai import clock
from sutazai.agents import outside
from sutazai.agents.contract import AgentDescription
from sutazai.agents.model import AgentStatus, Resources
from sutazai.database import Connection, Database
from sutazai.engine import ending, remote_store
from sutazai.engine.job import Attempt, Failed, Job, Lost, Outcome, Released, Succeeded
from sutazai.engine.remote_store import Lease
from sutazai.errors import ErrorCode, SutazaiError, not_found
from sutazai.tasks import orphans, store
from sutazai.tasks.claims import Claims, Given
from sutazai.tasks.model import TaskStatus, assignment_id_of, attempt_of
from sutazai.tasks.runner import KIND, TaskRunner, encoded, write_progress
from sutazai.telemetry.instruments import Instruments
from sutazai.telemetry.tracing import Attempt as TracedAttempt
from sutazai.telemetry.tracing import Kind, Tracing

_MOST_REMEMBERED = 10_000


class HeldLease(msgspec.Struct, frozen=True):
    """An assignment that an agent holds, and when its lease lapses (µs)."""

    assignment_id: str
    task_id: str
    lease_expires_at: int


class Pulse(msgspec.Struct, frozen=True):
    """The answer to a heartbeat: what the agent holds, and what it names but holds no longer.

    It loses what it does not renew for `lease_seconds`.
    """

    agent_id: str
    status: AgentStatus
    assignments: tuple[HeldLease, ...]
    cancelled: tuple[str, ...]
    lease_seconds: float


class _Traced(NamedTuple):
    """An attempt of a trace that is over: from when until when (µs)."""

    job: Job
    begun: int
    ended: int


class Assignments:
    """What agents from outside do; the caller has made sure who they are."""

    def __init__(
        self,
        *,
        database: Database,
        runner: TaskRunner,
        lease_seconds: float,
        instruments: Instruments | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """An agent that was silent for `lease_seconds` loses what it holds."""
        self._database = database
        self._runner = runner
        self._handlers = {KIND: runner}
        self._lease = int(lease_seconds * clock.SECOND)
        self._instruments = instruments
        self._tracing = tracing
        self._begun: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._claims = Claims(
            database=database,
            runner=runner,
            lease=self._lease,
            on_given=self._begin,
            give_back=self._hung_up,
        )

    async def start(self) -> None:
        """Begin to wake those that wait."""
        await self._claims.start()

    def end_waits(self) -> None:
        """Let go whoever waits, now and from now on: the server is stopping."""
        self._claims.end_waits()

    async def stop(self) -> None:
        """Let go whoever waits, and wake nobody any more."""
        await self._claims.stop()

    async def claim(
        self,
        agent_id: str,
        *,
        wait: float = 0,
        limit: int = 1,
        still_allowed: Callable[[], Awaitable[object]] | None = None,
    ) -> list[Given]:
        """See `Claims.claim`."""
        return await self._claims.claim(
            agent_id, wait=wait, limit=limit, still_allowed=still_allowed
        )

    def _begin(self, given: Sequence[Given]) -> None:
        for one in given:
            assignment = one.assignment
            self._begun[assignment.assignment_id] = (assignment.type, time.monotonic())
            while len(self._begun) > _MOST_REMEMBERED:
                self._begun.popitem(last=False)
            if self._instruments is not None:
                self._instruments.task_started(assignment.type, one.waited)

    async def _hung_up(self, agent_id: str, assignment_id: str) -> None:
        await self.release(agent_id, assignment_id, reason="the agent was gone before it had it")

    async def held(self, agent_id: str, assignment_ids: Collection[str]) -> list[Given]:
        """Those of these assignments that an agent holds, as they were handed to it."""
        unit = partial(self._claims.held, agent_id, frozenset(assignment_ids))
        return await self._database.read(unit)

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
            lease_seconds=self._lease / clock.SECOND,
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
        code: str,
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
        status, worked_for, traced = await self._database.run(unit)
        if traced is not None and self._tracing is not None:
            record_attempt(self._tracing, traced.job, outcome, traced.begun, traced.ended)
        begun = self._begun.pop(assignment_id, None)
        if begun is not None and self._instruments is not None:
            self._instruments.task_ran(begun[0], time.monotonic() - begun[1])
        self._claims.look_again(worked_for)
        return status

    def _end(
        self, agent_id: str | None, assignment_id: str, outcome: Outcome, connection: Connection
    ) -> tuple[TaskStatus, str, _Traced | None]:
        try:
            job, agent = self._held(connection, agent_id, assignment_id)
        except SutazaiError as error:
            if error.code is not ErrorCode.CONFLICT or agent_id is None:
                raise
            status = _recorded(connection, agent_id, assignment_id, outcome)
            if status is None:
                raise
            return status, agent_id, None
        now = clock.now()
        traced = None
        if self._tracing is not None and job.traceparent is not None:
            begun = store.get(connection, job.key)
            traced = _Traced(job, (begun and begun.started_at) or now, now)
        end = ending.decide(job, outcome, now=now)
        if not ending.apply(connection, [end], self._handlers, now=now):
            raise _lost(connection, agent.agent_id, assignment_id)
        running = remote_store.count_running(connection, agent.agent_id)
        outside.note_load(connection, agent.agent_id, running)
        if not end.final:
            # What is claimable again at once counts as processing all the while.
            waits = end.run_at is not None
            status = TaskStatus.QUEUED if waits else TaskStatus.PROCESSING
            return status, agent.agent_id, traced
        done = isinstance(outcome, Succeeded)
        return TaskStatus.COMPLETED if done else TaskStatus.FAILED, agent.agent_id, traced

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
        """Inside a unit: end the attempts of an agent that is removed; others take the tasks.

        But for those that are pinned to it: they fail, as do those that wait for it.
        """
        orphans.end_pinned_to(connection, agent_id, self._runner)
        now = clock.now()
        gone = Released("the agent was removed")
        held = remote_store.held_by(connection, agent_id)
        endings = [ending.decide(job, gone, now=now) for job in held]
        ending.apply(connection, endings, self._handlers, now=now)

    def let_go(self, agent_id: str) -> None:
        """Wake the claims of an agent that was removed, so that they learn of it."""
        self._claims.look_again(agent_id)


def record_attempt(
    tracing: Tracing | None, job: Job, outcome: Outcome, begun: int, ended: int
) -> None:
    """The span of an attempt that was an agent's from outside, as the worker makes it of ours."""
    if tracing is None or job.traceparent is None:
        return
    match outcome:
        case Failed(code=code):
            error_type: str | None = str(code)
        case Lost():
            error_type = ErrorCode.AGENT_OFFLINE
        case _:
            error_type = None
    tracing.record(
        f"process {KIND}",
        kind=Kind.CONSUMER,
        parent=job.traceparent,
        attempt=TracedAttempt(job.key, job.token),
        attributes={
            "sutazai.job.kind": job.kind,
            "sutazai.job.key": job.key,
            "sutazai.job.attempt": job.attempt,
            "sutazai.job.queue": job.queue,
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": job.consumer or "",
        },
        begun=begun,
        ended=ended,
        error_type=error_type,
    )


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
