"""What one transaction does to one execution: ends runs, begins others, writes it all."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from sutazai import clock
from sutazai.clock import SECOND
from sutazai.database import Connection, tally
from sutazai.engine import store as jobs
from sutazai.engine.job import NewJob
from sutazai.errors import ErrorCode
from sutazai.events import log
from sutazai.events.model import SYSTEM, NewEvent, Origin
from sutazai.tasks.model import TaskDraft
from sutazai.tasks.service import Tasks
from sutazai.workflows import finding_store, starting, stopping, store
from sutazai.workflows.changes import (
    APPROVAL_KIND,
    Below,
    Change,
    approval_key,
    change_by_child,
    new_execution,
    notice,
)
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

# What beginning one of these takes, in the measure of `Budget`.
_WORK_OF_ITEM, _WORK_OF_TASK, _WORK_OF_EXECUTION = 3, 40, 1_000

_ENDED = frozenset({StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED})


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
        *,
        stops: bool,
    ) -> None:
        """`stops`: something above it has failed, so that it begins nothing more."""
        self.graph = graph
        self._connection = connection
        self._tasks = tasks
        self._execution = execution
        self._below = below
        self._origin = Origin(SYSTEM.actor, execution.request_id)
        self._now = clock.now()
        self._budget = budget
        self._stops = stops
        self._scope = starting.Scope(connection, tasks, graph, execution, budget)
        self._new: list[Run] = []
        self._changed: list[Run] = []
        # What the runs are to do, once there is a task for each.
        self._drafts: list[tuple[Run, TaskDraft, bool]] = []
        self._withdrawn: list[str] = []
        self._events: list[NewEvent] = []
        self._error = execution.error

    # --- ends

    def end_runs(
        self,
        over: Sequence[tuple[Run, Change]],
        state: str | None = None,
        done_for_items: Iterable[int] = (),
    ) -> dict[int, Change]:
        """Write the ends of runs; the steps that have ended with them.

        Items begin where others have ended, also those of the steps `done_for_items`. `state` is
        where the steps stand, if it was not written yet.
        """
        changes: dict[int, Change] = {}
        items: dict[int, list[Change]] = {position: [] for position in done_for_items}
        for run, change in over:
            if run.item >= 0:
                items.setdefault(run.position, []).append(change)
            else:
                changes[run.position] = change
            self._end(run, change)
        for position, some in items.items():
            end = self._items_ended(position, some, _after(state or self._execution.state, changes))
            if end is not None:
                changes[position] = end
        return changes

    def _end(self, run: Run, change: Change) -> None:
        after = msgspec.structs.replace(
            run, status=change.status, error=change.error, ended_at=self._now
        )
        self._changed.append(after)
        if run.item < 0:
            self._tell(after)

    def _items_ended(self, position: int, some: Sequence[Change], state: str) -> Change | None:
        """Count ended items of a step and begin the next; the step's own end, if it is."""
        step = self.graph.steps[position]
        assert step.for_each is not None
        execution_id = self._execution.execution_id
        run = store.runs(self._connection, execution_id, positions=[position], item=-1)[0]
        assert run.items is not None
        total, following, running, failed = run.items
        gave_up = stopping.gives_up(step, failed)
        running -= len(some)
        failed += sum(change.status is StepStatus.FAILED for change in some)
        stops = self._is_stopping(state) and position not in self.graph.compensations
        may_begin = self._execution.status is ExecutionStatus.RUNNING and not stops
        while may_begin and following < total and not stopping.gives_up(step, failed):
            room = step.for_each.concurrency - running
            if room <= 0:
                break
            batch = finding_store.pending_items(
                self._connection, execution_id, position, first=following, limit=room
            )
            following = batch[-1].item + 1 if len(batch) == room else total
            for one in batch:
                end = self._begin_item(step, one, state)
                running += end is None
                failed += end is not None and end.status is StepStatus.FAILED
        gives_up = stopping.gives_up(step, failed)
        if gives_up and not gave_up:
            for one, its_end in self._stop([position]):
                self._end(one, its_end)
                running -= 1
                failed += its_end.status is StepStatus.FAILED
        change = None
        if running == 0 and (following >= total or gives_up or stops):
            change = self._end_of_items(position, failed, total, may_be_left=gives_up or stops)
        run = msgspec.structs.replace(run, items=Items(total, following, running, failed))
        if change is None:
            self._changed.append(run)
        else:
            self._end(run, change)
        return change

    def _end_of_items(self, position: int, failed: int, total: int, *, may_be_left: bool) -> Change:
        is_left = False
        if may_be_left:
            execution_id = self._execution.execution_id
            self._flush()
            is_left = finding_store.has_cancelled_items(self._connection, execution_id, position)
        if failed and not (is_left and self.graph.steps[position].on_failure == "continue"):
            error = StepError(ErrorCode.CONFLICT, f"{failed} of {total} items failed.")
            return Change(StepStatus.FAILED, error)
        return Change(StepStatus.CANCELLED if is_left else StepStatus.COMPLETED)

    def _is_stopping(self, state: str) -> bool:
        return self._stops or self.graph.is_failing(state)

    def _stop(self, positions: Sequence[int]) -> list[tuple[Run, Change]]:
        """End what has not begun of these steps, and as much of what they execute; what ended."""
        self._flush()
        execution_id = self._execution.execution_id
        store.cancel_items(self._connection, execution_id, positions, now=self._now)
        runs = finding_store.open_runs(self._connection, execution_id, positions=positions)
        task_ids = [run.task_id for run in runs if run.task_id is not None]
        unbegun = jobs.cancel_waiting(self._connection, task_ids)
        self._withdrawn += unbegun
        over = []
        for run in runs:
            change = None
            if run.status is StepStatus.WAITING:
                jobs.cancel(self._connection, approval_key(execution_id, run.position))
                change = Change(StepStatus.CANCELLED)
            elif run.task_id in unbegun:
                change = Change(StepStatus.CANCELLED)
            elif run.child_id is not None and run.status is StepStatus.RUNNING:
                change = self._below.stop(self._connection, run.child_id, self._budget)
            if change is not None:
                over.append((run, change))
        return over

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
            self._end(run, change)
        return change

    # --- beginnings

    def settle(self, changes: Mapping[int, Change], *, everything: bool = False) -> Execution:
        """Begin what those ends let go, end the execution if nothing is left, and write it all.

        Where it has just failed, end what has not begun; with `everything` look at all there is.
        """
        was_stopping = self._is_stopping(self._execution.state)
        state = self._begin_ready(self._execution.state, changes, everything=everything)
        if self._is_stopping(state) and (everything or not was_stopping):
            positions = self.graph.to_stop(state)
            each = [one for one in positions if self.graph.steps[one].for_each is not None]
            over = self._stop(positions)
            state = self._begin_ready(state, self.end_runs(over, state, each))
        state, status = self.graph.closed(state, stops=self._stops)
        after = msgspec.structs.replace(self._execution, state=state)
        if status is not None:
            error = self._error if status is ExecutionStatus.FAILED else None
            after = msgspec.structs.replace(after, status=status, ended_at=self._now, error=error)
            told = None if error is None else error.message
            self._events.append(notice(status.value, after, self._origin, reason=told))
            tally(self._connection, "executions", status.value)
        store.update_execution(self._connection, after)
        log.append(self._connection, self._events, now=self._now)
        if self._withdrawn:
            self._tasks.withdraw(self._connection, self._withdrawn, origin=self._origin)
        return after

    def _begin_ready(
        self, state: str, changes: Mapping[int, Change], *, everything: bool = False
    ) -> str:
        """Begin what these ends let go, or everything that may; where the steps stand then."""
        for position, change in changes.items():
            self._note_error(position, change)
        state = _after(state, changes)
        changed = None if everything else list(changes)
        self._flush()
        while self._execution.status is ExecutionStatus.RUNNING:
            ready = self.graph.ready(state, changed, stops=self._stops)
            begun = {position: self._begin(position, state) for position in ready}
            state = with_statuses(state, begun)
            # Before the next round, which may read what this one made.
            self._flush()
            changed = [position for position, status in begun.items() if status in _ENDED]
            if not changed:
                break
        return state

    def _begin(self, position: int, state: str) -> StepStatus:
        step = self.graph.steps[position]
        try:
            if not starting.is_wanted(step, self._scope, state):
                return self._ended_at_once(position, Change(StepStatus.SKIPPED))
            if step.type == APPROVAL:
                return self._wait_for_person(position, step, state)
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
        change = self._items_ended(position, (), state)
        if change is None:
            return StepStatus.RUNNING
        self._note_error(position, change)
        return change.status

    def _wait_for_person(self, position: int, step: Step, state: str) -> StepStatus:
        event = starting.event_of(step, self._scope, state)
        seconds = step.timeout_seconds or DEFAULT_APPROVAL_SECONDS
        job = NewJob(
            key=approval_key(self._execution.execution_id, position),
            kind=APPROVAL_KIND,
            queue=APPROVAL_KIND,
            payload=msgspec.json.encode((self._execution.execution_id, position)).decode(),
            run_at=self._now + int(seconds * SECOND),
        )
        jobs.enqueue(self._connection, [job])
        run = msgspec.structs.replace(self._run(position, StepStatus.WAITING), event=event)
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


def _after(state: str, changes: Mapping[int, Change]) -> str:
    return with_statuses(state, {position: change.status for position, change in changes.items()})
