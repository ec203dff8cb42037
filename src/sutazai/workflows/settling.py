"""What one transaction does to one execution: ends runs, begins others, writes it all."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from sutazai import clock, ids
from sutazai.clock import SECOND
from sutazai.database import Connection, tally
from sutazai.engine import store as jobs
from sutazai.engine.job import NewJob
from sutazai.errors import ErrorCode
from sutazai.events import log
from sutazai.events.model import SYSTEM, NewEvent, Origin
from sutazai.tasks.model import TaskDraft
from sutazai.tasks.service import Tasks
from sutazai.workflows import starting, store
from sutazai.workflows.expressions import Budget, ExpressionError
from sutazai.workflows.graph import Graph, with_statuses
from sutazai.workflows.model import (
    APPROVAL,
    DEFAULT_APPROVAL_SECONDS,
    MOST_DEPTH,
    SUB_WORKFLOW,
    Execution,
    ExecutionStatus,
    Items,
    Parent,
    Run,
    Step,
    StepError,
    StepStatus,
)

APPROVAL_KIND = "workflow_approval"
RESOURCE = "workflows"

# What beginning one of these takes, in the measure of `Budget`.
_WORK_OF_ITEM, _WORK_OF_TASK, _WORK_OF_EXECUTION = 3, 40, 1_000

_ENDED = frozenset({StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED})


def approval_key(execution_id: str, position: int) -> str:
    """The key of the job that ends a wait for a person."""
    return f"{APPROVAL_KIND}:{execution_id}:{position}"


def notice(event: str, execution: Execution, origin: Origin, **more: str | None) -> NewEvent:
    """An event about an execution; what is None is left out."""
    data = {"execution_id": execution.execution_id, "workflow_id": execution.workflow_id}
    data |= {name: value for name, value in more.items() if value is not None}
    return NewEvent(f"workflow.{event}", data, origin, RESOURCE, execution.submitted_by)


class Change(NamedTuple):
    """How a step that was running ended."""

    status: StepStatus
    error: StepError | None = None


def change_by_child(child: Execution) -> Change:
    """What the end of an execution means for the step that it was for."""
    if child.status is ExecutionStatus.COMPLETED:
        return Change(StepStatus.COMPLETED)
    reason = "It was cancelled." if child.error is None else child.error.message
    code = ErrorCode.CONFLICT if child.error is None else child.error.code
    message = f"The execution {child.execution_id} ended as {child.status}. {reason}"
    return Change(StepStatus.FAILED, StepError(code, message))


class Below(Protocol):
    """Who begins executions for steps and items, and tries them again; they tell no parent."""

    def begin(
        self, connection: Connection, execution: Execution, origin: Origin, budget: Budget
    ) -> Execution:
        """See `Advancer.begin`."""
        ...

    def again(
        self, connection: Connection, execution: Execution, origin: Origin, budget: Budget
    ) -> Execution:
        """See `Advancer.again`."""
        ...


class Settlement:
    """What one transaction does to one locked execution."""

    def __init__(
        self,
        connection: Connection,
        tasks: Tasks,
        graph: Graph,
        execution: Execution,
        below: Below,
        budget: Budget,
    ) -> None:
        self.graph = graph
        self._connection = connection
        self._tasks = tasks
        self._execution = execution
        self._below = below
        self._origin = Origin(SYSTEM.actor, execution.request_id)
        self._now = clock.now()
        self._budget = budget
        self._scope = starting.Scope(connection, tasks, graph, execution, budget)
        self._new: list[Run] = []
        self._changed: list[Run] = []
        # What the runs are to do, once there is a task for each.
        self._drafts: list[tuple[Run, TaskDraft, bool]] = []
        self._events: list[NewEvent] = []
        self._error = execution.error

    # --- ends

    def end(self, run: Run, change: Change) -> None:
        """Write a run's end."""
        after = msgspec.structs.replace(
            run, status=change.status, error=change.error, ended_at=self._now
        )
        self._changed.append(after)
        if run.item < 0:
            self._tell(after)

    def items_ended(
        self, position: int, some: Sequence[Change], state: str | None = None
    ) -> Change | None:
        """Count ended items of a step and begin the next; the step's own end, if it is.

        `state` is where the steps stand, if it was not written yet.
        """
        step = self.graph.steps[position]
        assert step.for_each is not None
        execution_id = self._execution.execution_id
        run = store.runs(self._connection, execution_id, positions=[position], item=-1)[0]
        assert run.items is not None
        total, following, running, failed = run.items
        running -= len(some)
        failed += sum(change.status is StepStatus.FAILED for change in some)
        may_begin = self._execution.status is ExecutionStatus.RUNNING
        while may_begin and following < total and (not failed or step.on_failure == "continue"):
            room = step.for_each.concurrency - running
            if room <= 0:
                break
            batch = store.pending_items(
                self._connection, execution_id, position, first=following, limit=room
            )
            following = batch[-1].item + 1 if len(batch) == room else total
            for one in batch:
                end = self._begin_item(step, one, state or self._execution.state)
                running += end is None
                failed += end is not None and end.status is StepStatus.FAILED
        change = None
        gives_up = failed > 0 and step.on_failure != "continue"
        if running == 0 and (following >= total or gives_up):
            change = Change(StepStatus.COMPLETED)
            if failed:
                message = f"{failed} of {total} items failed."
                error = StepError(ErrorCode.CONFLICT, message)
                change = Change(StepStatus.FAILED, error)
                store.cancel_items(self._connection, execution_id, position, now=self._now)
        run = msgspec.structs.replace(run, items=Items(total, following, running, failed))
        if change is None:
            self._changed.append(run)
        else:
            self.end(run, change)
        return change

    def _begin_item(self, step: Step, run: Run, state: str) -> Change | None:
        """Its end, if that is at once."""
        assert run.value is not None
        place = starting.Place(run.item, msgspec.json.decode(run.value))
        run = msgspec.structs.replace(run, status=StepStatus.RUNNING, started_at=self._now)
        try:
            if step.type != SUB_WORKFLOW:
                self._drafts.append((run, self._draft(step, state, place), False))
                return None
            run, change = self._execute(step, run, state, place)
        except ExpressionError as error:
            change = Change(StepStatus.FAILED, _invalid(error))
        if change is None:
            self._changed.append(run)
        else:
            self.end(run, change)
        return change

    # --- beginnings

    def settle(self, changes: Mapping[int, Change], *, everything: bool = False) -> Execution:
        """Begin what those ends let go, end the execution if nothing is left, and write it all."""
        for position, change in changes.items():
            self._note_error(position, change)
        statuses = {position: change.status for position, change in changes.items()}
        state = with_statuses(self._execution.state, statuses)
        changed = None if everything else list(changes)
        self._flush()
        while self._execution.status is ExecutionStatus.RUNNING:
            ready = self.graph.ready(state, changed)
            begun = {position: self._begin(position, state) for position in ready}
            state = with_statuses(state, begun)
            # Before the next round, which may read what this one made.
            self._flush()
            changed = [position for position, status in begun.items() if status in _ENDED]
            if not changed:
                break
        state, well = self.graph.closed(state)
        after = msgspec.structs.replace(self._execution, state=state)
        if well is not None:
            status = ExecutionStatus.COMPLETED if well else ExecutionStatus.FAILED
            error = None if well else self._error
            after = msgspec.structs.replace(after, status=status, ended_at=self._now, error=error)
            told = None if error is None else error.message
            self._events.append(notice(status.value, after, self._origin, reason=told))
            tally(self._connection, "executions", status.value)
        store.update_execution(self._connection, after)
        log.append(self._connection, self._events, now=self._now)
        return after

    def _begin(self, position: int, state: str) -> StepStatus:
        step = self.graph.steps[position]
        try:
            if not starting.is_wanted(step, self._scope, state):
                return self._ended_at_once(position, Change(StepStatus.SKIPPED))
            if step.type == APPROVAL:
                return self._wait_for_person(position, step)
            if step.for_each is not None:
                return self._begin_items(position, step, state)
            if step.type == SUB_WORKFLOW:
                return self._begin_execution(position, step, state)
            draft = self._draft(step, state)
        except ExpressionError as error:
            return self._ended_at_once(position, Change(StepStatus.FAILED, _invalid(error)))
        self._drafts.append((self._run(position, StepStatus.RUNNING), draft, True))
        return StepStatus.RUNNING

    def _draft(self, step: Step, state: str, place: starting.Place | None = None) -> TaskDraft:
        self._budget.spend(_WORK_OF_TASK)
        metadata = starting.metadata_of(step, self._execution, self._scope, state, place)
        return starting.draft_of(self.graph, step, self._execution, metadata)

    def _begin_items(self, position: int, step: Step, state: str) -> StepStatus:
        assert step.for_each is not None
        items = starting.items_of(step, self._execution, self._scope, state)
        if not items:
            return self._ended_at_once(position, Change(StepStatus.COMPLETED), value="[]")
        self._budget.spend(_WORK_OF_ITEM * len(items))
        if step.type == SUB_WORKFLOW:
            return self._begin_executions(position, items, state)
        at_once = items[: step.for_each.concurrency]
        drafts = [
            self._draft(step, state, starting.Place(number, item))
            for number, item in enumerate(at_once)
        ]
        begun = len(drafts)
        whole = self._run(position, StepStatus.RUNNING)
        whole = msgspec.structs.replace(whole, items=Items(len(items), begun, begun, 0))
        self._new.append(whole)
        self._tell(whole)
        for number, item in enumerate(items):
            run = _pending_item(position, number, item)
            if number < begun:
                run = msgspec.structs.replace(run, status=StepStatus.RUNNING, started_at=self._now)
                self._drafts.append((run, drafts[number], True))
            else:
                self._new.append(run)
        return StepStatus.RUNNING

    def _begin_executions(self, position: int, items: list[object], state: str) -> StepStatus:
        """One for each item: written first, because any may end as it begins."""
        whole = self._run(position, StepStatus.RUNNING)
        whole = msgspec.structs.replace(whole, items=Items(len(items), 0, 0, 0))
        self._new += [whole, *(_pending_item(position, *one) for one in enumerate(items))]
        self._tell(whole)
        self._flush()
        change = self.items_ended(position, (), state)
        if change is None:
            return StepStatus.RUNNING
        self._note_error(position, change)
        return change.status

    def _wait_for_person(self, position: int, step: Step) -> StepStatus:
        seconds = step.timeout_seconds or DEFAULT_APPROVAL_SECONDS
        job = NewJob(
            key=approval_key(self._execution.execution_id, position),
            kind=APPROVAL_KIND,
            queue=APPROVAL_KIND,
            payload=msgspec.json.encode((self._execution.execution_id, position)).decode(),
            run_at=self._now + int(seconds * SECOND),
        )
        jobs.enqueue(self._connection, [job])
        run = self._run(position, StepStatus.WAITING)
        self._new.append(run)
        self._tell(run)
        return StepStatus.WAITING

    def _begin_execution(self, position: int, step: Step, state: str) -> StepStatus:
        run, change = self._execute(step, self._run(position, StepStatus.RUNNING), state)
        if change is not None:
            self._note_error(position, change)
            run = msgspec.structs.replace(
                run, status=change.status, error=change.error, ended_at=self._now
            )
        self._new.append(run)
        self._tell(run)
        return run.status

    def _execute(
        self, step: Step, run: Run, state: str, place: starting.Place | None = None
    ) -> tuple[Run, Change | None]:
        """Begin an execution for a run, or go on with the one it had; with its end, if at once."""
        self._budget.spend(_WORK_OF_EXECUTION)
        if run.child_id is not None:
            child = store.get_execution(self._connection, run.child_id, lock=True)
            if child is not None:
                return run, self._execute_again(child)
        above = self._execution
        metadata = starting.metadata_of(step, above, self._scope, state, place)
        assert step.workflow_id is not None
        workflow = store.get_workflow(self._connection, step.workflow_id)
        if workflow is None:
            message = f"There is no workflow with the id {step.workflow_id!r} any more."
            return run, Change(StepStatus.FAILED, StepError(ErrorCode.NOT_FOUND, message))
        if above.depth >= MOST_DEPTH:
            message = f"Executions may start each other {MOST_DEPTH} deep; this would be deeper."
            return run, Change(StepStatus.FAILED, StepError(ErrorCode.CONFLICT, message))
        child = new_execution(
            workflow.workflow_id,
            workflow.version,
            metadata,
            submitted_by=above.submitted_by,
            request_id=above.request_id,
            parent=Parent(above.execution_id, run.position, run.item),
            depth=above.depth + 1,
            task_id=above.task_id,
        )
        child = self._below.begin(self._connection, child, self._origin, self._budget)
        run = msgspec.structs.replace(run, child_id=child.execution_id)
        return run, change_by_child(child) if child.status.is_final else None

    def _execute_again(self, child: Execution) -> Change | None:
        if child.status is not ExecutionStatus.COMPLETED:
            child = self._below.again(self._connection, child, self._origin, self._budget)
        return change_by_child(child) if child.status.is_final else None

    def _ended_at_once(
        self, position: int, change: Change, *, value: str | None = None
    ) -> StepStatus:
        self._note_error(position, change)
        run = self._run(position, change.status)
        run = msgspec.structs.replace(run, ended_at=self._now, error=change.error, value=value)
        self._new.append(run)
        self._tell(run)
        return change.status

    # --- what they share

    def _run(self, position: int, status: StepStatus) -> Run:
        return Run(position=position, item=-1, status=status, started_at=self._now)

    def _note_error(self, position: int, change: Change) -> None:
        """Keep why the execution fails: the first failure that it cannot do without."""
        step = self.graph.steps[position]
        if self._error is None and change.error is not None and step.on_failure != "continue":
            message = f"The step {step.step_id!r} failed: {change.error.message}"
            self._error = StepError(change.error.code, message)
            self._execution = msgspec.structs.replace(self._execution, error=self._error)

    def _tell(self, run: Run) -> None:
        step_id = self.graph.steps[run.position].step_id
        self._events.append(
            notice(
                "step",
                self._execution,
                self._origin,
                step_id=step_id,
                status=run.status.value,
                task_id=run.task_id,
            )
        )

    def _flush(self) -> None:
        """Submit the tasks of what begins, and write the runs."""
        accepted = self._tasks.add(
            self._connection,
            [draft for _, draft, _ in self._drafts],
            submitted_by=self._execution.submitted_by,
            origin=self._origin,
        )
        for (run, _, is_new), task in zip(self._drafts, accepted, strict=True):
            begun = msgspec.structs.replace(run, task_id=task.task_id)
            (self._new if is_new else self._changed).append(begun)
            if begun.item < 0:
                self._tell(begun)
        store.add_runs(self._connection, self._execution.execution_id, self._new)
        store.update_runs(self._connection, self._execution.execution_id, self._changed)
        self._drafts, self._new, self._changed = [], [], []


def _pending_item(position: int, number: int, item: object) -> Run:
    return Run(
        position=position,
        item=number,
        status=StepStatus.PENDING,
        value=msgspec.json.encode(item).decode(),
        started_at=None,
    )


def _invalid(error: ExpressionError) -> StepError:
    return StepError(ErrorCode.VALIDATION_ERROR, str(error))


def new_execution(
    workflow_id: str,
    version: int,
    given: dict[str, object],
    *,
    submitted_by: str,
    request_id: str | None,
    parent: Parent | None = None,
    depth: int = 0,
    task_id: str | None = None,
) -> Execution:
    """An execution about to begin."""
    return Execution(
        execution_id=ids.new_id("exec"),
        workflow_id=workflow_id,
        version=version,
        status=ExecutionStatus.RUNNING,
        state="",
        input=given,
        submitted_by=submitted_by,
        request_id=request_id,
        started_at=clock.now(),
        ended_at=None,
        error=None,
        parent=parent,
        depth=depth,
        task_id=task_id,
    )
