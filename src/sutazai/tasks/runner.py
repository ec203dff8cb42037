"""Tasks as jobs: the handler that gives a claimed task to its agent and records how it ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import structlog

from sutazai import clock
from sutazai.agents.contract import Agent, AgentError, Assignment, ResultCache
from sutazai.agents.model import WorkDone
from sutazai.agents.service import AgentDirectory, AgentRegistry
from sutazai.clock import to_iso
from sutazai.database import Connection, Database
from sutazai.engine.job import Ending, Failed, Job, Lost, Outcome, Parked, Released, Succeeded
from sutazai.errors import REFUSALS, ErrorCode, SutazaiError
from sutazai.events import log
from sutazai.events.model import SYSTEM, NewEvent, Origin
from sutazai.llm.model import Payer
from sutazai.llm.service import Models
from sutazai.tasks import dependencies, store
from sutazai.tasks.context import Context, Delegating
from sutazai.tasks.model import PendingReason, TaskEnded, TaskError, TaskStatus, assignment_id_of
from sutazai.tasks.notices import notice
from sutazai.tasks.outputs import Outputs
from sutazai.telemetry.instruments import Instruments
from sutazai.telemetry.tracing import Tracing, span

_logger = structlog.get_logger(__name__)

KIND = "task"
MOST_RESULT_BYTES = 32 * 1024 * 1024
_PROGRESS_PAUSE = 0.25

Remember = Callable[[Assignment, str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Makes of what an agent found, for a user, what is new and was not dismissed."""
BeforeTasksEnd = Callable[[Connection, Sequence[str]], None]
"""Locks what waits for these tasks, which comes before the tasks' own locks and their jobs'."""
OnTaskEnded = Callable[[Connection, Sequence[TaskEnded]], None]
OnTaskWaits = Callable[[Connection, Sequence[str]], None]
"""Is told of tasks whose attempt has ended and that shall be tried again."""


