"""What users do with tasks; every door (REST, CLI, later GraphQL and MCP) calls these methods."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from sutazai import clock, ids
from sutazai.agents.service import AgentDirectory
from sutazai.database import Connection, Database
from sutazai.engine import store as jobs
from sutazai.engine.job import NewJob
from sutazai.errors import Detail, ErrorCode, SutazaiError, not_found
from sutazai.events import log
from sutazai.events.hub import EventHub
from sutazai.events.model import NewEvent, Origin
from sutazai.events.waiting import Waiters
from sutazai.limits.idempotency import Replayable
from sutazai.tasks import dependencies, listing_store, orphans, store, waiting_store
from sutazai.tasks.dependencies import Ends
from sutazai.tasks.estimates import Estimator
from sutazai.tasks.given import InputChecks
from sutazai.tasks.model import (
    NewTask,
    PendingReason,
    Submitted,
    Task,
    TaskDraft,
    TaskEnded,
    TaskFilter,
    TaskPage,
    TaskResult,
    TaskStatus,
)
from sutazai.tasks.notices import RESOURCE, notice
from sutazai.tasks.runner import KIND, MOST_RESULT_BYTES
from sutazai.telemetry.tracing import Kind, Tracing, span, traceparent_of

_logger = structlog.get_logger(__name__)

_FINAL_EVENTS = frozenset({"task.completed", "task.failed", "task.cancelled"})

CheckUrl = Callable[[str], Awaitable[None]]


_Seen = tuple[Task, str | None]
"""A task, and its result as JSON text where that was looked for."""
_Look = Callable[[str, Connection], _Seen | None]


class Tasks:
    """Submit, follow, list, cancel."""

    def __init__(
        self,
        *,
        database: Database,
        hub: EventHub,
        directory: AgentDirectory,
        ends: Ends,
        check_callback_url: CheckUrl,
        input_checks: InputChecks | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """`ends` is told of the ends that this service brings about.

        `check_callback_url` raises VALIDATION_ERROR for a URL that may not be called;
        `input_checks` say why whoever may do a task would refuse its metadata.
        """
        self._database = database
        self._directory = directory
        self._ends = ends
        self._check_callback_url = check_callback_url
        self._input_checks = input_checks
        self._tracing = tracing
        self._estimator = Estimator(database=database, directory=directory)
        self._waiters = Waiters(hub, id_field="task_id", ended_by=_FINAL_EVENTS)
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to release tasks that wait for an agent to come online."""
        self._watching = asyncio.create_task(self._watch_agents())

    def end_waits(self) -> None:
        """Let go whoever waits for a task, now and from now on: the server is stopping."""
        self._waiters.close()

    async def stop(self) -> None:
        """Stop releasing tasks."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    # --- submitting

    async def submit(
        self,
        draft: TaskDraft,
        *,
        submitted_by: str,
        origin: Origin,
        replay: Replayable | None = None,
    ) -> Submitted:
        """Accept a task; when this returns it is durable. A `replay` answers a repeated request.

        VALIDATION_ERROR for an unknown type, agent or dependency, with a detail a field, and for a
        callback URL that may not be called.
        """
        if self.problems(draft.type, draft.agent):
            # An agent may have joined a moment ago, and through another process.
            await self._directory.refresh()
        self._check(draft)
        given = (draft.type, draft.agent, draft.description, draft.metadata)
        wrong = await asyncio.to_thread(self.input_problem, *given)
        if wrong is not None:
            raise _invalid([wrong])
        await self.check_callback(draft)
        self._estimator.keep_fresh(draft.type)
        with span(self._tracing, f"create {draft.type}", kind=Kind.PRODUCER) as current:
            traceparent = traceparent_of(current)

            def unit(connection: Connection) -> Submitted:
                make = partial(self._add, connection, draft, submitted_by, origin, traceparent)
                return make() if replay is None else replay(connection, Submitted, make)

            submitted = await self._database.run(unit)
            if current is not None:
                current.set_attribute("sutazai.task.id", submitted.task_id)
            return submitted

    async def check_callback(self, draft: TaskDraft) -> None:
        """VALIDATION_ERROR where the draft's callback URL may not be called."""
        if draft.callback_url is not None:
            await self._check_callback_url(draft.callback_url)

    def _check(self, draft: TaskDraft) -> None:
        wrong = self.problems(draft.type, draft.agent)
        if wrong:
            raise _invalid(wrong)

    def input_problem(
        self,
        task_type: str,
        agent_id: str | None,
        description: str,
        metadata: Mapping[str, Any],
        unknown: Collection[str] = (),
    ) -> Detail | None:
        """Why whoever may do such a task would refuse its metadata; computes for a moment.

        `unknown` names the fields that have a value only later.
        """
        if self._input_checks is None:
            return None
        return self._input_checks.problem(task_type, agent_id, description, metadata, unknown)

    def looks_at_input(self, task_type: str) -> bool:
        """Whether `input_problem` may have something to say of tasks of this type."""
        return self._input_checks is not None and task_type in self._input_checks.types

    def problems(self, task_type: str, agent_id: str | None) -> list[Detail]:
        """Why nobody could ever do a task of this type, pinned to this agent or to none."""
        wrong = []
        known = self._directory.known_types
        if task_type not in known:
            types = ", ".join(sorted(known))
            wrong.append(Detail("type", f"{task_type!r} is not known; there are: {types}"))
        if agent_id is not None:
            agent = self._directory.agent(agent_id)
            if agent is None:
                wrong.append(Detail("agent", f"There is no agent {agent_id!r}"))
            elif task_type not in agent.capabilities:
                can = ", ".join(agent.capabilities)
                wrong.append(Detail("agent", f"{agent_id} cannot do {task_type}, only: {can}"))
        return wrong

    def _add(
        self,
        connection: Connection,
        draft: TaskDraft,
        submitted_by: str,
        origin: Origin,
        traceparent: str | None,
    ) -> Submitted:
        drafts = [draft]
        return self.add(
            connection, drafts, submitted_by=submitted_by, origin=origin, traceparent=traceparent
        )[0]

    def add(
        self,
        connection: Connection,
        drafts: Sequence[TaskDraft],
        *,
        submitted_by: str,
        origin: Origin,
        traceparent: str | None = None,
    ) -> list[Submitted]:
        """Inside a unit: accept tasks whose types and agents were checked, in this order."""
        if not drafts:
            return []
        now = clock.now()
        gone = orphans.pins_gone(connection, drafts, self._directory)
        new, queue, events, accepted = [], [], [], []
        for draft in drafts:
            task_id = ids.new_uuid()
            delayed = draft.run_at is not None and draft.run_at > now
            waits = bool(draft.depends_on) and self._must_wait(connection, draft)
            reason = None
            if waits:
                reason = PendingReason.DEPENDENCY
            elif delayed:
                reason = PendingReason.SCHEDULED
            elif draft.agent in gone or not self._directory.serves(draft.type, draft.agent):
                reason = dependencies.lacking(draft.type, draft.agent, self._directory)
            status = TaskStatus.PENDING if reason else TaskStatus.QUEUED
            new.append(NewTask(task_id, draft, status, reason))
            job = NewJob(
                key=task_id,
                kind=KIND,
                queue=self._directory.queue(draft.type, draft.agent),
                priority=draft.priority,
                max_attempts=draft.max_attempts,
                timeout=int(draft.timeout_seconds * clock.SECOND),
                run_at=draft.run_at if delayed else None,
                held=waits,
                traceparent=traceparent,
            )
            queue.append(job)
            data = {"task_id": task_id, "type": draft.type, "status": status, "attempt": 0}
            events.append(NewEvent("task.created", data, origin, RESOURCE, submitted_by))
            earliest = max(now, draft.run_at or 0)
            about = None if waits else self._estimator.completion(draft.type, earliest=earliest)
            accepted.append(_accepted(new[-1], about, now))
        request_id = origin.request_id
        store.add(connection, new, submitted_by=submitted_by, request_id=request_id, now=now)
        jobs.enqueue(connection, queue)
        log.append(connection, events, now=now)
        return accepted

    def _must_wait(self, connection: Connection, draft: TaskDraft) -> bool:
        """Whether a dependency is unfinished; locked, so that none ends unnoticed meanwhile."""
        others = store.lock(connection, draft.depends_on)
        wrong = []
        for task_id in draft.depends_on:
            other = others.get(task_id)
            if other is None:
                wrong.append(Detail("depends_on", f"There is no task {task_id!r}"))
            elif other.status in (TaskStatus.FAILED, TaskStatus.CANCELLED):
                problem = f"The task {task_id} has already ended as {other.status}"
                wrong.append(Detail("depends_on", problem))
        if wrong:
            raise SutazaiError(ErrorCode.VALIDATION_ERROR, "Invalid input data", details=wrong)
        return any(other.status is not TaskStatus.COMPLETED for other in others.values())

    # --- following

    async def get(self, task_id: str, *, wait: float = 0) -> Task:
        """A task as it is now, or as soon as it has ended, waiting `wait` seconds at most.

        NOT_FOUND without it.
        """
        return (await self._awaited(task_id, wait, _look))[0]

    async def _awaited(self, task_id: str, wait: float, look: _Look) -> _Seen:
        see = partial(self._see, task_id, look)
        return await self._waiters.ended(task_id, wait, see, lambda seen: seen[0].status.is_final)

    async def _see(self, task_id: str, look: _Look) -> _Seen:
        seen = await self._database.read(partial(look, task_id))
        if seen is None:
            raise not_found("task", task_id)
        return seen

    async def result(self, task_id: str, *, wait: float = 0) -> TaskResult:
        """How a task ended.

        CONFLICT before the end or when it was cancelled; TASK_TIMEOUT when waiting was not enough.
        """
        task, text = await self._awaited(task_id, wait, _look_with_result)
        if not task.status.is_final:
            if wait > 0:
                message = f"The task is still {task.status} after {wait:g} s; ask again."
                raise SutazaiError(ErrorCode.TASK_TIMEOUT, message, retry_after=1)
            message = f"The task is still {task.status}; wait for it with ?wait=20."
            raise SutazaiError(ErrorCode.CONFLICT, message)
        if task.status is TaskStatus.CANCELLED:
            raise SutazaiError(ErrorCode.CONFLICT, "The task was cancelled and has no result.")
        return TaskResult(
            task_id, task.type, task.status, text, task.error, task.ended_at or task.created_at
        )

    async def find(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Those of these tasks that there are, as they are now."""
        return await self._database.read(partial(store.find, task_ids=task_ids))

    def read_results(
        self, connection: Connection, task_ids: Sequence[str], *, most: int
    ) -> dict[str, str] | None:
        """Inside a unit: the results of those of these tasks that have one, as JSON text.

        None where they are larger together than so many characters.
        """
        if store.size_of_results(connection, task_ids) > most:
            return None
        return store.find_results(connection, task_ids)

    def recent_durations(self, connection: Connection, task_type: str) -> list[int]:
        """Inside a unit: how long (µs) the last completed tasks of a type took."""
        return store.recent_durations(connection, task_type)

    async def find_results(self, task_ids: Sequence[str]) -> dict[str, str]:
        """The results of those of these tasks that have one, as JSON text.

        BAD_REQUEST where they are larger together than one result may be.
        """

        def unit(connection: Connection) -> dict[str, str]:
            if store.size_of_results(connection, task_ids) > MOST_RESULT_BYTES:
                most = MOST_RESULT_BYTES // (1024 * 1024)
                message = f"These results are over {most} MiB together. Ask for fewer at a time."
                raise SutazaiError(ErrorCode.BAD_REQUEST, message)
            return store.find_results(connection, task_ids)

        return await self._database.read(unit)

    async def list_tasks(
        self, wanted: TaskFilter, *, limit: int, offset: int = 0, cursor: str | None = None
    ) -> TaskPage:
        """A page of tasks, newest first, with how many there are in all."""
        read = partial(_read_page, wanted, limit, offset, cursor)
        return await self._database.read(read)

    # --- cancelling

    async def cancel(self, task_id: str, *, origin: Origin) -> Task:
        """End a task that has not ended; its worker stops, and a late result is refused.

        CONFLICT when it has ended; cancelling what is already cancelled changes nothing.
        """
        await self._database.run(partial(self._cancel, task_id, origin))
        return await self.get(task_id)

    def _cancel(self, task_id: str, origin: Origin, connection: Connection) -> None:
        # In the order in which the engine takes its locks.
        self._ends.before_tasks_end(connection, [task_id])
        jobs.cancel(connection, task_id)
        task = store.lock(connection, [task_id]).get(task_id)
        if task is None:
            raise not_found("task", task_id)
        if task.status is TaskStatus.CANCELLED:
            return
        if task.status.is_final:
            message = f"The task has already ended as {task.status}; it cannot be cancelled."
            raise SutazaiError(ErrorCode.CONFLICT, message)
        self._end_as_cancelled(connection, [task], origin)

    def withdraw(self, connection: Connection, task_ids: Sequence[str], *, origin: Origin) -> None:
        """Inside a unit that has locked what waits for them: cancel those that have not ended."""
        for task_id in sorted(task_ids):
            jobs.cancel(connection, task_id)
        found = store.lock(connection, task_ids).values()
        going = [task for task in found if not task.status.is_final]
        self._end_as_cancelled(connection, going, origin)

    def _end_as_cancelled(
        self, connection: Connection, going: Sequence[store.Moving], origin: Origin
    ) -> None:
        now = clock.now()
        cancelled = TaskStatus.CANCELLED
        store.move(connection, [store.Move(task, cancelled, {"ended_at": now}) for task in going])
        after = [task._replace(status=cancelled) for task in going]
        log.append(connection, [notice("task.cancelled", one, origin) for one in after], now=now)
        over = [
            TaskEnded(
                one.task_id,
                one.type,
                one.status,
                one.submitted_by,
                one.callback_url,
                parent_id=one.parent_id,
            )
            for one in after
        ]
        self._ends.task_ended(connection, over, now)

    # --- agents that come online

    async def _watch_agents(self) -> None:
        while True:
            try:
                await self._directory.refresh_when_stale(at_least_every=3)
                while await self._database.run(self._release_waiting):
                    pass
                while await self._database.run(partial(orphans.end_stranded, ends=self._ends)):
                    pass
            except SutazaiError as error:
                _logger.warning("tasks.release_failed", reason=error.message)
                await asyncio.sleep(1)

    def _release_waiting(self, connection: Connection) -> int:
        waiting = waiting_store.waiting_for_agents(
            connection,
            self._directory.online_types(),
            self._directory.online_agents,
            self._directory.without_model,
            limit=500,
        )
        if waiting:
            dependencies.make_queued(connection, waiting, self._directory, now=clock.now())
        return len(waiting)


def _invalid(wrong: list[Detail]) -> SutazaiError:
    return SutazaiError(ErrorCode.VALIDATION_ERROR, "Invalid input data", details=wrong)


def _look(task_id: str, connection: Connection) -> _Seen | None:
    task = store.get(connection, task_id)
    return None if task is None else (task, None)


def _look_with_result(task_id: str, connection: Connection) -> _Seen | None:
    seen = _look(task_id, connection)
    if seen is None or not seen[0].status.is_final:
        return seen
    return seen[0], store.get_result(connection, task_id)


def _read_page(
    wanted: TaskFilter, limit: int, offset: int, cursor: str | None, connection: Connection
) -> TaskPage:
    tasks = listing_store.page(connection, wanted, limit=limit + 1, offset=offset, before=cursor)
    total, at_least = listing_store.total(connection, wanted)
    more = len(tasks) > limit
    tasks = tasks[:limit]
    return TaskPage(tasks, total, at_least, tasks[-1].task_id if more else None)


def _accepted(new: NewTask, estimate: int | None, now: int) -> Submitted:
    draft = new.draft
    return Submitted(
        new.task_id,
        draft.type,
        draft.description,
        new.status,
        new.pending_reason,
        draft.priority,
        estimate,
        now,
    )
