"""What executions and their steps become, and who is asked to make it so."""

from typing import NamedTuple, Protocol

from sutazai import clock, ids
from sutazai.database import Connection
from sutazai.errors import ErrorCode
from sutazai.events.model import NewEvent, Origin
from sutazai.workflows.expressions import Budget
from sutazai.workflows.model import Execution, ExecutionStatus, Parent, StepError, StepStatus

APPROVAL_KIND = "workflow_approval"
RESOURCE = "workflows"


def approval_key(execution_id: str, position: int) -> str:
    """The key of the job that ends a wait for a person."""
    return f"{APPROVAL_KIND}:{execution_id}:{position}"


def notice(event: str, execution: Execution, origin: Origin, **more: object) -> NewEvent:
    """An event about an execution; what is None is left out."""
    data: dict[str, object] = {
        "execution_id": execution.execution_id,
        "workflow_id": execution.workflow_id,
    }
    data |= {name: value for name, value in more.items() if value is not None}
    return NewEvent(f"workflow.{event}", data, origin, RESOURCE, execution.submitted_by)


class Change(NamedTuple):
    """How a step that was running ended."""

    status: StepStatus
    error: StepError | None = None


def change_by_child(child: Execution, *, stops: bool = False) -> Change:
    """What the end of an execution means for the step that it was for.

    `stops`: it was to end, because something above it had failed.
    """
    if child.status is ExecutionStatus.COMPLETED:
        return Change(StepStatus.COMPLETED)
    if stops and child.status is ExecutionStatus.CANCELLED:
        return Change(StepStatus.CANCELLED)
    reason = "It was cancelled." if child.error is None else child.error.message
    code = ErrorCode.CONFLICT if child.error is None else child.error.code
    message = f"The execution {child.execution_id} ended as {child.status}. {reason}"
    return Change(StepStatus.FAILED, StepError(code, message))


class Below(Protocol):
    """Who begins, stops, and tries again what is executed for steps; they tell no parent."""

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

    def stop(self, connection: Connection, execution_id: str, budget: Budget) -> Change | None:
        """See `Advancer.stop`."""
        ...


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
