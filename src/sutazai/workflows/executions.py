"""What users do with executions: begin, follow, cancel, retry, pause, resume, approve."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from sutazai import clock
from sutazai.database import Connection, Database, aside
from sutazai.errors import Detail, ErrorCode, SutazaiError, invalid, not_found
from sutazai.events import log
from sutazai.events.hub import EventHub
from sutazai.events.model import Origin
from sutazai.events.waiting import Waiters
from sutazai.limits.idempotency import Replayable
from sutazai.tasks.service import Tasks
from sutazai.workflows import finding_store, outputs, store
from sutazai.workflows.advancing import Advancer
from sutazai.workflows.answering import Answer, AnsweredStep, answer, answer_all, answer_of
from sutazai.workflows.changes import new_execution, notice
from sutazai.workflows.definitions import existing
from sutazai.workflows.expressions import Budget
from sutazai.workflows.foreseen import known_metadata
from sutazai.workflows.model import (
    APPROVAL,
    SUB_WORKFLOW,
    Definition,
    EventKey,
    Execution,
    ExecutionDetails,
    ExecutionPage,
    ExecutionStatus,
    ItemsOf,
    Run,
    RunKey,
    Step,
    StepStatus,
)
from sutazai.workflows.starting import description_of

MOST_INPUT = 1024 * 1024
"""Characters of an execution's input."""
MOST_SHOWN = 8 * 1024 * 1024
"""Characters of outputs that are shown together with an execution."""

_FINAL_EVENTS = frozenset({"workflow.completed", "workflow.failed", "workflow.cancelled"})

_Unit = Callable[[Connection], Execution]


