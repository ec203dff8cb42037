"""`/executions`: follow a workflow's execution, cancel, retry, pause, resume, approve."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from sutazai import clock
from sutazai.api.execution_access import check_own_or
from sutazai.api.requests import (
    MOST_WAIT,
    Clean,
    CurrentPrincipal,
    CurrentServices,
    IdempotencyKey,
    Input,
    StrictRoute,
    answer,
    needs,
    origin_of,
    replayable,
)
from sutazai.api.schemas import errors
from sutazai.api.workflow_schemas import Execution, ExecutionDetails
from sutazai.identity.model import Principal
from sutazai.workflows import model
from sutazai.workflows.answering import MOST_COMMENT
from sutazai.workflows.graph import STATUSES

router = APIRouter(prefix="/executions", tags=["workflows"], route_class=StrictRoute)

EXECUTION_ID = r"^exec-[0-9a-z]+$"
ExecutionId = Annotated[str, Path(max_length=64, pattern=EXECUTION_ID)]
StepId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class ApprovalRequest(Input):
    """What a person says to a step that waits for one."""

    approved: Annotated[bool, Field(strict=True)]
    comment: Annotated[str, Field(max_length=MOST_COMMENT), Clean] = ""


@router.get(
    "/{execution_id}",
    operation_id="getExecution",
    summary="Get an execution with its steps",
    response_model=ExecutionDetails,
    responses=errors(403, 404),
)
async def get_execution(
    execution_id: ExecutionId,
    services: CurrentServices,
    principal: CurrentPrincipal,
    wait: Annotated[
        float,
        Query(ge=0, le=MOST_WAIT, description="seconds to wait at most for the execution to end"),
    ] = 0,
) -> Response:
    """Where it stands, and each step's task, times and output. One's own, or any with `read`.

    With `wait`, as soon as it has ended or the time is up.
    """
    await check_own_or(services.workflows.executions, principal, execution_id, "read")
    if wait > 0:
        await services.workflows.executions.get(execution_id, wait=wait)
    return answer(_details_view(await services.workflows.executions.details(execution_id)))


@router.delete(
    "/{execution_id}",
    operation_id="cancelExecution",
    summary="Cancel an execution",
    response_model=Execution,
    responses=errors(403, 404, 409),
)
async def cancel_execution(
    request: Request,
    execution_id: ExecutionId,
    services: CurrentServices,
    principal: CurrentPrincipal,
) -> Response:
    """End it and its tasks; one's own, or any with `write` on workflows."""
    await check_own_or(services.workflows.executions, principal, execution_id, "write")
    execution = await services.workflows.executions.cancel(
        execution_id, origin=origin_of(request, principal)
    )
    return answer(execution_view(execution))


@router.post(
    "/{execution_id}/retry",
    operation_id="retryExecution",
    summary="Do again what failed",
    status_code=202,
    response_model=Execution,
    responses=errors(403, 404, 409),
)
async def retry_execution(
    request: Request,
    execution_id: ExecutionId,
    services: CurrentServices,
    principal: Principal = needs("execute", "workflows"),
    key: IdempotencyKey = None,
) -> Response:
    """Of an execution that failed or was cancelled; what is finished is kept."""
    replay = await replayable(request, key, principal=principal.actor)
    execution = await services.workflows.executions.retry(
        execution_id, origin=origin_of(request, principal), replay=replay
    )
    return answer(execution_view(execution), status=202, replay=replay)


@router.post(
    "/{execution_id}/pause",
    operation_id="pauseExecution",
    summary="Begin no more steps",
    response_model=Execution,
    responses=errors(403, 404, 409),
)
async def pause_execution(
    request: Request,
    execution_id: ExecutionId,
    services: CurrentServices,
    principal: Principal = needs("execute", "workflows"),
    key: IdempotencyKey = None,
) -> Response:
    """What runs goes on to its end."""
    replay = await replayable(request, key, principal=principal.actor)
    execution = await services.workflows.executions.pause(
        execution_id, origin=origin_of(request, principal), replay=replay
    )
    return answer(execution_view(execution), replay=replay)


