"""What a workflow is, what its execution is, and the words for where each step stands."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, NamedTuple

import msgspec

APPROVAL = "approval"
"""The type of a step that waits for a person."""
SUB_WORKFLOW = "workflow"
"""The type of a step that executes another workflow."""

MOST_STEPS = 1_000
MOST_ITEMS = 10_000
MOST_CONCURRENCY = 1_000
DEFAULT_CONCURRENCY = 100
MOST_EXECUTIONS_AT_ONCE = 100
"""Items of one step that are executed as workflows at a time; each is begun by itself."""
MOST_DEPTH = 5
"""How deep executions may start executions."""
DEFAULT_APPROVAL_SECONDS = 7 * 24 * 3600.0


class StepStatus(StrEnum):
    """Where a step stands; the last four are final."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class ExecutionStatus(StrEnum):
    """Where an execution stands; the last three are final."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it but a retry."""
        return self not in (ExecutionStatus.RUNNING, ExecutionStatus.PAUSED)


class ForEach(msgspec.Struct, frozen=True, kw_only=True):
    """Once for each of a list's items, so many at a time; `items` is an expression."""

    items: str
    concurrency: int = DEFAULT_CONCURRENCY


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often the step's task is tried, as `max_attempts` of any task."""

    max_attempts: int


class Compensate(msgspec.Struct, frozen=True, kw_only=True):
    """The step to run when this one has failed, before the execution fails."""

    compensate: str


class AwaitedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The event that answers an approval step; `correlation_id` is an expression for its own."""

    event_type: str
    correlation_id: str | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step as it was defined.

    `input`, `when`, `for_each.items` and `event.correlation_id` are JMESPath.
    """

    step_id: str
    type: str
    agent: str | None = None
    description: str | None = None
    depends_on: tuple[str, ...] = ()
    config: dict[str, Any] = {}
    metadata: dict[str, Any] | None = None
    input: dict[str, str] = {}
    when: str | None = None
    for_each: ForEach | None = None
    retry: Retry | None = None
    timeout_seconds: float | None = None
    on_failure: Literal["fail", "continue"] | Compensate = "fail"
    workflow_id: str | None = None
    event: AwaitedEvent | None = None


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What a user writes; one version of a workflow."""

    name: str
    description: str = ""
    steps: tuple[Step, ...]


class Workflow(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow in its newest version; times in microseconds."""

    workflow_id: str
    version: int
    definition: Definition
    created_by: str
    created_at: int
    updated_at: int


class Version(NamedTuple):
    """One version of a workflow."""

    workflow_id: str
    version: int


class WorkflowPage(NamedTuple):
    """Newest first; `next_cursor` is None on the last page."""

    workflows: list[Workflow]
    next_cursor: str | None


class StepError(msgspec.Struct, frozen=True):
    """Why a step, or with it an execution, failed."""

    code: str
    message: str


class EventKey(NamedTuple):
    """What an event that is posted and the step that it answers have in common."""

    event_type: str
    correlation_id: str | None


class Items(NamedTuple):
    """How far a `for_each` is: `next` is the first item that may not have begun."""

    total: int
    next: int
    running: int
    failed: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What was done for a step, or for one item of it; `item` is -1 for the step itself.

    `value` is JSON text: the item, or the output of a step that has no task. `event` answers it
    as a person would.
    """

    position: int
    item: int
    status: StepStatus
    task_id: str | None = None
    child_id: str | None = None
    value: str | None = None
    started_at: int | None
    ended_at: int | None = None
    error: StepError | None = None
    items: Items | None = None
    event: EventKey | None = None


class Parent(NamedTuple):
    """The step that started an execution, and which of its items that is for; -1: for the step."""

    execution_id: str
    position: int
    item: int = -1


class RunKey(NamedTuple):
    """A run among those of an execution."""

    position: int
    item: int = -1


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as it is stored; `state` is the graph's (see `graph`), times in microseconds.

    `task_id` is the task that had it, or the one above it, executed.
    """

    execution_id: str
    workflow_id: str
    version: int
    status: ExecutionStatus
    state: str
    input: dict[str, Any]
    submitted_by: str
    request_id: str | None
    started_at: int
    ended_at: int | None
    error: StepError | None
    parent: Parent | None
    depth: int
    task_id: str | None = None

    @property
    def steps_total(self) -> int:
        """How many steps it has."""
        return len(self.state)

    @property
    def steps_completed(self) -> int:
        """How many of them are done, or were not needed."""
        return self.state.count("c") + self.state.count("s")


class ItemsOf(NamedTuple):
    """Some items of a `for_each` step, from `first` on."""

    execution_id: str
    position: int
    first: int
    limit: int


class ExecutionPage(NamedTuple):
    """Newest first; `next_cursor` is None on the last page."""

    executions: list[Execution]
    next_cursor: str | None


class ExecutionDetails(NamedTuple):
    """An execution with what was done for it.

    `outputs` are JSON texts by task id; `made` has those that are made of several, of each step
    that is done for items or executes a workflow, and of items that do, by position and item. Each
    is None where they are too large to be shown together.
    """

    execution: Execution
    definition: Definition
    runs: list[Run]
    outputs: dict[str, str] | None
    made: Mapping[RunKey, str] | None
