"""`/events`: the log, which is also the audit trail."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response

from sutazai import clock
from sutazai.api.requests import CurrentPrincipal, CurrentServices, answer
from sutazai.api.schemas import EventList
from sutazai.identity.model import GRANTS, Principal

router = APIRouter(prefix="/events", tags=["events"])


@router.get(
    "",
    operation_id="listEvents",
    summary="Read the event log",
    response_model=EventList,
)
async def list_events(
    services: CurrentServices,
    principal: CurrentPrincipal,
    after: Annotated[int, Query(ge=0, le=2**62, description="the cursor; 0 is the start")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Events the caller may read, in order. Go on with `next_after` as `after`."""
    page = await services.events.after(
        after, limit=limit, resources=readable_resources(principal), owner=principal.user_id
    )
    return answer(
        {
            "events": [
                {
                    "id": event.id,
                    "event_type": event.event_type,
                    "timestamp": clock.to_iso(event.timestamp),
                    "actor": event.actor,
                    "request_id": event.request_id,
                    "data": msgspec.Raw(event.data.encode()),
                }
                for event in page.events
            ],
            "next_after": page.next_after,
        }
    )


def readable_resources(principal: Principal) -> frozenset[str] | None:
    """The resources a principal may read; None for all."""
    if principal.may("read", "*"):
        return None
    named = {name for grant in GRANTS.values() for name in grant.resources}
    return frozenset(name for name in named if principal.may("read", name))