@router.post(
    "/{execution_id}/resume",
    operation_id="resumeExecution",
    summary="Go on with a paused execution",
    response_model=Execution,
    responses=errors(403, 404, 409),
)
async def resume_execution(
    request: Request,
    execution_id: ExecutionId,
    services: CurrentServices,
    principal: Principal = needs("execute", "workflows"),
    key: IdempotencyKey = None,
) -> Response:
    """Begin what could not begin meanwhile."""
    replay = await replayable(request, key, principal=principal.actor)
    execution = await services.workflows.executions.resume(
        execution_id, origin=origin_of(request, principal), replay=replay
    )
    return answer(execution_view(execution), replay=replay)


@router.post(
    "/{execution_id}/steps/{step_id}/approve",
    operation_id="approveStep",
    summary="Approve or refuse a step that waits for a person",
    response_model=Execution,
    responses=errors(403, 404, 409),
)
async def approve_step(
    request: Request,
    execution_id: ExecutionId,
    step_id: StepId,
    services: CurrentServices,
    body: ApprovalRequest,
    principal: Principal = needs("execute", "workflows"),
    key: IdempotencyKey = None,
) -> Response:
    """With `approved: true` the step completes, with who approved as its output; else it fails."""
    replay = await replayable(request, key, principal=principal.actor)
    execution = await services.workflows.executions.approve(
        execution_id,
        step_id,
        approved=body.approved,
        comment=body.comment,
        user_id=principal.user_id,
        origin=origin_of(request, principal),
        replay=replay,
    )
    return answer(execution_view(execution), replay=replay)


# --- views

_ENDED = {
    model.ExecutionStatus.COMPLETED: "completed_at",
    model.ExecutionStatus.FAILED: "failed_at",
    model.ExecutionStatus.CANCELLED: "cancelled_at",
}


def execution_view(execution: model.Execution) -> dict[str, Any]:
    """An execution as the API shows it, without its steps."""
    shown: dict[str, Any] = {
        "execution_id": execution.execution_id,
        "workflow_id": execution.workflow_id,
        "version": execution.version,
        "status": execution.status,
        "started_at": clock.to_iso(execution.started_at),
        "steps_completed": execution.steps_completed,
        "steps_total": execution.steps_total,
        "submitted_by": execution.submitted_by,
    }
    if execution.parent is not None:
        shown["parent_execution_id"] = execution.parent[0]
    if execution.task_id is not None:
        shown["parent_task_id"] = execution.task_id
    if execution.ended_at is not None:
        shown[_ENDED[execution.status]] = clock.to_iso(execution.ended_at)
    if execution.error is not None:
        shown["error"] = execution.error
    return shown


def _details_view(details: model.ExecutionDetails) -> dict[str, Any]:
    execution, definition, runs, outputs, made = details
    shown = execution_view(execution)
    shown["input"] = execution.input
    if outputs is None or made is None:
        shown["outputs_left_out"] = True
    by_step: dict[int, list[model.Run]] = {}
    for run in runs:
        by_step.setdefault(run.position, []).append(run)
    shown["steps"] = [
        _step_view(step, letter, by_step.get(position, []), outputs or {}, made or {})
        for position, (step, letter) in enumerate(
            zip(definition.steps, execution.state, strict=True)
        )
    ]
    return shown


def _step_view(
    step: model.Step,
    letter: str,
    runs: list[model.Run],
    outputs: Mapping[str, str],
    made: Mapping[model.RunKey, str],
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "step_id": step.step_id,
        "type": step.type,
        "status": STATUSES[letter],
        "task_id": None,
        "started_at": None,
        "ended_at": None,
    }
    if runs:
        whole, *items = runs
        shown |= _run_view(whole, outputs, made)
        if whole.event is not None:
            shown["event"] = whole.event._asdict()
        shown["status"] = STATUSES[letter]
        if whole.value is not None:
            shown["output"] = msgspec.Raw(whole.value.encode())
        if whole.items is not None:
            shown["items"] = [{"index": one.item, **_run_view(one, outputs, made)} for one in items]
    return shown


def _run_view(
    run: model.Run, outputs: Mapping[str, str], made: Mapping[model.RunKey, str]
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "status": run.status,
        "task_id": run.task_id,
        "started_at": None if run.started_at is None else clock.to_iso(run.started_at),
        "ended_at": None if run.ended_at is None else clock.to_iso(run.ended_at),
    }
    if run.child_id is not None:
        shown["execution_id"] = run.child_id
    output = outputs.get(run.task_id or "") or made.get(model.RunKey(run.position, run.item))
    if output is not None:
        shown["output"] = msgspec.Raw(output.encode())
    if run.error is not None:
        shown["error"] = run.error
    return shown
