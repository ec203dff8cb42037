"""`/tasks/{task_id}/findings`: what a task found, and what nobody wants to see again."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from sutazai import clock
from sutazai.api import task_access
from sutazai.api.requests import (
    Clean,
    CurrentPrincipal,
    CurrentServices,
    IdempotencyKey,
    Input,
    StrictRoute,
    answer,
    origin_of,
    replayable,
)
from sutazai.api.schemas import DismissedFinding, FindingList, errors
from sutazai.api.services import Services
from sutazai.identity.model import Principal, require

router = APIRouter(prefix="/tasks/{task_id}/findings", tags=["findings"], route_class=StrictRoute)

TaskId = Annotated[UUID, Path(description="a task whose result has findings")]
Fingerprint = Annotated[str, Path(pattern=r"^[0-9a-f]{1,64}$", description="of the finding")]


class DismissRequest(Input):
    """Why a finding is not to be seen again."""

    reason: Annotated[
        str,
        Field(min_length=1, max_length=2_000, pattern=r"\S", description="for whoever asks later"),
        Clean,
    ]


@router.get(
    "",
    operation_id="listFindings",
    summary="List a task's findings",
    response_model=FindingList,
    responses=errors(403, 404, 409),
)
async def list_findings(
    task_id: TaskId,
    services: CurrentServices,
    principal: CurrentPrincipal,
    dismissed: Annotated[bool | None, Query(description="only these, or only the others")] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Each with its dismissal as it is now; also those that the result sets apart."""
    await task_access.readable_task(services.tasks, principal, str(task_id), "results")
    page = await services.findings.of_task(
        str(task_id), dismissed=dismissed, limit=limit, offset=offset
    )
    shown: dict[str, Any] = {
        "findings": page.findings,
        "total": page.total,
        "limit": limit,
        "offset": offset,
    }
    return answer(shown)


@router.post(
    "/{fingerprint}/dismiss",
    operation_id="dismissFinding",
    summary="Dismiss a finding",
    response_model=DismissedFinding,
    responses=errors(403, 404, 409),
)
async def dismiss_finding(
    request: Request,
    task_id: TaskId,
    fingerprint: Fingerprint,
    body: DismissRequest,
    services: CurrentServices,
    principal: CurrentPrincipal,
    key: IdempotencyKey = None,
) -> Response:
    """Leave it out of later reviews of the same project: everybody's for who may `write` tasks.

    Others dismiss what their own tasks found, and for themselves alone.
    """
    await _check_access(services, principal, str(task_id))
    replay = await replayable(request, key, principal=principal.actor)
    dismissal = await services.findings.dismiss(
        str(task_id),
        fingerprint,
        reason=body.reason,
        user_id=principal.user_id,
        for_everybody=principal.may("write", "tasks"),
        origin=origin_of(request, principal),
        replay=replay,
    )
    shown = {
        "fingerprint": fingerprint,
        "reason": dismissal.reason,
        "dismissed_by": dismissal.dismissed_by,
        "dismissed_at": clock.to_iso(dismissal.dismissed_at),
        "for_everybody": not dismissal.owner,
    }
    return answer(shown, replay=replay)


@router.delete(
    "/{fingerprint}/dismiss",
    operation_id="restoreFinding",
    summary="Take a dismissal back",
    status_code=204,
    responses=errors(403, 404, 409),
)
async def restore_finding(
    request: Request,
    task_id: TaskId,
    fingerprint: Fingerprint,
    services: CurrentServices,
    principal: CurrentPrincipal,
) -> Response:
    """See the finding again in later reviews."""
    await _check_access(services, principal, str(task_id))
    await services.findings.restore(
        str(task_id),
        fingerprint,
        user_id=principal.user_id,
        for_everybody=principal.may("write", "tasks"),
        origin=origin_of(request, principal),
    )
    return Response(status_code=204)


async def _check_access(services: Services, principal: Principal, task_id: str) -> None:
    """FORBIDDEN unless it is one's own task, and one may have tasks done; or with `write`."""
    task = await task_access.readable_task(services.tasks, principal, task_id, "results")
    own = task.submitted_by == principal.user_id
    require(principal, "execute" if own else "write", "tasks")
