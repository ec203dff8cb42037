"""Handing out the tasks' jobs to agents from outside, who may wait for them.

There is no worker in between: each look for work is one unit, and waiting costs nothing but a
place in the line.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
import structlog

from sutazai import clock
from sutazai.agents import outside
from sutazai.agents.contract import AgentDescription, Assignment
from sutazai.agents.model import OUTSIDE
from sutazai.database import Connection, Database, Standby, StepFailed, step
from sutazai.engine import ending, remote_store
from sutazai.engine import store as jobs
from sutazai.engine.job import Failed, Job
from sutazai.engine.remote_store import Claimed
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.tasks import store
from sutazai.tasks.model import assignment_id_of
from sutazai.tasks.runner import KIND, TaskRunner
from sutazai.tasks.store import Work
from sutazai.tasks.waiting_line import Place, WaitingLine
from sutazai.telemetry import tracing

_logger = structlog.get_logger(__name__)

# How long a lost signal can delay a job, and how often who waits is seen to be there.
_POLL_SECONDS = 2.0
# While another process claims, it may hold more rows than it will take; so one looks once more.
_SECOND_LOOK = 0.05

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


class _Turn(NamedTuple):
    """What one look for work brought, which queues were looked at, and whether there was room."""

    given: list[Given]
    queues: tuple[str, ...]
    had_room: bool


OnGiven = Callable[[list[Given]], None]
"""Told of what was just handed out."""
StillAllowed = Callable[[], Awaitable[object]]
"""Raises where who asked for work may not have it any more."""
GiveBack = Callable[[str, str], Awaitable[object]]
"""Gives back an agent's assignment, by the ids of both."""


class Claims:
    """Who takes what, and in which order those that wait are served."""

    def __init__(
        self,
        *,
        database: Database,
        runner: TaskRunner,
        lease: int,
        on_given: OnGiven,
        give_back: GiveBack,
    ) -> None:
        """`lease` in microseconds."""
        self._database = database
        self._runner = runner
        self._handlers = {KIND: runner}
        self._lease = lease
        self._on_given = on_given
        self._give_back = give_back
        self._line = WaitingLine()
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

    def look_again(self, agent_id: str) -> None:
        """Wake an agent's claims: it has room again, or is gone."""
        self._line.wake_agent(agent_id)

    async def claim(
        self,
        agent_id: str,
        *,
        wait: float = 0,
        limit: int = 1,
        still_allowed: StillAllowed | None = None,
    ) -> list[Given]:
        """Work for an agent, up to `limit` and its capacity, waiting so many seconds at most.

        `still_allowed` is asked whenever there may be something after a wait, and may raise.
        NOT_FOUND for an agent that is not from outside. Who cancels the call gives back what it was
        about to get.
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
                    place.wake()
                    return turn.given
                left = until - time.monotonic()
                if left <= 0 or self._line.is_closed:
                    return []
                again = woken and self._database.dialect == "postgresql"
                seconds = min(left, _SECOND_LOOK) if again else left
                if turn.had_room:
                    woken, handed = await self._stand_by(
                        place, turn.queues, limit, seconds, still_allowed
                    )
                    if handed:
                        return handed
                else:
                    # Only the agent's own room can help it; others may take what comes.
                    self._line.leave(place)
                    woken = await place.wait(seconds)
                if not woken and not again:
                    return []
                if woken and still_allowed is not None:
                    await still_allowed()

    async def _stand_by(
        self,
        place: Place,
        queues: Sequence[str],
        limit: int,
        seconds: float,
        still_allowed: StillAllowed | None,
    ) -> tuple[bool, list[Given]]:
        """Wait, so that what becomes ready meanwhile is claimed in that very transaction.

        Whether there may be something to take, and what was.
        """
        handed: list[Given] = []

        def told(turn: _Turn | None) -> None:
            if turn is not None:
                handed.extend(turn.given)
                self._on_given(turn.given)
            place.end_wait()

        look = partial(self._look_at_once, place.agent_id, limit)
        standby = self._database.stand_by(jobs.READY, queues, look, told)
        try:
            woken = await place.wait(seconds)
            await standby.withdraw()
            if handed and still_allowed is not None:
                await still_allowed()
        except BaseException:
            # Whoever asked is gone, or may not have it any more.
            self._settle(self._give_back_handed(place.agent_id, standby, handed))
            raise
        return woken, handed

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
        self._on_given(turn.given)
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

    def _look_at_once(
        self, agent_id: str, limit: int, queues: Sequence[str], connection: Connection
    ) -> _Turn:
        """As `_look`, in the transaction in which something became ready in these queues."""
        turn = self._look(agent_id, limit, False, connection)
        jobs.signal_again(connection, queues)
        return turn

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
            assignment = _assignment(job, work, agent)
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

    def held(
        self, agent_id: str, assignment_ids: Collection[str], connection: Connection
    ) -> list[Given]:
        """Inside a unit: those of these assignments that an agent holds, as they were given."""
        agent = outside.find(connection, agent_id)
        leases = {
            one.attempt: one.lease_expires_at
            for one in remote_store.leases_of(connection, agent_id)
            if assignment_id_of(one.attempt.key, one.number, one.attempt.token) in assignment_ids
        }
        found = []
        work = store.work(connection, [attempt.key for attempt in leases])
        for attempt, expires_at in leases.items():
            job = remote_store.find(connection, attempt)
            if job is not None and job.key in work:
                assignment = _assignment(job, work[job.key], agent)
                found.append(Given(assignment, expires_at, None))
        return found

    async def _give_back_taken(self, agent_id: str, taking: asyncio.Task[_Turn]) -> None:
        await self._give_back_all(agent_id, (await taking).given)

    async def _give_back_handed(
        self, agent_id: str, standby: Standby, handed: Sequence[Given]
    ) -> None:
        await standby.withdraw()
        await self._give_back_all(agent_id, handed)

    async def _give_back_all(self, agent_id: str, given: Sequence[Given]) -> None:
        for one in given:
            await self._give_back(agent_id, one.assignment.assignment_id)

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


def _assignment(job: Job, work: Work, agent: AgentDescription) -> Assignment:
    return Assignment(
        assignment_id=assignment_id_of(job.key, job.attempt, job.token),
        task_id=work.task_id,
        type=work.type,
        description=work.description,
        metadata=work.metadata,
        attempt=job.attempt,
        configuration=agent.configuration,
        traceparent=_traceparent(job),
    )


def _traceparent(job: Job) -> str | None:
    """The place of this very attempt in its trace, if its task is part of one."""
    if job.traceparent is None:
        return None
    return tracing.Attempt(job.key, job.token).below(job.traceparent)


def _note_load(agent_id: str, connection: Connection) -> bool:
    """Whether an agent that was full has room again."""
    agent = outside.find(connection, agent_id)
    running = remote_store.count_running(connection, agent_id)
    outside.note_load(connection, agent_id, running)
    return running < agent.max_capacity
