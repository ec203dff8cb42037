"""`/events`: the log, which is also the audit trail, read by pages or as a live stream."""

from functools import partial
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from sutazai import clock
from sutazai.api.asyncapi import document
from sutazai.api.live import Listener, readable_resources
from sutazai.api.requests import (
    Clean,
    CurrentPrincipal,
    CurrentServices,
    IdempotencyKey,
    Input,
    StrictRoute,
    answer,
    call_of,
    credential_of,
    needs,
    origin_of,
    replayable,
)
from sutazai.api.schemas import EventList, Ticket, errors
from sutazai.api.services import Services
from sutazai.api.sse import EventStreamResponse
from sutazai.api.workflow_schemas import PostedEvent
from sutazai.errors import invalid
from sutazai.events.streams import checked_patterns
from sutazai.identity.model import Principal
from sutazai.identity.service import TICKET_SECONDS
from sutazai.identity.tokens import digest, unauthorized
from sutazai.workflows.answering import MOST_COMMENT
from sutazai.workflows.graph import EVENT_TYPE, MOST_EVENT_TYPE
from sutazai.workflows.model import EventKey
from sutazai.workflows.starting import MOST_CORRELATION_ID

router = APIRouter(prefix="/events", tags=["events"], route_class=StrictRoute)
documents = APIRouter()


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


class EventData(BaseModel):
    """What the steps get as their output, `by` added; together at most 64 KiB of JSON."""

    model_config = ConfigDict(extra="allow")

    approved: Annotated[
        bool, Field(strict=True, description="whether the steps that wait may go on")
    ]
    comment: Annotated[str, Field(max_length=MOST_COMMENT), Clean] = ""


class EventRequest(Input):
    """An event from outside, for the steps that wait for it."""

    # The pattern is checked with what says more than that it does not match.
    event_type: Annotated[
        str,
        Field(min_length=1, max_length=MOST_EVENT_TYPE, json_schema_extra={"pattern": EVENT_TYPE}),
    ]
    correlation_id: (
        Annotated[str, Field(min_length=1, max_length=MOST_CORRELATION_ID), Clean] | None
    ) = None
    data: EventData


@router.post(
    "",
    operation_id="postEvent",
    summary="Answer the approval steps that wait for an event",
    response_model=PostedEvent,
    responses=errors(403, 404, 409),
)
async def post_event(
    request: Request,
    services: CurrentServices,
    body: EventRequest,
    principal: Principal = needs("execute", "workflows"),
    key: IdempotencyKey = None,
) -> Response:
    """Each step that waits for this type and correlation id ends, with `data` as its output.

    As if the caller had approved or refused it: `workflow.answered` tells of it. What begins to
    wait later is not answered.
    """
    replay = await replayable(request, key, principal=principal.actor)
    event = EventKey(body.event_type, body.correlation_id)
    answered = await services.workflows.executions.post_event(
        event,
        body.data.model_dump(exclude_unset=True),
        user_id=principal.user_id,
        origin=origin_of(request, principal),
        replay=replay,
    )
    return answer({**event._asdict(), "answered": answered}, replay=replay)


@documents.get("/asyncapi.json", include_in_schema=False)
async def get_asyncapi(request: Request) -> Response:
    """The AsyncAPI document of everything that streams."""
    return answer(document(request.app.version))


@router.post(
    "/tickets",
    operation_id="createEventTicket",
    summary="Get a ticket for one event stream",
    status_code=201,
    response_model=Ticket,
)
async def create_ticket(services: CurrentServices, principal: CurrentPrincipal) -> Response:
    """For browsers, whose EventSource sends no Authorization: `/events/stream?ticket=…`, once."""
    ticket = services.identity.issue_ticket(principal)
    return answer({"ticket": ticket, "expires_in": TICKET_SECONDS}, status=201)


@router.get(
    "/stream",
    operation_id="streamEvents",
    summary="Listen to events (SSE)",
    status_code=200,  # the response's own signature does not say
    response_class=EventStreamResponse,
    responses={
        200: {
            "description": "Server-sent events: `message`, `ping`, `reset`, `closed`",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **errors(401),
    },
)
async def stream_events(
    request: Request,
    services: CurrentServices,
    events: Annotated[
        list[str] | None,
        Query(description="patterns such as `task.*`, repeated or comma-separated; all by default"),
    ] = None,
    last_event_id: Annotated[
        str | None, Query(description="resume after this event's id; 0 for all that are kept")
    ] = None,
    resumed: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="the same, as EventSource sends it; it wins"),
    ] = None,
    ticket: Annotated[str | None, Query(description="instead of a token, from `/tickets`")] = None,
) -> Response:
    """Events the caller may read, from now on or from an id on, for as long as they are wanted."""
    listener = await _listener(request, services, ticket)
    wanted = ["*"] if events is None else [one for part in events for one in part.split(",")]
    return EventStreamResponse(
        services.streams,
        listener,
        checked_patterns([one.strip() for one in wanted]),
        _cursor(last_event_id if resumed is None else resumed),
    )


async def _listener(request: Request, services: Services, ticket: str | None) -> Listener:
    if ticket is None:
        check = partial(services.identity.authenticate, credential_of(request))
        return Listener(await check(), check)
    claim = services.idempotency.claim(
        digest(ticket), principal="ticket", method="GET", path="/events/stream", body=b""
    )
    once = services.idempotency.replayable(claim)
    principal = await services.identity.redeem_ticket(ticket, call=call_of(request, "ticket", once))
    if once.replayed:
        raise unauthorized("The ticket has been used. Get a new one for every stream.")
    return Listener(principal, partial(services.identity.still_holds, ticket))


def _cursor(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise invalid("last_event_id", "Must be the id of an event, or 0 for all that are kept.")
    return int(text)
