"""`/tasks`: submit, follow, list, cancel, and read results."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from sutazai import clock
from sutazai.api import task_access
from sutazai.api.lean import LeanRoute
from sutazai.api.rates import CountedSubmission
from sutazai.api.requests import (
    MOST_WAIT,
    Appointment,
    Clean,
    CurrentPrincipal,
    CurrentServices,
    IdempotencyKey,
    Input,
    Moment,
    StrictRoute,
    Whole,
    answer,
    location_of,
    needs,
    origin_of,
    replayable,
)
from sutazai.api.schemas import CancelledTask, Task, TaskDetails, TaskList, TaskOutcome, errors
from sutazai.callbacks.guard import LONGEST_URL
from sutazai.errors import invalid
from sutazai.identity.model import Principal
from sutazai.tasks import model

router = APIRouter(prefix="/tasks", tags=["tasks"], route_class=StrictRoute)
submissions = APIRouter(prefix="/tasks", tags=["tasks"], route_class=LeanRoute)

SARIF = "application/sarif+json"


Name = Annotated[str, Field(min_length=1, max_length=64), Clean]
CallbackUrl = Annotated[
    str,
    Field(
        max_length=LONGEST_URL,
        description="where to POST the end of the task: on the public internet, http or https",
        json_schema_extra={"format": "uri"},
    ),
    Clean,
]


class TaskRequest(Input):
    """A task to be done."""

    type: Name
    description: Annotated[str, Field(max_length=20_000), Clean]
    priority: Annotated[int, Field(ge=1, le=10, strict=True), Whole] = model.DEFAULT_PRIORITY
    metadata: dict[str, Any] = Field(default_factory=dict)
    timeout_seconds: Annotated[
        float, Field(gt=0, le=86_400, description="per attempt", strict=True)
    ] = model.DEFAULT_TIMEOUT_SECONDS
    max_attempts: Annotated[int, Field(ge=1, le=20, strict=True), Whole] = model.DEFAULT_ATTEMPTS
    run_at: Appointment | None = None
    depends_on: Annotated[list[UUID], Field(max_length=100)] = Field(default_factory=list)
    agent: Name | None = None
    tags: Annotated[list[Name], Field(max_length=20)] = Field(default_factory=list)
    callback_url: CallbackUrl | None = None

    def draft(self, callback_url: str | None = None) -> model.TaskDraft:
        """What the service takes; VALIDATION_ERROR where the URL given here is another."""
        if None not in (callback_url, self.callback_url) and callback_url != self.callback_url:
            raise invalid("callback_url", "The query and the body name different URLs; send one.")
        return model.TaskDraft(
            type=self.type,
            description=self.description,
            priority=self.priority,
            metadata=self.metadata,
            timeout_seconds=self.timeout_seconds,
            max_attempts=self.max_attempts,
            run_at=None if self.run_at is None else clock.from_datetime(self.run_at),
            depends_on=tuple(dict.fromkeys(map(str, self.depends_on))),
            agent=self.agent,
            tags=tuple(dict.fromkeys(self.tags)),
            callback_url=self.callback_url if callback_url is None else callback_url,
        )


@submissions.post(
    "",
    operation_id="createTask",
    summary="Create new task",
    status_code=201,
    response_model=Task,
    response_description="Task created",
    responses=errors(403, 409),
)
async def create_task(
    request: Request,
    services: CurrentServices,
    principal: Annotated[Principal, needs("execute", "tasks")],
    body: TaskRequest,
    key: IdempotencyKey = None,
    callback_url: Annotated[CallbackUrl | None, Query(description="as in the body")] = None,
) -> Response:
    """Accept a task. Once this has answered, the task survives any crash of the server."""
    replay = None
    if key is not None:
        replay = await replayable(request, key, principal=principal.actor)
    async with CountedSubmission(services, request.scope, principal, replay):
        task = await services.tasks.submit(
            body.draft(callback_url),
            submitted_by=principal.user_id,
            origin=origin_of(request, principal),
            replay=replay,
        )
    shown: dict[str, Any] = {
        "task_id": task.task_id,
        "type": task.type,
        "description": task.description,
        "status": task.status,
        "priority": task.priority,
        "estimated_completion": _iso(task.estimated_completion),
        "assigned_agent": None,
        "created_at": clock.to_iso(task.created_at),
    }
    if task.pending_reason is not None:
        shown["pending_reason"] = task.pending_reason
    location = location_of(request, f"/tasks/{task.task_id}")
    return answer(shown, status=201, replay=replay, location=location)


@router.get(
    "",
    operation_id="listTasks",
    summary="List tasks, newest first",
    response_model=TaskList,
    responses=errors(403),
)
async def list_tasks(
    services: CurrentServices,
    principal: CurrentPrincipal,
    status: model.TaskStatus | None = None,
    type: Annotated[Name | None, Query(alias="type")] = None,  # noqa: A002  # the parameter's name
    agent: Annotated[Name | None, Query(description="the agent it was assigned to")] = None,
    priority: Annotated[int | None, Query(ge=1, le=10)] = None,
    tag: Name | None = None,
    submitter: Annotated[
        Name | None, Query(description="a user's id, or `me`", examples=["me"])
    ] = None,
    parent: Annotated[UUID | None, Query(description="the task that had them done")] = None,
    created_after: Moment | None = None,
    created_before: Moment | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    cursor: Annotated[
        UUID | None, Query(description="`next_cursor` of the page before; for deep pages")
    ] = None,
) -> Response:
    """Everybody's tasks for who may read tasks; otherwise one's own."""
    wanted = model.TaskFilter(
        status=status,
        type=type,
        agent=agent,
        priority=priority,
        tag=tag,
        submitted_by=task_access.listed_submitter(principal, submitter),
        parent=None if parent is None else str(parent),
        created_after=None if created_after is None else clock.from_datetime(created_after),
        created_before=None if created_before is None else clock.from_datetime(created_before),
    )
    page = await services.tasks.list_tasks(
        wanted, limit=limit, offset=offset, cursor=None if cursor is None else str(cursor)
    )
    shown: dict[str, Any] = {
        "tasks": [task_view(task) for task in page.tasks],
        "total": page.total,
        "limit": limit,
        "offset": offset,
        "next_cursor": page.next_cursor,
    }
    if page.total_is_at_least:
        shown["total_is_at_least"] = True
    return answer(shown)


TaskId = Annotated[UUID, Path(description="the id that createTask answered with")]
Wait = Annotated[
    float, Query(ge=0, le=MOST_WAIT, description="seconds to wait at most for the task to end")
]


@router.get(
    "/{task_id}",
    operation_id="getTask",
    summary="Get task status",
    response_model=TaskDetails,
    responses=errors(403, 404),
)
async def get_task(
    task_id: TaskId, services: CurrentServices, principal: CurrentPrincipal, wait: Wait = 0
) -> Response:
    """A task as it is now; with `wait`, as soon as it has ended or the time is up."""
    task = await task_access.readable_task(services.tasks, principal, str(task_id))
    if wait > 0:
        task = await services.tasks.get(str(task_id), wait=wait)
    return answer(task_view(task))


@router.get(
    "/{task_id}/result",
    operation_id="getTaskResult",
    summary="Get task result",
    response_model=TaskOutcome,
    responses={200: {"content": {SARIF: {}}}, **errors(403, 404, 409, 504)},
)
async def get_task_result(
    task_id: TaskId,
    services: CurrentServices,
    principal: CurrentPrincipal,
    wait: Wait = 0,
    format: Annotated[  # noqa: A002  # the parameter's name
        Literal["json", "sarif"], Query(description="`sarif`: the findings as SARIF 2.1.0")
    ] = "json",
) -> Response:
    """What the agent found, or why the task failed."""
    await task_access.readable_task(services.tasks, principal, str(task_id), "results")
    if format == "sarif":
        log = await services.findings.sarif(str(task_id), wait=wait, version=services.version)
        return Response(log, media_type=SARIF)
    outcome = await services.tasks.result(str(task_id), wait=wait)
    shown: dict[str, Any] = {
        "task_id": outcome.task_id,
        "type": outcome.type,
        "status": outcome.status,
        "result": None if outcome.result is None else msgspec.Raw(outcome.result.encode()),
        "completed_at": clock.to_iso(outcome.ended_at),
    }
    if outcome.error is not None:
        shown["error"] = {"code": outcome.error.code, "message": outcome.error.message}
    return answer(shown)


@router.delete(
    "/{task_id}",
    operation_id="cancelTask",
    summary="Cancel task",
    response_model=CancelledTask,
    responses=errors(403, 404, 409),
)
async def cancel_task(
    request: Request, task_id: TaskId, services: CurrentServices, principal: CurrentPrincipal
) -> Response:
    """End a task that is waiting or running; one's own, or any with `write` on tasks."""
    task = await task_access.cancel_task(
        services.tasks, principal, str(task_id), origin=origin_of(request, principal)
    )
    return answer(
        {"task_id": task.task_id, "status": task.status, "cancelled_at": _iso(task.ended_at)}
    )


