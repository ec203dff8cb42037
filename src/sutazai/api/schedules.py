"""`/schedules`: tasks and workflows that begin by themselves, at set times."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from sutazai import clock
from sutazai.api.requests import (
    Clean,
    CurrentPrincipal,
    CurrentServices,
    IdempotencyKey,
    StrictRoute,
    answer,
    location_of,
    origin_of,
    replayable,
)
from sutazai.api.schedule_schemas import (
    History,
    Schedule,
    ScheduleChange,
    ScheduleDetails,
    ScheduleList,
    ScheduleRequest,
)
from sutazai.api.schemas import errors
from sutazai.api.services import Services
from sutazai.clock import SECOND
from sutazai.errors import ErrorCode, SutazaiError, not_found
from sutazai.identity.model import Principal, require
from sutazai.schedules import model

router = APIRouter(prefix="/schedules", tags=["schedules"], route_class=StrictRoute)

ScheduleId = Annotated[str, Path(max_length=64, pattern=r"^sch-[0-9a-z]+$")]
_RESOURCES = ("tasks", "workflows")


def _readable(principal: Principal) -> frozenset[str]:
    return frozenset(name for name in _RESOURCES if principal.may("read", name))


async def _executor(principal: CurrentPrincipal) -> Principal:
    """Who may begin something at all; FORBIDDEN otherwise."""
    if not principal.may("execute", "workflows"):
        require(principal, "execute", "tasks")
    return principal


async def _visible(services: Services, principal: Principal, schedule_id: str) -> model.Schedule:
    """The schedule; NOT_FOUND also for who may not know of it."""
    schedule = await services.schedules.get(schedule_id)
    if schedule.owner != principal.user_id and schedule.resource not in _readable(principal):
        raise not_found("schedule", schedule_id)
    return schedule


@router.post(
    "",
    operation_id="createSchedule",
    summary="Create a schedule",
    status_code=201,
    response_model=Schedule,
    responses=errors(403, 409),
)
async def create_schedule(
    request: Request,
    body: ScheduleRequest,
    services: CurrentServices,
    principal: Annotated[Principal, Depends(_executor)],
    key: IdempotencyKey = None,
) -> Response:
    """Takes `execute` on what it is for, now and whenever it is due."""
    draft = body.draft()
    require(principal, "execute", "workflows" if draft.task is None else "tasks")
    replay = await replayable(request, key, principal=principal.actor)
    schedule = await services.schedules.create(
        draft, owner=principal.user_id, origin=origin_of(request, principal), replay=replay
    )
    location = location_of(request, f"/schedules/{schedule.schedule_id}")
    return answer(_view(schedule), status=201, replay=replay, location=location)


@router.get(
    "",
    operation_id="listSchedules",
    summary="List schedules, newest first",
    response_model=ScheduleList,
)
async def list_schedules(
    services: CurrentServices,
    principal: CurrentPrincipal,
    status: model.ScheduleStatus | None = None,
    owner: Annotated[
        str | None,
        Query(min_length=1, max_length=64, description="a user's id, or `me`"),
        Clean,
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[
        str | None, Query(max_length=64, pattern=r"^sch-[0-9a-z]+$", description="`next_cursor`")
    ] = None,
) -> Response:
    """One's own, and those for what one may read: tasks, workflows."""
    wanted = model.ScheduleFilter(
        resources=_readable(principal),
        reader=principal.user_id,
        owner=principal.user_id if owner == "me" else owner,
        status=status,
    )
    page = await services.schedules.list_schedules(wanted, limit=limit, cursor=cursor)
    return answer(
        {
            "schedules": [_view(one) for one in page.schedules],
            "limit": limit,
            "next_cursor": page.next_cursor,
        }
    )


@router.get(
    "/{schedule_id}",
    operation_id="getSchedule",
    summary="Get a schedule with its next due times",
    response_model=ScheduleDetails,
    responses=errors(404),
)
async def get_schedule(
    schedule_id: ScheduleId, services: CurrentServices, principal: CurrentPrincipal
) -> Response:
    """One's own, or for what one may read."""
    schedule = await _visible(services, principal, schedule_id)
    ahead = [clock.to_iso(due) for due in services.schedules.upcoming(schedule)]
    return answer({**_view(schedule), "upcoming": ahead})


