"""Arguments, held to the same rules as the REST API's bodies and parameters."""

from typing import Annotated, TypeVar
from uuid import UUID

from pydantic import Field, ValidationError

from sutazai.api.executions import EXECUTION_ID
from sutazai.api.graphql.bounds import MOST_STEPS
from sutazai.api.requests import Clean, Input, Moment
from sutazai.api.tasks import Name
from sutazai.api.workflows import WORKFLOW_ID, StepId
from sutazai.errors import Detail, ErrorCode, SutazaiError
from sutazai.tasks.model import TaskStatus

T = TypeVar("T", bound=Input)


class TaskKey(Input):
    """Which task."""

    task_id: UUID


class AgentKey(Input):
    """Which agent."""

    agent_id: Annotated[str, Field(max_length=64), Clean]


class WorkflowKey(Input):
    """Which workflow."""

    workflow_id: Annotated[str, Field(max_length=64, pattern=WORKFLOW_ID)]


class ExecutionKey(Input):
    """Which execution."""

    execution_id: Annotated[str, Field(max_length=64, pattern=EXECUTION_ID)]


class StepKey(ExecutionKey):
    """Which step of an execution."""

    step_id: StepId


class WorkflowListing(Input):
    """How many workflows, and from where on."""

    limit: Annotated[int, Field(ge=1, le=100)]
    cursor: Annotated[str, Field(max_length=64, pattern=WORKFLOW_ID)] | None


class ExecutionListing(WorkflowKey):
    """Which executions, how many of them, and from where on."""

    limit: Annotated[int, Field(ge=1, le=100)]
    cursor: Annotated[str, Field(max_length=64, pattern=EXECUTION_ID)] | None


class ItemListing(Input):
    """How many items of a step, and from where on."""

    limit: Annotated[int, Field(ge=1, le=MOST_STEPS)]
    after: Annotated[int, Field(ge=-1)]


class TaskListing(Input):
    """Which tasks, and how many of them."""

    status: TaskStatus | None
    type: Name | None
    agent: Name | None
    priority: Annotated[int, Field(ge=1, le=10)] | None
    tag: Name | None
    submitter: Name | None
    created_after: Moment | None
    created_before: Moment | None
    limit: Annotated[int, Field(ge=1, le=100)]
    cursor: UUID | None


def checked(model: type[T], **values: object) -> T:
    """The arguments as their model has them; VALIDATION_ERROR with a detail an argument."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        details = []
        for problem in error.errors(include_url=False, include_input=False):
            place = ".".join(map(str, problem["loc"]))
            details.append(Detail(place, problem["msg"].removeprefix("Value error, ")))
        message = "Invalid input data"
        raise SutazaiError(ErrorCode.VALIDATION_ERROR, message, details=details) from error


def task_id_of(text: str) -> str:
    """A task's id as it is stored."""
    return str(checked(TaskKey, task_id=text).task_id)


def workflow_id_of(text: str) -> str:
    """A workflow's id."""
    return checked(WorkflowKey, workflow_id=text).workflow_id


def execution_id_of(text: str) -> str:
    """An execution's id."""
    return checked(ExecutionKey, execution_id=text).execution_id
