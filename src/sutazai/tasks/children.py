"""What tasks have done for them: delegated tasks and executed workflows, awaited durably.

A waiting task is parked: its job is held, and the transaction that ends the last thing it waits
for lets it go. What was delegated does not outlive the task that wanted it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from sutazai import clock
from sutazai.agents.contract import AgentError, Colleague, WorkflowOutcome
from sutazai.agents.service import AgentDirectory
from sutazai.database import Connection, Database
from sutazai.engine import store as jobs
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.events.model import SYSTEM, Origin
from sutazai.tasks import children_store, store
from sutazai.tasks.children_store import Ancestor, Child
from sutazai.tasks.context import Parent
from sutazai.tasks.model import TaskDraft, TaskEnded, TaskStatus
from sutazai.tasks.service import Tasks

MOST_DEPTH = 5
"""How many tasks there may be above a task."""
MOST_CHILDREN = 1_000
MOST_METADATA = 10 * 1024 * 1024
"""Characters of a delegated task's metadata, as of anybody's request."""

_TASK, _EXECUTION = "task", "execution"


class Owner(NamedTuple):
    """The task that has a workflow executed, and whose the execution will be."""

    task_id: str
    agent_id: str
    submitted_by: str
    request_id: str | None


class NewExecution(NamedTuple):
    """An execution that has begun, and perhaps ended in the same instant."""

    execution_id: str
    has_ended: bool


class Executing(Protocol):
    """What workflows do for tasks; the methods with a connection are parts of units."""

    async def checked(self, workflow: Mapping[str, Any]) -> Any:
        """A definition that `begin` takes; VALIDATION_ERROR with all that is wrong with it."""
        ...

    def steps_of(self, definition: Any) -> Sequence[tuple[str, str | None]]:
        """The type and, where it is pinned, the agent of every step that is a task."""
        ...

    def begin(
        self, connection: Connection, definition: Any, given: dict[str, Any], owner: Owner
    ) -> NewExecution:
        """Execute it for a task and its submitter."""
        ...

    def outcome(self, connection: Connection, execution_id: str) -> WorkflowOutcome:
        """How an execution ended."""
        ...

    def lock(self, connection: Connection, execution_ids: Sequence[str]) -> None:
        """Lock executions for this transaction, before any task or job."""
        ...

    def cancel(self, connection: Connection, execution_id: str, origin: Origin) -> None:
        """End an execution that has not ended."""
        ...


class Children:
    """Delegates for agents, and keeps what they wait for in step with them."""

    def __init__(
        self,
        *,
        database: Database,
        tasks: Tasks,
        directory: AgentDirectory,
        executing: Executing,
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._directory = directory
        self._executing = executing

    def colleagues(self) -> list[Colleague]:
        """Every registered agent, by id."""
        return [
            Colleague(
                agent_id=agent.agent_id,
                name=agent.name,
                capabilities=agent.capabilities,
                is_online=self._directory.is_online(agent.agent_id),
            )
            for agent in self._directory.agents()
        ]

    async def delegate(
        self, parent: Parent, call: str, draft: TaskDraft, traceparent: str | None
    ) -> dict[str, Any] | None:
        """The result of the task that the parent has done under this name; None until it is done.

        AgentError where it failed, cannot be done, or may not be delegated.
        """
        if len(msgspec.json.encode(draft.metadata)) > MOST_METADATA:
            most = MOST_METADATA // (1024 * 1024)
            raise AgentError(f"The metadata of a delegated task is at most {most} MiB.")
        wrong = self._tasks.problems(draft.type, draft.agent)
        if wrong:
            reasons = "; ".join(detail.message for detail in wrong)
            raise AgentError(f"{draft.type} cannot be delegated: {reasons}.")

        def unit(connection: Connection) -> dict[str, Any] | None:
            task = _locked(connection, parent)
            known = children_store.get(connection, parent.task_id, call)
            if known is not None:
                return self._result(connection, known, draft.type)
            self._check_place(connection, task, [(draft.type, draft.agent)])
            origin = Origin(f"agent:{parent.agent_id}", task.request_id)
            above = store.get(connection, task.task_id)
            assert above is not None  # it is locked
            own = msgspec.structs.replace(draft, priority=above.priority)
            [made] = self._tasks.add(
                connection,
                [own],
                submitted_by=task.submitted_by,
                origin=origin,
                traceparent=traceparent,
            )
            child = Child(task.task_id, call, _TASK, made.task_id, None)
            children_store.add(connection, child)
            return None

        return await self._database.run(unit)

    def _result(self, connection: Connection, child: Child, wanted: str) -> dict[str, Any] | None:
        task = store.get(connection, child.child_id) if child.kind == _TASK else None
        if task is None or task.type != wanted:
            raise _other_call(child)
        match task.status:
            case TaskStatus.COMPLETED:
                text = store.get_result(connection, task.task_id)
                result: dict[str, Any] = {} if text is None else msgspec.json.decode(text)
                return result
            case TaskStatus.FAILED:
                assert task.error is not None  # it failed
                message = (
                    f"The delegated task {task.task_id} ({task.type}) failed: {task.error.message}"
                )
                raise AgentError(message, code=task.error.code)
            case TaskStatus.CANCELLED:
                message = f"The delegated task {task.task_id} ({task.type}) was cancelled."
                raise AgentError(message, code=ErrorCode.CONFLICT)
            case _:
                return None

    async def check_workflow(self, workflow: Mapping[str, Any]) -> None:
        """AgentError with all that is wrong with a workflow."""
        await self._definition(workflow)

    async def _definition(self, workflow: Mapping[str, Any]) -> Any:
        try:
            return await self._executing.checked(workflow)
        except SutazaiError as error:
            raise _refused(error) from error

    async def execute(
        self, parent: Parent, call: str, workflow: Mapping[str, Any], given: dict[str, Any]
    ) -> WorkflowOutcome | None:
        """How the workflow ended that the parent has executed under this name; None until then."""
        known = await self._database.read(
            lambda connection: children_store.get(connection, parent.task_id, call)
        )
        # What has begun needs no checking: an agent may have gone meanwhile.
        definition = None if known is not None else await self._definition(workflow)

        def unit(connection: Connection) -> WorkflowOutcome | None:
            task = _locked(connection, parent)
            known = children_store.get(connection, parent.task_id, call)
            if known is not None:
                if known.kind != _EXECUTION:
                    raise _other_call(known)
                if known.ended_at is None:
                    return None
                return self._executing.outcome(connection, known.child_id)
            self._check_place(connection, task, self._executing.steps_of(definition))
            owner = Owner(task.task_id, parent.agent_id, task.submitted_by, task.request_id)
            made = self._executing.begin(connection, definition, given, owner)
            ended_at = clock.now() if made.has_ended else None
            child = Child(task.task_id, call, _EXECUTION, made.execution_id, ended_at)
            children_store.add(connection, child)
            if ended_at is None:
                return None
            return self._executing.outcome(connection, made.execution_id)

        try:
            return await self._database.run(unit)
        except SutazaiError as error:
            raise _refused(error) from error

    def _check_place(
        self,
        connection: Connection,
        task: store.Moving,
        wanted: Sequence[tuple[str, str | None]],
    ) -> None:
        """AgentError where what is wanted would be too deep, too much, or go round in a circle."""
        chain = children_store.lineage(connection, task.task_id, most=MOST_DEPTH + 1)
        if len(chain) > MOST_DEPTH:
            raise AgentError(
                f"Tasks may be delegated {MOST_DEPTH} deep; this would be deeper: {_shown(chain)}.",
                code=ErrorCode.CONFLICT,
            )
        if children_store.count(connection, task.task_id) >= MOST_CHILDREN:
            raise AgentError(
                f"A task may delegate {MOST_CHILDREN} times; this would be once more.",
                code=ErrorCode.CONFLICT,
            )
        above = {(one.agent_id, one.type) for one in chain}
        for task_type, agent in wanted:
            doers = [agent] if agent is not None else self._directory.agents_with(task_type)
            if doers and all((doer, task_type) in above for doer in doers):
                raise AgentError(
                    f"{task_type} would come back to who is waiting for it: {_shown(chain)}.",
                    code=ErrorCode.CONFLICT,
                )

    # --- inside of the units that end tasks and executions

    def before_tasks_end(self, connection: Connection, task_ids: Sequence[str]) -> None:
        """The hook before tasks' ends: lock the executions that would have to end with them."""
        if connection.dialect.name != "sqlite":  # where one transaction writes at a time
            self._executing.lock(connection, children_store.executions(connection, task_ids))

    def on_task_ended(self, connection: Connection, over: Sequence[TaskEnded]) -> None:
        """The hook of tasks' ends: let parents go on, and end what ended ones still have done."""
        self._close(connection, [one.task_id for one in over if one.parent_id is not None])
        left = children_store.open_children(connection, [one.task_id for one in over])
        now = clock.now()
        for child in left:
            children_store.close(connection, child, now=now)
            if child.kind == _EXECUTION:
                self._executing.cancel(connection, child.child_id, SYSTEM)
        tasks = [child.child_id for child in left if child.kind == _TASK]
        if tasks:
            self._tasks.withdraw(connection, tasks, origin=SYSTEM)

    def on_execution_ended(self, connection: Connection, execution_id: str) -> None:
        """Inside a unit: an execution that a task waits for has ended."""
        self._close(connection, [execution_id])

    def _close(self, connection: Connection, child_ids: Sequence[str]) -> None:
        if not child_ids:
            return
        now = clock.now()
        for child in children_store.parents_of(connection, child_ids):
            # Two that end at the same time must not each take the other for still under way.
            jobs.lock(connection, [child.parent_id])
            children_store.close(connection, child, now=now)
            if not children_store.open_children(connection, [child.parent_id]):
                jobs.unhold(connection, [child.parent_id], now=now)


def _locked(connection: Connection, parent: Parent) -> store.Moving:
    """The parent's task, if this attempt is still the one that counts."""
    task = store.lock(connection, [parent.task_id]).get(parent.task_id)
    if task is None or (task.status, task.attempt) != (TaskStatus.PROCESSING, parent.attempt):
        raise AgentError("This attempt counts no more.", code=ErrorCode.CONFLICT)
    return task


def _refused(error: SutazaiError) -> Exception:
    """What an agent is told of a workflow; any other failure is no business of its."""
    if error.code is not ErrorCode.VALIDATION_ERROR:
        return error
    reasons = "; ".join(f"{one.field}: {one.message}" for one in error.details)
    return AgentError(f"The workflow is none that could run. {reasons or error.message}")


def _other_call(child: Child) -> AgentError:
    return AgentError(
        f"Under the name {child.call!r} something else was delegated before: {child.kind} "
        f"{child.child_id}. Give each call a key of its own.",
        code=ErrorCode.INTERNAL_ERROR,
    )


def _shown(chain: Sequence[Ancestor]) -> str:
    return " → ".join(f"{one.agent_id} ({one.type})" for one in reversed(chain))
