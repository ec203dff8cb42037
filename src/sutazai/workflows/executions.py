"""What users do with executions: begin, follow, cancel, retry, pause, resume, approve."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from sutazai import clock
from sutazai.database import Connection, Database
from sutazai.engine import store as jobs
from sutazai.errors import ErrorCode, SutazaiError, invalid, not_found
from sutazai.events import log
from sutazai.events.model import Origin
from sutazai.limits.idempotency import Replayable
from sutazai.tasks.service import Tasks
from sutazai.workflows import finding_store, store
from sutazai.workflows.advancing import Advancer
from sutazai.workflows.definitions import existing
from sutazai.workflows.expressions import Budget
from sutazai.workflows.graph import with_statuses
from sutazai.workflows.model import (
    APPROVAL,
    Execution,
    ExecutionDetails,
    ExecutionPage,
    ExecutionStatus,
    Items,
    ItemsOf,
    Run,
    StepError,
    StepStatus,
)
from sutazai.workflows.settling import Change, approval_key, new_execution, notice

MOST_INPUT = 1024 * 1024
"""Characters of an execution's input."""
MOST_SHOWN = 8 * 1024 * 1024
"""Characters of outputs that are shown together with an execution."""

_Unit = Callable[[Connection], Execution]


class Executions:
    """The executions of workflows."""

    def __init__(self, *, database: Database, tasks: Tasks, advancer: Advancer) -> None:
        self._database = database
        self._tasks = tasks
        self._advancer = advancer

    async def execute(
        self,
        workflow_id: str,
        given: dict[str, Any],
        *,
        submitted_by: str,
        origin: Origin,
        replay: Replayable | None = None,
    ) -> Execution:
        """Begin a workflow in its newest version; when this returns it survives any crash."""
        if len(msgspec.json.encode(given)) > MOST_INPUT:
            raise invalid("input", f"Must be at most {MOST_INPUT} bytes of JSON.")

        def make(connection: Connection) -> Execution:
            return self.add(
                connection, workflow_id, given, submitted_by=submitted_by, origin=origin
            )

        return await self._run(make, replay)

    def add(
        self,
        connection: Connection,
        workflow_id: str,
        given: dict[str, Any],
        *,
        submitted_by: str,
        origin: Origin,
    ) -> Execution:
        """Inside a unit: begin a workflow in its newest version; NOT_FOUND without it."""
        workflow = existing(workflow_id, connection)
        execution = new_execution(
            workflow_id,
            workflow.version,
            given,
            submitted_by=submitted_by,
            request_id=origin.request_id,
        )
        return self._advancer.begin(connection, execution, origin)

    async def _run(self, make: _Unit, replay: Replayable | None) -> Execution:
        def unit(connection: Connection) -> Execution:
            if replay is None:
                return make(connection)
            return replay(connection, Execution, partial(make, connection))

        return await self._database.run(unit)

    # --- following

    async def get(self, execution_id: str) -> Execution:
        """An execution as it is now; NOT_FOUND without it."""
        return await self._database.read(partial(_existing, execution_id))

    async def details(self, execution_id: str) -> ExecutionDetails:
        """An execution with every step, its task and its output."""
        return await self._database.read(partial(self.read_details, execution_id))

    def read_details(self, execution_id: str, connection: Connection) -> ExecutionDetails:
        """Inside a unit: see `details`."""
        execution = _existing(execution_id, connection)
        graph = self._advancer.graph(connection, execution.workflow_id, execution.version)
        runs = store.runs(connection, execution_id)
        done = [run.task_id for run in runs if run.task_id and run.status is StepStatus.COMPLETED]
        outputs = self._tasks.read_results(connection, done, most=MOST_SHOWN)
        return ExecutionDetails(execution, graph.definition, runs, outputs)

    async def find(self, execution_ids: Sequence[str]) -> dict[str, Execution]:
        """Those of these executions that there are, by id."""
        read = partial(finding_store.find_executions, execution_ids=execution_ids)
        return {one.execution_id: one for one in await self._database.read(read)}

    async def find_runs(self, execution_ids: Sequence[str]) -> dict[str, dict[int, Run]]:
        """What was done for each step of these executions, by position; without items."""
        return await self._database.read(
            partial(finding_store.find_runs, execution_ids=execution_ids)
        )

    async def find_items(self, wanted: Sequence[ItemsOf]) -> list[list[Run]]:
        """Some items of each of these steps."""

        def unit(connection: Connection) -> list[list[Run]]:
            return [finding_store.items(connection, one) for one in wanted]

        return await self._database.read(unit)

    async def list_executions(
        self,
        workflow_id: str,
        *,
        limit: int,
        cursor: str | None = None,
        status: ExecutionStatus | None = None,
    ) -> ExecutionPage:
        """A page of a workflow's executions, newest first; those of a deleted one too.

        NOT_FOUND where there never was such a workflow.
        """

        def unit(connection: Connection) -> list[Execution]:
            found = store.page_of_executions(
                connection, workflow_id, limit=limit + 1, before=cursor, status=status
            )
            if not found and not finding_store.is_known(connection, workflow_id):
                raise not_found("workflow", workflow_id)
            return found

        found = await self._database.read(unit)
        more = len(found) > limit
        found = found[:limit]
        return ExecutionPage(found, found[-1].execution_id if more else None)

    # --- changing

    def _locked(self, execution_id: str, connection: Connection) -> Execution:
        self._advancer.lock_first(connection, [execution_id])
        return _existing(execution_id, connection, lock=True)

    async def cancel(self, execution_id: str, *, origin: Origin) -> Execution:
        """End an execution and its tasks; CONFLICT when it has ended, but for a cancelled one."""

        def unit(connection: Connection) -> Execution:
            execution = self._locked(execution_id, connection)
            if execution.status is ExecutionStatus.CANCELLED:
                return execution
            if execution.status.is_final:
                raise _conflict(execution, "it cannot be cancelled")
            after = self._advancer.cancel(connection, execution, origin)
            self._advancer.tell_parent(connection, after)
            return after

        return await self._database.run(unit)

    async def retry(
        self, execution_id: str, *, origin: Origin, replay: Replayable | None = None
    ) -> Execution:
        """Do again what failed or was cancelled, and what depends on it; keep what is finished.

        CONFLICT unless it failed or was cancelled, and for an execution that is another's step.
        """
        return await self._run(partial(self._retry, execution_id, origin), replay)

    def _retry(self, execution_id: str, origin: Origin, connection: Connection) -> Execution:
        execution = self._locked(execution_id, connection)
        if execution.status not in (ExecutionStatus.FAILED, ExecutionStatus.CANCELLED):
            raise _conflict(execution, "only what failed or was cancelled can be tried again")
        if execution.parent is not None:
            message = f"It is a step of the execution {execution.parent[0]}; retry that one."
            raise SutazaiError(ErrorCode.CONFLICT, message)
        return self._again(connection, execution, origin, Budget())

    def _again(
        self, connection: Connection, execution: Execution, origin: Origin, budget: Budget
    ) -> Execution:
        """Do again what failed of a locked execution, and of those below it."""
        execution_id = execution.execution_id
        graph = self._advancer.graph(connection, execution.workflow_id, execution.version)
        again = graph.to_retry(execution.state)
        ordinary = [position for position in again if position not in graph.compensations]
        partly = _reset_items(connection, execution_id, ordinary)
        below = _reset_children(connection, execution_id, ordinary)
        goes_on = [*partly, *below]
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
        _tell(connection, "retried", execution, origin)
        for child in below.values():
            self._again(connection, child, origin, budget)
        if below:
            # A child that has just ended again has ended the step it was for, and maybe all.
            execution = _existing(execution_id, connection, lock=True)
            if execution.status.is_final:
                return execution
        return self._advancer.go_on(connection, execution, budget)

    async def pause(
        self, execution_id: str, *, origin: Origin, replay: Replayable | None = None
    ) -> Execution:
        """Begin no more steps until `resume`; what runs goes on. CONFLICT when it has ended."""
        return await self._run(partial(self._pause, execution_id, origin), replay)

    def _pause(self, execution_id: str, origin: Origin, connection: Connection) -> Execution:
        execution = self._locked(execution_id, connection)
        if execution.status is ExecutionStatus.PAUSED:
            return execution
        if execution.status.is_final:
            raise _conflict(execution, "it cannot be paused")
        execution = msgspec.structs.replace(execution, status=ExecutionStatus.PAUSED)
        store.update_execution(connection, execution)
        _tell(connection, "paused", execution, origin)
        for child_id in _children(connection, execution_id):
            self._pause(child_id, origin, connection)
        return execution

    async def resume(
        self, execution_id: str, *, origin: Origin, replay: Replayable | None = None
    ) -> Execution:
        """Go on with a paused execution; CONFLICT when it has ended."""
        return await self._run(
            lambda connection: self._resume(execution_id, origin, connection, Budget()), replay
        )

    def _resume(
        self, execution_id: str, origin: Origin, connection: Connection, budget: Budget
    ) -> Execution:
        execution = self._locked(execution_id, connection)
        if execution.status is ExecutionStatus.RUNNING:
            return execution
        if execution.status.is_final:
            raise _conflict(execution, "it cannot be resumed")
        for child_id in _children(connection, execution_id):
            self._resume(child_id, origin, connection, budget)
        # A child that had nothing left to do has just ended the step it was for.
        execution = _existing(execution_id, connection, lock=True)
        execution = msgspec.structs.replace(execution, status=ExecutionStatus.RUNNING)
        _tell(connection, "resumed", execution, origin)
        return self._advancer.go_on(connection, execution, budget)

    async def approve(
        self,
        execution_id: str,
        step_id: str,
        *,
        approved: bool,
        comment: str,
        user_id: str,
        replay: Replayable | None = None,
    ) -> Execution:
        """Let a step that waits for a person go on, or fail.

        NOT_FOUND without such a step; CONFLICT where it does not wait for anybody.
        """

        def make(connection: Connection) -> Execution:
            execution = self._locked(execution_id, connection)
            graph = self._advancer.graph(connection, execution.workflow_id, execution.version)
            position = graph.positions.get(step_id)
            if position is None or graph.steps[position].type != APPROVAL:
                raise not_found("approval step", step_id)
            if execution.status.is_final or execution.state[position] != "w":
                message = f"The step {step_id!r} does not wait for an approval now."
                raise SutazaiError(ErrorCode.CONFLICT, message)
            jobs.cancel(connection, approval_key(execution_id, position))
            [run] = store.runs(connection, execution_id, positions=[position], item=-1)
            change = Change(StepStatus.COMPLETED)
            if not approved:
                said = f": {comment}" if comment else "."
                error = StepError(ErrorCode.CONFLICT, f"It was refused by {user_id}{said}")
                change = Change(StepStatus.FAILED, error)
            answer = {"approved": approved, "by": user_id, "comment": comment}
            run = msgspec.structs.replace(run, value=msgspec.json.encode(answer).decode())
            self._advancer.runs_ended(connection, execution, [(run, change)])
            return _existing(execution_id, connection)

        return await self._run(make, replay)


