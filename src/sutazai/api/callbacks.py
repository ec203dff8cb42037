"""`/callbacks`: the secret that signs them, the log of deliveries, and sending one again."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request
from starlette.responses import Response

from sutazai import clock
from sutazai.api.requests import (
    CurrentPrincipal,
    CurrentServices,
    IdempotencyKey,
    StrictRoute,
    answer,
    origin_of,
    replayable,
)
from sutazai.api.schemas import (
    CallbackDelivery,
    CallbackDeliveryList,
    CallbackSecret,
    TaskCallback,
    errors,
)
from sutazai.callbacks.model import Attempt, Delivery, DeliveryFilter, DeliveryStatus

router = APIRouter(prefix="/callbacks", tags=["callbacks"], route_class=StrictRoute)
outgoing = APIRouter()


@router.post(
    "/secret",
    operation_id="createCallbackSecret",
    summary="Make or rotate the secret that signs one's callbacks",
    status_code=201,
    response_model=CallbackSecret,
    responses=errors(409),
)
async def create_secret(
    request: Request,
    services: CurrentServices,
    principal: CurrentPrincipal,
    key: IdempotencyKey = None,
) -> Response:
    """The new secret is in this answer and nowhere else; the one before signs for another day."""
    replay = await replayable(request, key, principal=principal.actor, seal=True)
    made = await services.callbacks.rotate_secret(
        principal.user_id, origin=origin_of(request, principal), replay=replay
    )
    shown = {
        "secret": made.secret,
        "created_at": clock.to_iso(made.created_at),
        "previous_valid_until": _iso(made.previous_until),
    }
    return answer(shown, status=201, replay=replay)


@router.get(
    "/deliveries",
    operation_id="listCallbackDeliveries",
    summary="List deliveries of callbacks, newest first",
    response_model=CallbackDeliveryList,
)
async def list_deliveries(
    services: CurrentServices,
    principal: CurrentPrincipal,
    task_id: UUID | None = None,
    status: DeliveryStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before")] = None,
) -> Response:
    """One's own deliveries with their attempts; everybody's for an admin."""
    wanted = DeliveryFilter(
        user_id=None if principal.is_admin else principal.user_id,
        task_id=None if task_id is None else str(task_id),
        status=status,
    )
    page = await services.callbacks.list_deliveries(
        wanted, limit=limit, cursor=None if cursor is None else str(cursor)
    )
    return answer(
        {
            "deliveries": [_view(delivery) for delivery in page.deliveries],
            "limit": limit,
            "next_cursor": page.next_cursor,
        }
    )


@router.post(
    "/deliveries/{delivery_id}/replay",
    operation_id="replayCallbackDelivery",
    summary="Send a delivery again",
    status_code=202,
    response_model=CallbackDelivery,
    responses=errors(404, 409),
)
async def replay_delivery(
    request: Request,
    delivery_id: Annotated[UUID, Path(description="the `webhook-id` of the message")],
    services: CurrentServices,
    principal: CurrentPrincipal,
    key: IdempotencyKey = None,
) -> Response:
    """The same message under the same id, with all its attempts anew.

    A receiver that had answered 410 Gone is sent to again, from now on.
    """
    replay = await replayable(request, key, principal=principal.actor)
    delivery = await services.callbacks.replay(
        str(delivery_id),
        user_id=None if principal.is_admin else principal.user_id,
        replay=replay,
    )
    return answer(_view(delivery), status=202, replay=replay)


def _iso(moment: int | None) -> str | None:
    return None if moment is None else clock.to_iso(moment)


def _view(delivery: Delivery) -> dict[str, Any]:
    return {
        "delivery_id": delivery.delivery_id,
        "task_id": delivery.task_id,
        "user_id": delivery.user_id,
        "url": delivery.url,
        "status": delivery.status,
        "created_at": clock.to_iso(delivery.created_at),
        "next_attempt_at": _iso(delivery.next_attempt_at),
        "ended_at": _iso(delivery.ended_at),
        "attempts": [_attempt_view(attempt) for attempt in delivery.attempts],
    }


def _attempt_view(attempt: Attempt) -> dict[str, Any]:
    return {
        "started_at": clock.to_iso(attempt.started_at),
        "duration_seconds": attempt.duration / clock.SECOND,
        "status_code": attempt.status_code,
        "error": attempt.error,
    }


@outgoing.post(
    "taskEnded",
    operation_id="taskEnded",
    summary="A task has ended",
    tags=["callbacks"],
    status_code=204,
    response_model=None,
    response_description="Delivered. Any 2xx counts; 410 stops all callbacks to this URL.",
)
async def task_ended(
    body: TaskCallback,
    webhook_id: Annotated[str, Header(description="the same for every attempt")],
    webhook_timestamp: Annotated[int, Header(description="seconds since 1970, of this attempt")],
    webhook_signature: Annotated[
        str, Header(description="one or two of `v1,<base64>`, separated by spaces")
    ],
) -> None:
    """What the server POSTs to a task's `callback_url`, signed by Standard Webhooks 1.0."""