class _Progress:
    """The newest word of each running attempt, written a few times a second for all together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._newest: dict[str, tuple[int, str, int, dict[str, int]]] = {}
        self._writer: asyncio.Task[None] | None = None

    def note(self, assignment: Assignment, agent_id: str, percent: int, counters: Any) -> None:
        known = self._newest.get(assignment.task_id)
        merged = {**(known[3] if known else {}), **counters}
        percent = max(0, min(100, int(percent)))
        self._newest[assignment.task_id] = (assignment.attempt, agent_id, percent, merged)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._newest:
                newest, self._newest = self._newest, {}
                try:
                    await self._database.run(partial(_write_progress, newest))
                except SutazaiError as error:
                    _logger.warning("tasks.progress_lost", reason=error.message)
                await asyncio.sleep(_PROGRESS_PAUSE)
        finally:
            self._writer = None


def write_progress(
    connection: Connection,
    task_id: str,
    attempt: int,
    agent_id: str,
    percent: int,
    counters: Mapping[str, int],
) -> None:
    """Note how far an attempt is, keeping the counters that it does not name."""
    task = store.get(connection, task_id)
    if task is not None:
        merged = {**task.counters, **counters}
        _write_progress({task_id: (attempt, agent_id, percent, merged)}, connection)


def _write_progress(
    newest: Mapping[str, tuple[int, str, int, dict[str, int]]], connection: Connection
) -> None:
    events = []
    for task_id in sorted(newest):
        attempt, agent_id, percent, counters = newest[task_id]
        task = store.set_progress(
            connection, task_id, attempt=attempt, progress=percent, counters=counters
        )
        if task is not None:
            more = {"progress": percent, **counters}
            origin = Origin(f"agent:{agent_id}", task.request_id)
            events.append(notice("task.progress", task, origin, **more))
    log.append(connection, events, now=clock.now())


class TaskRunner:
    """The engine's handler for tasks."""

    def __init__(
        self,
        *,
        database: Database,
        registry: AgentRegistry,
        directory: AgentDirectory,
        agents: Sequence[Agent],
        cache: Callable[[str], ResultCache],
        models: Models,
        children: Callable[[], Delegating],
        remember: Remember,
        before_tasks_end: Sequence[BeforeTasksEnd] = (),
        on_task_ended: Sequence[OnTaskEnded] = (),
        on_task_waits: Sequence[OnTaskWaits] = (),
        instruments: Instruments | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """`children` is who has done what agents delegate; asked for once there is a task.

        `remember` makes of an agent's findings, for a user, what is new and was not dismissed.
        """
        self._registry = registry
        self._directory = directory
        self._agents = {agent.description.agent_id: agent for agent in agents}
        self._cache = cache
        self._children = children
        self._remember = remember
        self._before_tasks_end = tuple(before_tasks_end)
        self._on_task_ended = tuple(on_task_ended)
        self._on_task_waits = tuple(on_task_waits)
        self._models = models
        self._progress = _Progress(database)
        self._outputs = Outputs(database)
        self._instruments = instruments
        self._tracing = tracing

    def readied(self, connection: Connection, jobs: Sequence[Job], now: int) -> None:
        """See `Handler.readied`."""
        keys = [job.key for job in jobs]
        dependencies.make_queued(connection, keys, self._directory, now=now)

    def started(self, connection: Connection, jobs: Sequence[Job], now: int) -> Mapping[int, Any]:
        """See `Handler.started`."""
        found = store.lock_with_work(connection, [job.key for job in jobs])
        moves, events, prepared = [], [], {}
        for job in jobs:
            if job.key not in found:  # deleted behind the engine's back; `run` reports it
                continue
            task, work = found[job.key]
            agent_id = job.consumer or ""
            goes_on = task.pending_reason == PendingReason.CHILDREN
            values = {"assigned_agent": agent_id, "attempt": job.attempt}
            if not goes_on:
                values |= {"started_at": now, "progress": 0, "counters": None}
            moves.append(store.Move(task, TaskStatus.PROCESSING, values))
            task = task._replace(
                status=TaskStatus.PROCESSING, attempt=job.attempt, assigned_agent=agent_id
            )
            by_agent = Origin(f"agent:{agent_id}", task.request_id)
            if goes_on:
                events.append(notice("task.resumed", task, by_agent))
            else:
                events.append(notice("task.assigned", task, Origin("system", task.request_id)))
                events.append(notice("task.started", task, by_agent))
            prepared[job.id] = work._replace(goes_on=goes_on)
        store.move(connection, moves)
        log.append(connection, events, now=now)
        return prepared

    async def run(self, job: Job, prepared: Any) -> Outcome:
        """See `Handler.run`."""
        if prepared is None:
            return Failed(ErrorCode.NOT_FOUND, "The task is no longer there.")
        agent_id = job.consumer or ""
        agent = self._agents[agent_id]
        known = self._directory.agent(agent_id)
        assignment = Assignment(
            assignment_id=assignment_id_of(job.key, job.attempt, job.token),
            task_id=prepared.task_id,
            type=prepared.type,
            description=prepared.description,
            metadata=prepared.metadata,
            attempt=job.attempt,
            configuration=dict(known.configuration if known else agent.description.configuration),
        )
        cache = self._cache(agent_id)
        output = self._outputs.of(assignment, agent_id)
        model = self._models.for_task(
            payer=Payer(prepared.task_id, agent_id, prepared.submitted_by),
            configuration=assignment.configuration,
            cache=cache,
            show=output.show,
        )
        context = Context(
            assignment=assignment,
            agent_id=agent_id,
            progress=self._progress,
            cache=cache,
            output=output,
            model=model,
            children=self._children,
            traceparent=job.traceparent,
        )
        # Of this attempt alone: it runs in an asyncio task of its own.
        structlog.contextvars.bind_contextvars(
            request_id=prepared.request_id,
            task_id=prepared.task_id,
            attempt=job.attempt,
            agent=agent_id,
        )
        begun = time.monotonic()
        if self._instruments is not None:
            waited = (clock.now() - prepared.could_start_at) / clock.SECOND
            is_first = job.attempt == 1 and not prepared.goes_on
            self._instruments.task_started(prepared.type, waited if is_first else None)
        try:
            with span(
                self._tracing,
                f"invoke_agent {agent_id}",
                attributes={
                    "gen_ai.operation.name": "invoke_agent",
                    "gen_ai.agent.name": agent_id,
                    "sutazai.task.id": prepared.task_id,
                    "sutazai.task.type": prepared.type,
                },
            ):
                result = await agent.handle(assignment, context)
                await output.flush()
                if isinstance(result, dict) and "issues" in result:
                    result = await self._remember(assignment, prepared.submitted_by, result)
        except AgentError as error:
            shown = None if error.result is None else encoded(error.result)
            value = shown.value if isinstance(shown, Succeeded) else None
            return Failed(error.code, error.message, retryable=error.retryable, value=value)
        except asyncio.CancelledError:
            if context.leave():
                return Parked()
            raise
        finally:
            context.leave()
            if self._instruments is not None:
                self._instruments.task_ran(prepared.type, time.monotonic() - begun)
        return encoded(result)

    def before_ended(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """See `Handler.before_ended`."""
        self.before_tasks_end(connection, [job.key for job in jobs])

    def before_tasks_end(self, connection: Connection, task_ids: Sequence[str]) -> None:
        """Take the locks that come before those of these tasks, which may be about to end."""
        for hook in self._before_tasks_end:
            hook(connection, task_ids)

    def ended(self, connection: Connection, endings: Sequence[Ending], now: int) -> None:
        """See `Handler.ended`."""
        tasks = store.lock(connection, [ending.job.key for ending in endings])
        moves: list[store.Move] = []
        events: list[NewEvent] = []
        results: dict[str, str] = {}
        over: list[TaskEnded] = []
        work: list[WorkDone] = []
        for ending in endings:
            task = tasks.get(ending.job.key)
            if task is None:
                continue
            move, event = _judge(task, ending, now)
            if move is not None:
                moves.append(move)
            events.append(event)
            if (text := _text_of(ending)) is not None:
                results[task.task_id] = text
            if ending.final and move is not None:
                error = None
                if "error_code" in move.values:
                    error = TaskError(move.values["error_code"], move.values["error_message"])
                over.append(
                    TaskEnded(
                        task.task_id,
                        task.type,
                        move.to,
                        task.submitted_by,
                        task.callback_url,
                        error=error,
                        result=results.get(task.task_id) if error is None else None,
                        parent_id=task.parent_id,
                        traceparent=ending.job.traceparent,
                    )
                )
                refused = error is not None and error.code in REFUSALS
                if task.assigned_agent is not None and not refused:
                    took = max(0, now - (task.started_at or now))
                    work.append(
                        WorkDone(task.assigned_agent, error is None, error is not None, took)
                    )
        store.save_results(connection, results)
        store.move(connection, moves)
        log.append(connection, events, now=now)
        parked = [end.job.key for end in endings if isinstance(end.outcome, Parked)]
        if parked:
            dependencies.let_go_idle(connection, parked, now=now)
        self._registry.record_work(connection, work)
        self.task_ended(connection, over, now)
        again = [
            end.job.key
            for end in endings
            if not end.final and not isinstance(end.outcome, Parked) and end.job.key in tasks
        ]
        if again:
            for hook in self._on_task_waits:
                hook(connection, again)

    def task_ended(self, connection: Connection, over: Sequence[TaskEnded], now: int) -> None:
        """Tell whatever waits for these tasks; in the transaction that ends them."""
        queue = list(over)
        while queue:
            for hook in self._on_task_ended:
                hook(connection, queue)
            queue = dependencies.follow(connection, queue, self._directory, now=now)


def _text_of(ending: Ending) -> str | None:
    """The result to keep: a completed task's, or what a failed one has to show all the same."""
    match ending.outcome:
        case Succeeded(value=value):
            pass
        case Failed(value=value) if ending.final:
            pass
        case _:
            return None
    text: str | None = value
    return text


def _judge(task: store.Moving, ending: Ending, now: int) -> tuple[store.Move | None, NewEvent]:
    """What an attempt's end does to its task, and the event that tells of it."""
    by_agent = Origin(f"agent:{ending.job.consumer}", task.request_id)
    match ending.outcome:
        case Succeeded():
            move = store.Move(task, TaskStatus.COMPLETED, {"progress": 100, "ended_at": now})
            return move, notice("task.completed", task._replace(status=move.to), by_agent)
        case Failed(code=code, message=message):
            reason = message
        case Lost(reason=reason):
            code = ErrorCode.AGENT_OFFLINE
            message = (
                f"{task.assigned_agent} went away in each of the {ending.job.attempt} attempts; "
                "check its process and submit the task again."
            )
            by_agent = SYSTEM
        case Parked():
            waits = store.Move(
                task, TaskStatus.PROCESSING, {"pending_reason": PendingReason.CHILDREN}
            )
            return waits, notice("task.waiting", task, by_agent)
        case Released(reason=reason):
            code, message = ErrorCode.SERVICE_UNAVAILABLE, reason
    if ending.final:
        values = {"error_code": str(code), "error_message": message, "ended_at": now}
        move = store.Move(task, TaskStatus.FAILED, values)
        error = {"code": str(code), "message": message}
        return move, notice("task.failed", task._replace(status=move.to), by_agent, error=error)
    if ending.run_at is None:
        return None, notice("task.retrying", task, by_agent, reason=reason)
    later = store.Move(task, TaskStatus.QUEUED, {})
    more = {"reason": reason, "run_at": to_iso(ending.run_at)}
    return later, notice("task.retrying", task._replace(status=later.to), by_agent, **more)


def encoded(result: Any) -> Succeeded | Failed:
    """An agent's result as it is stored; a failure where it cannot be."""
    try:
        text = msgspec.json.encode(result).decode()
    except (TypeError, ValueError, RecursionError) as error:
        return Failed(ErrorCode.INTERNAL_ERROR, f"The agent's result is not JSON: {error}.")
    if len(text) > MOST_RESULT_BYTES:
        most = MOST_RESULT_BYTES // (1024 * 1024)
        message = f"The result is larger than {most} MiB; narrow the task's input."
        return Failed(ErrorCode.VALIDATION_ERROR, message)
    return Succeeded(text)