def _existing(execution_id: str, connection: Connection, *, lock: bool = False) -> Execution:
    execution = store.get_execution(connection, execution_id, lock=lock)
    if execution is None:
        raise not_found("execution", execution_id)
    return execution


def _conflict(execution: Execution, consequence: str) -> SutazaiError:
    message = f"The execution is {execution.status}; {consequence}."
    return SutazaiError(ErrorCode.CONFLICT, message)


def _tell(connection: Connection, what: str, execution: Execution, origin: Origin) -> None:
    log.append(connection, [notice(what, execution, origin)], now=clock.now())


def _children(connection: Connection, execution_id: str) -> list[str]:
    found = store.open_runs(connection, execution_id)
    return [run.child_id for run in found if run.child_id is not None]


def _reset_children(
    connection: Connection, execution_id: str, positions: list[int]
) -> dict[int, Execution]:
    """Make steps that executed something run again; what they executed, to be tried again."""
    found = {}
    for run in store.runs(connection, execution_id, positions=positions, item=-1):
        if run.child_id is None:
            continue
        child = store.get_execution(connection, run.child_id, lock=True)
        if child is None or child.status is ExecutionStatus.COMPLETED:
            continue
        found[run.position] = child
        going = msgspec.structs.replace(run, status=StepStatus.RUNNING, ended_at=None, error=None)
        store.update_runs(connection, execution_id, [going])
    return found


def _reset_items(connection: Connection, execution_id: str, positions: list[int]) -> list[int]:
    """Make the items that were not completed pending again; the steps that have such."""
    whole = [
        run
        for run in store.runs(connection, execution_id, positions=positions, item=-1)
        if run.items is not None
    ]
    changed = []
    for run in whole:
        assert run.items is not None
        changed.append(
            msgspec.structs.replace(
                run,
                status=StepStatus.RUNNING,
                items=Items(run.items.total, 0, 0, 0),
                ended_at=None,
                error=None,
            )
        )
    partly = [run.position for run in whole]
    changed += [
        msgspec.structs.replace(
            run,
            status=StepStatus.PENDING,
            task_id=None,
            started_at=None,
            ended_at=None,
            error=None,
        )
        for run in store.runs(connection, execution_id, positions=partly)
        if run.item >= 0 and run.status is not StepStatus.COMPLETED
    ]
    store.update_runs(connection, execution_id, changed)
    return partly
