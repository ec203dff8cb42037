"""What a schedule is, and what became of each of its due times."""

from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from sutazai.clock import SECOND
from sutazai.tasks.model import TaskDraft

DEFAULT_GRACE = 60 * SECOND
MOST_TARGET = 256 * 1024
"""Bytes of what is to be begun, as JSON: it is copied at every due time."""
MOST_KEPT = 1_000
"""How many firings of a schedule are kept; older ones are forgotten."""


class ScheduleStatus(StrEnum):
    """Whether a schedule has a next time; a completed one is out of times."""

    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"


class Misfire(StrEnum):
    """What becomes of times at which no server was there."""

    RUN_ONCE = "run_once"
    SKIP = "skip"


class Outcome(StrEnum):
    """What became of a due time."""

    FIRED = "fired"
    SKIPPED = "skipped"
    REFUSED = "refused"


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """When: by a cron expression read in a time zone, or once, at a moment (µs)."""

    cron: str | None = None
    timezone: str = "UTC"
    at: int | None = None


class WorkflowCall(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow to be executed, in the version that is its newest then."""

    workflow_id: str
    input: dict[str, Any] = {}


class ScheduleDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks for: one of `task` and `workflow`; `grace` in µs."""

    name: str
    timing: Timing
    task: TaskDraft | None = None
    workflow: WorkflowCall | None = None
    misfire: Misfire = Misfire.RUN_ONCE
    grace: int = DEFAULT_GRACE
    paused: bool = False


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a schedule; None leaves a thing as it is."""

    name: str | None = None
    cron: str | None = None
    timezone: str | None = None
    at: int | None = None
    task: TaskDraft | None = None
    workflow: WorkflowCall | None = None
    misfire: Misfire | None = None
    grace: int | None = None
    paused: bool | None = None

    @property
    def only_pauses(self) -> bool:
        """Whether nothing but `paused` is given."""
        return Changes(paused=self.paused) == self


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a due time; times in µs.

    `missed` is how many due times this stands for beside its own, in which no server was there.
    """

    due_at: int
    happened_at: int
    outcome: Outcome
    missed: int = 0
    task_id: str | None = None
    execution_id: str | None = None
    reason: str | None = None


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it is stored; times in µs. It fires with its owner's rights.

    `last_due_at` is the newest due time that is dealt with: none comes twice.
    """

    schedule_id: str
    name: str
    timing: Timing
    task: TaskDraft | None
    workflow: WorkflowCall | None
    misfire: Misfire
    grace: int
    status: ScheduleStatus
    next_run_at: int | None
    last_due_at: int | None
    owner: str
    created_at: int
    updated_at: int

    @property
    def resource(self) -> str:
        """What one needs a permission on: `tasks` or `workflows`."""
        return "workflows" if self.task is None else "tasks"


class ScheduleFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which schedules to list: those for what `resources` names, and those of `reader`."""

    resources: frozenset[str]
    reader: str
    owner: str | None = None
    status: ScheduleStatus | None = None


class SchedulePage(NamedTuple):
    """Newest first; `next_cursor` is None on the last page."""

    schedules: list[Schedule]
    next_cursor: str | None


class History(NamedTuple):
    """Newest first; `next_cursor` (a due time) is None on the last page."""

    firings: list[Firing]
    next_cursor: int | None
