"""The shapes of the answers about workflows, for the OpenAPI document."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from sutazai.api.schemas import TaskFailure
from sutazai.workflows.model import ExecutionStatus, StepStatus


class Workflow(BaseModel):
    """A workflow as it was accepted."""

    workflow_id: str
    name: str
    status: Literal["created"]
    created_at: datetime
    version: int


class WorkflowDetails(Workflow):
    """A workflow in its newest version; the steps as they were given."""

    description: str
    created_by: str
    updated_at: datetime
    steps: list[dict[str, Any]]


class WorkflowList(BaseModel):
    """A page of workflows."""

    workflows: list[WorkflowDetails]
    limit: int
    next_cursor: str | None


class PlannedStep(BaseModel):
    """A step before it runs; seconds within which eight of ten tasks of its type were done."""

    step_id: str
    type: str
    agents: Annotated[list[str], Field(description="those online that could take it")]
    cached: Annotated[
        bool | None,
        Field(
            description="whether it would be answered from the result cache, as everything is now; "
            "null where that cannot be told before it runs"
        ),
    ]
    shortest_seconds: float | None
    longest_seconds: float | None


class Plan(BaseModel):
    """What an execution would do; `order` has the steps that run side by side together.

    The times of the whole are those of the longest way through it with enough agents, null where
    nothing is known of a step's type.
    """

    workflow_id: str
    version: int
    order: list[list[str]]
    steps: list[PlannedStep]
    shortest_seconds: float | None
    longest_seconds: float | None


class Execution(BaseModel):
    """An execution, without its steps."""

    execution_id: str
    workflow_id: str
    version: int
    status: ExecutionStatus
    started_at: datetime
    steps_completed: int
    steps_total: int
    submitted_by: str
    parent_execution_id: str | None = None
    parent_task_id: Annotated[str | None, Field(description="the task that had it executed")] = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    cancelled_at: datetime | None = None
    error: TaskFailure | None = None


class ItemRun(BaseModel):
    """One item of a `for_each`; `execution_id` is what one of the type `workflow` executes."""

    index: int
    status: StepStatus
    task_id: str | None
    execution_id: str | None = None
    started_at: datetime | None
    ended_at: datetime | None
    output: Any = None
    error: TaskFailure | None = None


class AwaitedEvent(BaseModel):
    """The event that answers an approval step, or did; see `postEvent`."""

    event_type: str
    correlation_id: str | None


class StepRun(BaseModel):
    """A step of an execution; `execution_id` is what a step of the type `workflow` executes.

    `output` is what expressions of later steps see: the task's result; the list of the items'
    outputs; or the outputs, by name, of the steps of what was executed.
    """

    step_id: str
    type: str
    status: StepStatus
    task_id: str | None
    execution_id: str | None = None
    started_at: datetime | None
    ended_at: datetime | None
    output: Any = None
    error: TaskFailure | None = None
    items: list[ItemRun] | None = None
    event: AwaitedEvent | None = None


class ExecutionDetails(Execution):
    """An execution with its steps.

    Outputs that are over 8 MiB together are left out: they are the results of the tasks. So are
    those that are made of several, the lists of items' outputs and the outputs of workflows below.
    """

    input: dict[str, Any]
    outputs_left_out: bool = False
    steps: list[StepRun]


class AnsweredStep(BaseModel):
    """A step that waits no more."""

    execution_id: str
    workflow_id: str
    step_id: str


class PostedEvent(BaseModel):
    """An event, with the steps that it has answered; there is at least one."""

    event_type: str
    correlation_id: str | None
    answered: list[AnsweredStep]


class ExecutionList(BaseModel):
    """A page of executions."""

    executions: list[Execution]
    limit: int
    next_cursor: str | None
