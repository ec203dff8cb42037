"""What moves executions on: in the transaction that ends a task, and in no other place."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from sutazai import clock
from sutazai.database import Connection, tally
from sutazai.engine import store as jobs
from sutazai.errors import ErrorCode
from sutazai.events import log
from sutazai.events.model import SYSTEM, Origin
from sutazai.tasks.model import TaskEnded, TaskStatus
from sutazai.tasks.service import Tasks
from sutazai.workflows import finding_store, store
from sutazai.workflows.changes import Change, approval_key, change_by_child, notice
from sutazai.workflows.expressions import Budget
from sutazai.workflows.graph import Graph, with_statuses
from sutazai.workflows.model import (
    Execution,
    ExecutionStatus,
    Run,
    StepError,
    StepStatus,
)
from sutazai.workflows.resetting import reset_children, reset_items
from sutazai.workflows.settling import Settlement
from sutazai.workflows.stopping import has_given_up, stops_above

_MOST_GRAPHS = 256

OnExecutionEnded = Callable[[Connection, str], None]


class Advancer:
    """Begins, advances and ends executions, inside of units.

    A `budget` is for all that one call brings about, above and below the execution; a unit that
    advances what belongs together in several calls gives each the same.
    """

    def __init__(self, *, tasks: Tasks, on_execution_ended: OnExecutionEnded) -> None:
        """`on_execution_ended` is told of those that a task had executed."""
        self._tasks = tasks
        self._on_execution_ended = on_execution_ended
        self._graphs: dict[tuple[str, int], Graph] = {}

    def graph(self, connection: Connection, workflow_id: str, version: int) -> Graph:
        """The graph of one version; versions do not change."""
        graph = self._graphs.get((workflow_id, version))
        if graph is None:
            graph = Graph(store.get_definition(connection, workflow_id, version))
            if len(self._graphs) >= _MOST_GRAPHS:
                self._graphs.clear()
            self._graphs[workflow_id, version] = graph
        return graph

    def begin(
        self,
        connection: Connection,
        execution: Execution,
        origin: Origin,
        budget: Budget | None = None,
    ) -> Execution:
        """Write an execution and begin the steps that depend on nothing."""
        graph = self.graph(connection, execution.workflow_id, execution.version)
        execution = msgspec.structs.replace(execution, state=graph.initial_state)
        store.add_execution(connection, execution)
        log.append(connection, [notice("started", execution, origin)], now=execution.started_at)
        tally(connection, "executions", "started")
        # Whatever begins it begins nothing more once something has failed.
        this = self._settlement(connection, execution, budget or Budget(), stops=False)
        return this.settle({}, everything=True)

    def before_tasks_end(self, connection: Connection, task_ids: Sequence[str]) -> None:
        """The hook before tasks' ends: lock the executions that they were done for."""
        if connection.dialect.name != "sqlite":  # where one transaction writes at a time
            self.lock_first(connection, finding_store.executions_of_tasks(connection, task_ids))

    def lock_first(self, connection: Connection, execution_ids: Iterable[str]) -> None:
        """Lock executions, each by the outermost one above it, before anything else is locked.

        Who holds that one may lock whatever belongs to it in any order.
        """
        if connection.dialect.name != "sqlite":
            outermost = finding_store.outermost(connection, execution_ids)
            finding_store.lock_executions(connection, outermost)

    def on_task_ended(self, connection: Connection, over: Sequence[TaskEnded]) -> None:
        """The hook of tasks' ends: advance the executions that they were done for."""
        by_task = {ended.task_id: ended for ended in over}
        ended_runs: dict[str, list[tuple[Run, Change]]] = {}
        for task_id, (execution_id, run) in store.runs_of_tasks(connection, list(by_task)).items():
            if run.ended_at is None:
                ended_runs.setdefault(execution_id, []).append((run, _change(by_task[task_id])))
        budgets: dict[str, Budget] = {}
        for execution_id in sorted(ended_runs):
            execution = store.get_execution(connection, execution_id, lock=True)
            if execution is not None and not execution.status.is_final:
                # What tasks of others, which happened to end together, make of theirs is theirs.
                budget = budgets.setdefault(self._outermost(connection, execution), Budget())
                self.runs_ended(connection, execution, ended_runs[execution_id], budget)

    def on_task_waits(self, connection: Connection, task_ids: Sequence[str]) -> None:
        """The hook of attempts that others shall follow: none does where something has failed."""
        runs: dict[str, list[Run]] = {}
        for execution_id, run in store.runs_of_tasks(connection, task_ids).values():
            runs.setdefault(execution_id, []).append(run)
        for execution_id in sorted(runs):
            execution = store.get_execution(connection, execution_id, lock=True)
            if execution is None or execution.status.is_final:
                continue
            graph = self.graph(connection, execution.workflow_id, execution.version)
            fails = graph.is_failing(execution.state)
            fails = fails or stops_above(connection, self.graph, execution)
            over = [
                run
                for run in runs[execution_id]
                if (fails and run.position not in graph.compensations)
                or (run.item >= 0 and has_given_up(connection, graph, execution_id, run.position))
            ]
            if over:
                cancelled = Change(StepStatus.CANCELLED)
                self.runs_ended(connection, execution, [(run, cancelled) for run in over])
                gone = [run.task_id for run in over if run.task_id is not None]
                self._tasks.withdraw(
                    connection, gone, origin=Origin(SYSTEM.actor, execution.request_id)
                )

    def _outermost(self, connection: Connection, execution: Execution) -> str:
        """The execution that this is a step of, at any depth, or is itself."""
        if execution.parent is None:
            return execution.execution_id
        [outermost] = finding_store.outermost(connection, [execution.execution_id])
        return outermost

    def runs_ended(
        self,
        connection: Connection,
        execution: Execution,
        over: Sequence[tuple[Run, Change]],
        budget: Budget | None = None,
    ) -> None:
        """Advance a locked execution, and those above it, after runs have ended."""
        budget = budget or Budget()
        after = self._settle(connection, execution, over, budget)
        self.tell_parent(connection, after, budget)

    def go_on(self, connection: Connection, execution: Execution, budget: Budget) -> Execution:
        """Begin whatever may, of a locked execution that was paused."""
        after = self._settle(connection, execution, (), budget, everything=True)
        self.tell_parent(connection, after, budget)
        return after

    def again(
        self, connection: Connection, execution: Execution, origin: Origin, budget: Budget
    ) -> Execution:
        """Do again what failed of a locked execution, and of those below it; tells no parent."""
        execution_id = execution.execution_id
        graph = self.graph(connection, execution.workflow_id, execution.version)
        again = graph.to_retry(execution.state)
        ordinary = [position for position in again if position not in graph.compensations]
        partly = reset_items(connection, execution_id, ordinary)
        below = reset_children(connection, execution_id, ordinary)
        goes_on = [*partly, *(run.position for run, _ in below)]
        anew = [position for position in again if position not in goes_on]
        store.remove_runs(connection, execution_id, anew)
        statuses = dict.fromkeys(anew, StepStatus.PENDING)
        statuses |= dict.fromkeys(goes_on, StepStatus.RUNNING)
        execution = msgspec.structs.replace(
            execution,
            status=ExecutionStatus.RUNNING,
            state=with_statuses(execution.state, statuses),
            ended_at=None,
            error=None,
        )
        store.update_execution(connection, execution)
        log.append(connection, [notice("retried", execution, origin)], now=clock.now())
        over = []
        for run, child in below:
            after = self.again(connection, child, origin, budget)
            if after.status.is_final:
                over.append((run, change_by_child(after)))
        return self._settle(connection, execution, over, budget, everything=True)

    def stop(self, connection: Connection, execution_id: str, budget: Budget) -> Change | None:
        """End what has not begun of an execution whose step above is to end; tells no parent.

        How the step has ended, if that is all there was.
        """
        execution = store.get_execution(connection, execution_id, lock=True)
        if execution is None or execution.status.is_final:
            return None
        after = self._settle(connection, execution, (), budget, everything=True, stops=True)
        return change_by_child(after, stops=True) if after.status.is_final else None

    def _settle(
        self,
        connection: Connection,
        execution: Execution,
        over: Sequence[tuple[Run, Change]],
        budget: Budget,
        *,
        everything: bool = False,
        stops: bool | None = None,
    ) -> Execution:
        """Write the ends of runs, and begin what they let go, or everything that may begin.

        `stops` as of `Settlement`; None: look.
        """
        this = self._settlement(connection, execution, budget, stops=stops)
        each = []
        if everything:
            each = [
                position
                for position, letter in enumerate(execution.state)
                if letter == "r" and this.graph.steps[position].for_each is not None
            ]
        going = [(run, change) for run, change in over if run.ended_at is None]
        return this.settle(this.end_runs(going, done_for_items=each), everything=everything)

    def tell_parent(
        self, connection: Connection, execution: Execution, budget: Budget | None = None
    ) -> None:
        """If the execution has ended, end the step, or tell the task, that it was executed for."""
        if not execution.status.is_final:
            return
        if execution.parent is None:
            if execution.task_id is not None:
                self._on_execution_ended(connection, execution.execution_id)
            return
        parent_id, position, item = execution.parent
        parent = store.get_execution(connection, parent_id, lock=True)
        if parent is None or parent.status.is_final:
            return
        change = change_by_child(execution, stops=stops_above(connection, self.graph, execution))
        for run in store.runs(connection, parent_id, positions=[position], item=item):
            if run.child_id == execution.execution_id:
                self.runs_ended(connection, parent, [(run, change)], budget)

    def cancel(self, connection: Connection, execution: Execution, origin: Origin) -> Execution:
        """End a locked execution, what it runs, and what it executes; a child tells its parent."""
        now = clock.now()
        going = finding_store.open_runs(connection, execution.execution_id)
        changes = {
            position: StepStatus.CANCELLED
            for position, letter in enumerate(execution.state)
            if letter in "prw"
        }
        after = msgspec.structs.replace(
            execution,
            status=ExecutionStatus.CANCELLED,
            state=with_statuses(execution.state, changes),
            ended_at=now,
        )
        store.update_execution(connection, after)
        store.update_runs(
            connection,
            execution.execution_id,
            [
                msgspec.structs.replace(run, status=StepStatus.CANCELLED, ended_at=now)
                for run in going
            ],
        )
        log.append(connection, [notice("cancelled", after, origin)], now=now)
        tally(connection, "executions", after.status.value)
        for run in going:
            if run.status is StepStatus.WAITING:
                jobs.cancel(connection, approval_key(execution.execution_id, run.position))
            if run.child_id is not None:
                child = store.get_execution(connection, run.child_id, lock=True)
                if child is not None and not child.status.is_final:
                    self.cancel(connection, child, origin)
        task_ids = [run.task_id for run in going if run.task_id is not None]
        if task_ids:
            self._tasks.withdraw(connection, task_ids, origin=origin)
        return after

    def _settlement(
        self,
        connection: Connection,
        execution: Execution,
        budget: Budget,
        *,
        stops: bool | None = None,
    ) -> Settlement:
        if stops is None:
            stops = stops_above(connection, self.graph, execution)
        graph = self.graph(connection, execution.workflow_id, execution.version)
        return Settlement(connection, self._tasks, graph, execution, self, budget, stops=stops)


def _change(ended: TaskEnded) -> Change:
    match ended.status:
        case TaskStatus.COMPLETED:
            return Change(StepStatus.COMPLETED)
        case TaskStatus.CANCELLED:
            message = f"The task {ended.task_id} was cancelled."
            return Change(StepStatus.FAILED, StepError(ErrorCode.CONFLICT, message))
        case _:
            assert ended.error is not None  # it failed
            return Change(StepStatus.FAILED, StepError(ended.error.code, ended.error.message))