class Executions:
    """The executions of workflows."""

    def __init__(
        self, *, database: Database, hub: EventHub, tasks: Tasks, advancer: Advancer
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._advancer = advancer
        self._waiters = Waiters(hub, id_field="execution_id", ended_by=_FINAL_EVENTS)

    def end_waits(self) -> None:
        """Let go whoever waits for an execution, now and from now on: the server is stopping."""
        self._waiters.close()

    async def execute(
        self,
        workflow_id: str,
        given: dict[str, Any],
        *,
        submitted_by: str,
        origin: Origin,
        replay: Replayable | None = None,
    ) -> Execution:
        """Begin a workflow in its newest version; when this returns it survives any crash.

        VALIDATION_ERROR for an input that is too large, or that a step would be refused with.
        """
        if len(msgspec.json.encode(given)) > MOST_INPUT:
            raise invalid("input", f"Must be at most {MOST_INPUT} bytes of JSON.")

        def make(connection: Connection) -> Execution:
            definition = existing(workflow_id, connection).definition
            wrong = aside(connection, partial(self._unfit, definition, given))
            if wrong:
                raise SutazaiError(ErrorCode.VALIDATION_ERROR, "Invalid input data", details=wrong)
            return self.add(
                connection, workflow_id, given, submitted_by=submitted_by, origin=origin
            )

        return await self._run(make, replay)

    def _unfit(self, definition: Definition, given: dict[str, Any]) -> list[Detail]:
        """What steps would be refused for, as far as their metadata is known before any runs."""
        found, budget = [], Budget()
        for step in definition.steps:
            if not self._tasks.looks_at_input(step.type):
                continue
            metadata = known_metadata(step, given, budget)
            if metadata is None:
                continue
            name = description_of(step, definition)
            wrong = self._tasks.input_problem(step.type, step.agent, name, metadata)
            if wrong is not None:
                message = f"Step {step.step_id!r} would be refused: {wrong.message}"
                found.append(Detail(f"input.{wrong.field.removeprefix('metadata.')}", message))
        return found

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

    async def get(self, execution_id: str, *, wait: float = 0) -> Execution:
        """An execution as it is now, or as soon as it has ended, waiting `wait` seconds at most.

        NOT_FOUND without it.
        """
        look = partial(self._database.read, partial(_existing, execution_id))
        return await self._waiters.ended(
            execution_id, wait, look, lambda execution: execution.status.is_final
        )

    async def details(self, execution_id: str) -> ExecutionDetails:
        """An execution with every step, its task and its output."""
        return await self._database.read(partial(self.read_details, execution_id))

    def read_details(self, execution_id: str, connection: Connection) -> ExecutionDetails:
        """Inside a unit: see `details`."""
        execution = _existing(execution_id, connection)
        graph = self._advancer.graph(connection, execution.workflow_id, execution.version)
        runs = store.runs(connection, execution_id)
        done = [run.task_id for run in runs if run.task_id and run.status is StepStatus.COMPLETED]
        results = self._tasks.read_results(connection, done, most=MOST_SHOWN)
        steps = graph.steps
        several = [run.position for run in runs if _is_made(run, steps[run.position])]
        made = outputs.read(connection, self._tasks, execution, several, most=MOST_SHOWN)
        return ExecutionDetails(execution, graph.definition, runs, results, made)

    async def find(self, execution_ids: Sequence[str]) -> dict[str, Execution]:
        """Those of these executions that there are, by id."""
        read = partial(finding_store.find_executions, execution_ids=execution_ids)
        return {one.execution_id: one for one in await self._database.read(read)}

    async def find_runs(self, execution_ids: Sequence[str]) -> dict[str, dict[int, Run]]:
        """What was done for each step of these executions, by position; without items."""
        return await self._database.read(
            partial(finding_store.find_runs, execution_ids=execution_ids)
        )

    async def find_outputs(self, wanted: Sequence[tuple[str, int]]) -> list[Mapping[RunKey, str]]:
        """For each execution and position of a step, the output that is made of several.

        With those of its items; BAD_REQUEST where those of an execution are too large together.
        """

        def unit(connection: Connection) -> dict[str, dict[RunKey, str] | None]:
            positions: dict[str, list[int]] = {}
            for execution_id, position in wanted:
                positions.setdefault(execution_id, []).append(position)
            return {
                one.execution_id: outputs.read(
                    connection, self._tasks, one, positions[one.execution_id], most=MOST_SHOWN
                )
                for one in finding_store.find_executions(connection, list(positions))
            }

        found = await self._database.read(unit)
        if None in found.values():
            most = MOST_SHOWN // (1024 * 1024)
            message = (
                f"The outputs of an execution are over {most} MiB. Ask for its tasks' results."
            )
            raise SutazaiError(ErrorCode.BAD_REQUEST, message)
        return [found.get(execution_id) or {} for execution_id, _ in wanted]

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
            found = finding_store.page_of_executions(
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
        after = self._advancer.again(connection, execution, origin, Budget())
        self._advancer.tell_parent(connection, after)
        return after

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
        origin: Origin,
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
            said = Answer(approved, comment, user_id, origin)
            if not answer(connection, self._advancer, execution, position, said):
                message = f"The step {step_id!r} does not wait for an approval now."
                raise SutazaiError(ErrorCode.CONFLICT, message)
            return _existing(execution_id, connection)

        return await self._run(make, replay)

    async def post_event(
        self,
        event: EventKey,
        data: dict[str, Any],
        *,
        user_id: str,
        origin: Origin,
        replay: Replayable | None = None,
    ) -> list[AnsweredStep]:
        """Answer every approval step that waits for this event, of whichever execution.

        VALIDATION_ERROR for an event that can answer none; NOT_FOUND where none waits for it;
        CONFLICT where more than `MOST_ANSWERED` do, or their answers would begin too much together.
        """
        said = answer_of(event, data, user_id, origin)

        def make(connection: Connection) -> list[AnsweredStep]:
            return answer_all(connection, self._advancer, event, said)

        def unit(connection: Connection) -> list[AnsweredStep]:
            if replay is None:
                return make(connection)
            return replay(connection, list[AnsweredStep], partial(make, connection))

        return await self._database.run(unit)


def _existing(execution_id: str, connection: Connection, *, lock: bool = False) -> Execution:
    execution = store.get_execution(connection, execution_id, lock=lock)
    if execution is None:
        raise not_found("execution", execution_id)
    return execution


def _is_made(run: Run, step: Step) -> bool:
    """Whether a step's output, or already one of its items', is made of others' by now."""
    if run.item >= 0 or run.value is not None:
        return False
    if run.items is not None and step.type == SUB_WORKFLOW:
        return True
    is_made = run.items is not None or run.child_id is not None
    return is_made and run.status is StepStatus.COMPLETED


def _conflict(execution: Execution, consequence: str) -> SutazaiError:
    message = f"The execution is {execution.status}; {consequence}."
    return SutazaiError(ErrorCode.CONFLICT, message)


def _tell(connection: Connection, what: str, execution: Execution, origin: Origin) -> None:
    log.append(connection, [notice(what, execution, origin)], now=clock.now())


def _children(connection: Connection, execution_id: str) -> list[str]:
    """What its steps and items execute now, and not what they will go on with later."""
    return [
        run.child_id
        for run in finding_store.open_runs(connection, execution_id)
        if run.child_id is not None and run.status is StepStatus.RUNNING
    ]