@router.get(
    "/{schedule_id}/history",
    operation_id="getScheduleHistory",
    summary="Say what became of a schedule's due times, newest first",
    response_model=History,
    responses=errors(404),
)
async def get_schedule_history(
    schedule_id: ScheduleId,
    services: CurrentServices,
    principal: CurrentPrincipal,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[
        str | None, Query(pattern=r"^[0-9]{1,18}$", description="`next_cursor`")
    ] = None,
) -> Response:
    """What each began, or why it began nothing."""
    await _visible(services, principal, schedule_id)
    page = await services.schedules.history(
        schedule_id, limit=limit, cursor=None if cursor is None else int(cursor)
    )
    return answer(
        {
            "history": [_firing_view(one) for one in page.firings],
            "limit": limit,
            "next_cursor": None if page.next_cursor is None else str(page.next_cursor),
        }
    )


@router.patch(
    "/{schedule_id}",
    operation_id="updateSchedule",
    summary="Change, pause or resume a schedule",
    response_model=Schedule,
    responses=errors(403, 404, 409),
)
async def update_schedule(
    request: Request,
    schedule_id: ScheduleId,
    body: ScheduleChange,
    services: CurrentServices,
    principal: CurrentPrincipal,
) -> Response:
    """Change one's own; pause and resume any with `write` on what it is for.

    What was due while it was paused is not made up for.
    """
    changes = body.changes()
    schedule = await _visible(services, principal, schedule_id)
    if schedule.owner != principal.user_id:
        require(principal, "write", schedule.resource)
        if not changes.only_pauses:
            # It would run under the owner's name.
            message = "Only its owner may change it. You may pause, resume and delete it."
            raise SutazaiError(ErrorCode.FORBIDDEN, message)
    schedule = await services.schedules.update(
        schedule_id, changes, origin=origin_of(request, principal)
    )
    return answer(_view(schedule))


@router.delete(
    "/{schedule_id}",
    operation_id="deleteSchedule",
    summary="Delete a schedule with its history",
    status_code=204,
    responses=errors(403, 404),
)
async def delete_schedule(
    request: Request,
    schedule_id: ScheduleId,
    services: CurrentServices,
    principal: CurrentPrincipal,
) -> Response:
    """One's own, or any with `write` on what it is for. What it has begun goes on."""
    schedule = await _visible(services, principal, schedule_id)
    if schedule.owner != principal.user_id:
        require(principal, "write", schedule.resource)
    await services.schedules.delete(schedule_id, origin=origin_of(request, principal))
    return Response(status_code=204)


# --- views


def _iso(moment: int | None) -> str | None:
    return None if moment is None else clock.to_iso(moment)


def _view(schedule: model.Schedule) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "schedule_id": schedule.schedule_id,
        "name": schedule.name,
        "status": schedule.status,
        "cron": schedule.timing.cron,
        "at": _iso(schedule.timing.at),
        "timezone": schedule.timing.timezone,
        "misfire": schedule.misfire,
        "misfire_grace_seconds": schedule.grace / SECOND,
        "next_run_at": _iso(schedule.next_run_at),
        "last_due_at": _iso(schedule.last_due_at),
        "created_by": schedule.owner,
        "created_at": clock.to_iso(schedule.created_at),
        "updated_at": clock.to_iso(schedule.updated_at),
    }
    if schedule.task is not None:
        given = msgspec.structs.asdict(schedule.task)
        del given["run_at"], given["depends_on"]
        shown["task"] = {name: value for name, value in given.items() if value is not None}
    else:
        shown["workflow"] = schedule.workflow
    return shown


def _firing_view(firing: model.Firing) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(firing),
        "due_at": clock.to_iso(firing.due_at),
        "happened_at": clock.to_iso(firing.happened_at),
    }
