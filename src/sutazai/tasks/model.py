"""What a task is, and the only ways its status can go."""

import re
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from sutazai.engine.job import Attempt

DEFAULT_PRIORITY = 5
DEFAULT_ATTEMPTS = 3
DEFAULT_TIMEOUT_SECONDS = 600.0


class TaskStatus(StrEnum):
    """The specification's statuses; the last three are final."""

    PENDING = "pending"
    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return not TRANSITIONS[self]


_PENDING, _QUEUED, _PROCESSING, _COMPLETED, _FAILED, _CANCELLED = TaskStatus

TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    # Straight to processing: an agent came online and claimed it before it was counted as queued.
    _PENDING: frozenset({_QUEUED, _PROCESSING, _FAILED, _CANCELLED}),
    _QUEUED: frozenset({_PROCESSING, _FAILED, _CANCELLED}),
    # To itself: the next attempt. Back to queued: waiting for a retry's delay.
    _PROCESSING: frozenset({_PROCESSING, _QUEUED, _COMPLETED, _FAILED, _CANCELLED}),
    _COMPLETED: frozenset(),
    _FAILED: frozenset(),
    _CANCELLED: frozenset(),
}
"""The state machine; `store.move` refuses whatever is not in it."""


class PendingReason(StrEnum):
    """Why a task cannot run yet, or (`children`) cannot go on: it waits for what it delegated."""

    NO_AGENT = "no_agent"
    NO_MODEL = "no_model"
    SCHEDULED = "scheduled"
    DEPENDENCY = "dependency"
    CHILDREN = "children"


_ASSIGNMENT_ID = re.compile(r"as-([0-9a-f-]{36})-[0-9]{1,4}-([0-9]{1,9})", re.ASCII)


def assignment_id_of(task_id: str, attempt: int, token: int) -> str:
    """How agents and users name one attempt; to them it is opaque."""
    return f"as-{task_id}-{attempt}-{token}"


def attempt_of(assignment_id: str) -> Attempt | None:
    """The engine's name for an assignment; None for what is no assignment's id."""
    found = _ASSIGNMENT_ID.fullmatch(assignment_id)
    return None if found is None else Attempt(found[1], int(found[2]))


class TaskDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a user submits; times in microseconds, already checked for shape."""

    type: str
    description: str
    priority: int = DEFAULT_PRIORITY
    metadata: dict[str, Any] = {}
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    max_attempts: int = DEFAULT_ATTEMPTS
    run_at: int | None = None
    depends_on: tuple[str, ...] = ()
    agent: str | None = None
    tags: tuple[str, ...] = ()
    callback_url: str | None = None
    parent_id: str | None = None


class NewTask(NamedTuple):
    """A draft about to be written."""

    task_id: str
    draft: TaskDraft
    status: TaskStatus
    pending_reason: PendingReason | None


class TaskError(msgspec.Struct, frozen=True):
    """Why a task failed."""

    code: str
    message: str


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task as it is stored; times in microseconds."""

    task_id: str
    type: str
    description: str
    status: TaskStatus
    pending_reason: PendingReason | None
    priority: int
    progress: int
    metadata: dict[str, Any]
    counters: dict[str, int]
    tags: tuple[str, ...]
    depends_on: tuple[str, ...]
    agent: str | None
    assigned_agent: str | None
    attempt: int
    max_attempts: int
    timeout_seconds: float
    submitted_by: str
    created_at: int
    run_at: int | None
    started_at: int | None
    ended_at: int | None
    error: TaskError | None
    parent_task_id: str | None = None


class Submitted(msgspec.Struct, frozen=True):
    """The answer to a submission; an Idempotency-Key brings this very value back."""

    task_id: str
    type: str
    description: str
    status: TaskStatus
    pending_reason: PendingReason | None
    priority: int
    estimated_completion: int | None
    created_at: int


class TaskResult(msgspec.Struct, frozen=True):
    """How a task ended; `result` is the JSON text its agent gave."""

    task_id: str
    type: str
    status: TaskStatus
    result: str | None
    error: TaskError | None
    ended_at: int


class TaskFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks to list; unset fields do not narrow. Times in µs, `before` exclusive."""

    status: TaskStatus | None = None
    type: str | None = None
    agent: str | None = None
    priority: int | None = None
    tag: str | None = None
    submitted_by: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    parent: str | None = None

    @property
    def is_only_by_status(self) -> bool:
        """Whether the kept counters answer how many there are."""
        return TaskFilter(status=self.status) == self


class TaskPage(NamedTuple):
    """Newest first; `next_cursor` is None on the last page."""

    tasks: list[Task]
    total: int
    total_is_at_least: bool
    next_cursor: str | None


class TaskEnded(NamedTuple):
    """What the hooks of a task's end are told; `result` is JSON text, of a completed task."""

    task_id: str
    type: str
    status: TaskStatus
    submitted_by: str
    callback_url: str | None
    error: TaskError | None = None
    result: str | None = None
    parent_id: str | None = None
    traceparent: str | None = None