def _iso(moment: int | None) -> str | None:
    return None if moment is None else clock.to_iso(moment)


_Ending = Literal["completed_at", "failed_at", "cancelled_at"]
_ENDED: dict[model.TaskStatus, _Ending] = {
    model.TaskStatus.COMPLETED: "completed_at",
    model.TaskStatus.FAILED: "failed_at",
    model.TaskStatus.CANCELLED: "cancelled_at",
}


def task_view(task: model.Task) -> dict[str, Any]:
    """A task as the API shows it; the agent's counters stand among its metadata.

    Not in the place of what was submitted, where a field has the same name.
    """
    shown: dict[str, Any] = {
        "task_id": task.task_id,
        "type": task.type,
        "description": task.description,
        "status": task.status,
        "progress": task.progress,
        "priority": task.priority,
        "assigned_agent": task.assigned_agent,
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "timeout_seconds": task.timeout_seconds,
        "created_at": clock.to_iso(task.created_at),
        "started_at": _iso(task.started_at),
        "submitted_by": task.submitted_by,
        "metadata": {**task.counters, **task.metadata},
        "tags": task.tags,
        "depends_on": task.depends_on,
    }
    if task.parent_task_id is not None:
        shown["parent_task_id"] = task.parent_task_id
    if task.run_at is not None:
        shown["run_at"] = clock.to_iso(task.run_at)
    if task.agent is not None:
        shown["agent"] = task.agent
    if task.pending_reason is not None:
        shown["pending_reason"] = task.pending_reason
    if task.ended_at is not None:
        shown[_ENDED[task.status]] = clock.to_iso(task.ended_at)
    if task.error is not None:
        shown["error"] = {"code": task.error.code, "message": task.error.message}
    return shown
