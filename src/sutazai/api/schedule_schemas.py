"""The shapes of the requests and answers about schedules."""

from datetime import datetime
from typing import Annotated, Any, Self

import msgspec
from pydantic import BaseModel, Field, model_validator

from sutazai import clock
from sutazai.api.requests import Appointment, Clean, Input
from sutazai.api.tasks import TaskRequest
from sutazai.clock import SECOND
from sutazai.schedules import model
from sutazai.schedules.timing import LONGEST_CRON
from sutazai.tasks.model import TaskDraft

Name = Annotated[str, Field(min_length=1, max_length=200), Clean]
Cron = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_CRON,
        description="minute, hour, day of the month, month, day of the week; or `@daily` and such",
        examples=["30 2 * * mon-fri"],
    ),
    Clean,
]
Zone = Annotated[
    str,
    Field(min_length=1, max_length=64, description="whose clock `cron` is read by"),
    Clean,
]
Grace = Annotated[
    float,
    Field(
        ge=0, le=86_400 * 366, strict=True, description="seconds by which a due time may be late"
    ),
]
Paused = Annotated[bool, Field(strict=True)]


class WorkflowCallRequest(Input):
    """Which workflow to execute, with what."""

    workflow_id: Annotated[str, Field(max_length=64), Clean]
    input: dict[str, Any] = Field(default_factory=dict)

    def call(self) -> model.WorkflowCall:
        """What the service takes."""
        return model.WorkflowCall(workflow_id=self.workflow_id, input=self.input)


def _draft_of(task: TaskRequest) -> TaskDraft:
    return msgspec.structs.replace(task.draft(), run_at=None, depends_on=())


def _check_task(task: TaskRequest | None) -> None:
    if task is not None and (task.run_at is not None or task.depends_on):
        raise ValueError("a scheduled task has neither run_at nor depends_on")


def _exactly_one(what: str, *given: object) -> None:
    if sum(one is not None for one in given) != 1:
        raise ValueError(f"give exactly one of {what}")


class ScheduleRequest(Input):
    """When to begin what: one of `cron` and `at`, and one of `task` and `workflow`."""

    name: Name
    cron: Cron | None = None
    at: Appointment | None = None
    timezone: Zone = "UTC"
    task: TaskRequest | None = None
    workflow: WorkflowCallRequest | None = None
    misfire: model.Misfire = model.Misfire.RUN_ONCE
    misfire_grace_seconds: Grace = model.DEFAULT_GRACE / SECOND
    paused: Paused = False

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        _exactly_one("cron and at", self.cron, self.at)
        _exactly_one("task and workflow", self.task, self.workflow)
        _check_task(self.task)
        return self

    def draft(self) -> model.ScheduleDraft:
        """What the service takes."""
        return model.ScheduleDraft(
            name=self.name,
            timing=model.Timing(
                cron=self.cron,
                timezone=self.timezone,
                at=None if self.at is None else clock.from_datetime(self.at),
            ),
            task=None if self.task is None else _draft_of(self.task),
            workflow=None if self.workflow is None else self.workflow.call(),
            misfire=self.misfire,
            grace=round(self.misfire_grace_seconds * SECOND),
            paused=self.paused,
        )


class ScheduleChange(Input):
    """What to change; what is left out stays. `cron` takes the place of `at`, and back."""

    name: Name | None = None
    cron: Cron | None = None
    at: Appointment | None = None
    timezone: Zone | None = None
    task: TaskRequest | None = None
    workflow: WorkflowCallRequest | None = None
    misfire: model.Misfire | None = None
    misfire_grace_seconds: Grace | None = None
    paused: Paused | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.cron is not None and self.at is not None:
            raise ValueError("give one of cron and at")
        _check_task(self.task)
        return self

    def changes(self) -> model.Changes:
        """What the service takes."""
        seconds = self.misfire_grace_seconds
        return model.Changes(
            name=self.name,
            cron=self.cron,
            timezone=self.timezone,
            at=None if self.at is None else clock.from_datetime(self.at),
            task=None if self.task is None else _draft_of(self.task),
            workflow=None if self.workflow is None else self.workflow.call(),
            misfire=self.misfire,
            grace=None if seconds is None else round(seconds * SECOND),
            paused=self.paused,
        )


class Schedule(BaseModel):
    """A schedule; `next_run_at` is null while it is paused, and when it is completed."""

    schedule_id: str
    name: str
    status: model.ScheduleStatus
    cron: str | None
    at: datetime | None
    timezone: str
    task: dict[str, Any] | None = None
    workflow: dict[str, Any] | None = None
    misfire: model.Misfire
    misfire_grace_seconds: float
    next_run_at: datetime | None
    last_due_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class ScheduleDetails(Schedule):
    """A schedule with its next due times."""

    upcoming: list[datetime]


class ScheduleList(BaseModel):
    """A page of schedules."""

    schedules: list[Schedule]
    limit: int
    next_cursor: str | None


class Firing(BaseModel):
    """What became of a due time.

    `missed` is how many earlier due times it stands for as well, in which no server was there.
    """

    due_at: datetime
    happened_at: datetime
    outcome: model.Outcome
    missed: int
    task_id: str | None
    execution_id: str | None
    reason: str | None


class History(BaseModel):
    """A page of what became of a schedule's due times."""

    history: list[Firing]
    limit: int
    next_cursor: str | None
