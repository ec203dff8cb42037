"""What the endpoints share: strict JSON, who asks, and answers that repeat."""

import re
from collections.abc import Callable, Coroutine, Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Header, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import core_schema
from starlette.responses import Response

from sutazai.api.bodies import content_of, parse_json
from sutazai.api.services import Services
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.events.model import Origin
from sutazai.identity.agent_keys import refuse_agents
from sutazai.identity.hooks import Call
from sutazai.identity.model import Principal, require
from sutazai.limits.idempotency import LONGEST_KEY, Replayable

_MISSING = (
    "Send an access token from POST /api/v1/auth/login as 'Authorization: Bearer …', or an API "
    "key as 'X-API-Key: …'."
)


class JsonRequest(Request):
    """A request whose JSON was read by `bodies`, not by Starlette."""

    def __init__(self, request: Request, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        # Where Starlette keeps a body once it is read; the endpoint may ask for it again.
        self._body = request._body  # noqa: SLF001  # as above
        self._value = value

    async def json(self) -> Any:
        """The body's value."""
        return self._value


class StrictRoute(APIRoute):
    """A route that knows who asks before it reads a body, and reads JSON strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        inner = super().get_route_handler()
        if self.body_field is None:
            return inner
        calls = [one.call for one in _within(self.dependant)]
        who = next((one for one in (principal_of, caller_of) if one in calls), None)

        async def handle(request: Request) -> Response:
            if who is not None:
                await who(request)
            content = await content_of(request)
            if content:
                request = JsonRequest(request, parse_json(request, content))
            return await inner(request)

        return handle


def _within(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for one in dependant.dependencies:
        yield from _within(one)


class Input(BaseModel):
    """A request's body: unknown fields are refused, because a misspelt one would be lost."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class _Clean:
    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(_no_nul, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": r"^[^\x00]*$"}


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    return text


Clean = _Clean()
"""For text that is stored or looked up: PostgreSQL cannot keep NUL characters."""


def whole(value: Any) -> Any:
    """To JSON 2.0 is the integer 2."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(whole)

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _text_of_moment(value: object) -> object:
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError("must be a date and time with its offset, such as 2026-08-05T10:00:00Z")
    return value


def _within_reach(value: datetime) -> datetime:
    try:
        fine = 1970 <= value.astimezone(UTC).year < 3000
    except OverflowError:
        fine = False
    if not fine:
        raise ValueError("must be from 1970 to 2999")
    return value


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_text_of_moment),
    Field(description="with its offset from UTC"),
]
"""RFC 3339, as the document's `date-time` says."""

Appointment = Annotated[Moment, AfterValidator(_within_reach)]
"""A moment that is kept, and so must be one that can be reckoned with."""


async def services_of(request: Request) -> Services:
    """The application's services; async because FastAPI sends plain functions to a thread."""
    found: Services = request.app.state.services
    return found


def request_id_of(request: Request) -> str:
    """The id under which this request is logged."""
    found: str = request.state.request_id
    return found


def credential_in(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The access token or API key among the headers; empty without."""
    authorization = b""
    for name, value in headers:
        if name == b"x-api-key":
            return value.decode("latin-1").strip()
        if name == b"authorization" and not authorization:
            authorization = value
    scheme, _, credential = authorization.decode("latin-1").partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""


def credential_of(request: Request) -> str:
    """The access token or API key that was sent; UNAUTHORIZED without."""
    credential = credential_in(request.scope["headers"])
    if not credential:
        raise SutazaiError(ErrorCode.UNAUTHORIZED, _MISSING)
    return credential


async def principal_of(request: Request) -> Principal:
    """Which user asks; UNAUTHORIZED without a valid credential, FORBIDDEN for an agent's."""
    return refuse_agents(await caller_of(request))


async def caller_of(request: Request) -> Principal:
    """Who asks, an agent from outside perhaps; UNAUTHORIZED without a valid credential."""
    # Found out on the way in, where requests are counted by who sends them.
    found: Principal | SutazaiError | None = request.scope["state"].get("principal")
    if isinstance(found, SutazaiError):
        raise found
    if found is not None:
        return found
    return await (await services_of(request)).identity.authenticate_any(credential_of(request))


CurrentServices = Annotated[Services, Depends(services_of)]
CurrentPrincipal = Annotated[Principal, Depends(principal_of)]
MOST_WAIT = 25.0
"""Seconds that a request may wait for an end."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="The same key and body bring the first answer back, for at least 24 hours.",
        json_schema_extra={"pattern": r"^[!#-\[\]-~]+$", "maxLength": LONGEST_KEY},
    ),
]


def needs(permission: str, resource: str) -> Any:
    """A dependency: the principal, who must have a permission on a resource."""

    async def check(principal: CurrentPrincipal) -> Principal:
        require(principal, permission, resource)
        return principal

    return Depends(check)


async def replayable(
    request: Request, key: str | None, *, principal: str, seal: bool = False
) -> Replayable:
    """The request's claim on an earlier answer to itself."""
    idempotency = (await services_of(request)).idempotency
    claim = idempotency.claim(
        key,
        principal=principal,
        method=request.method,
        # Below the version: a client that was updated between two tries must not do it twice.
        path=request.scope["path"].removeprefix(request.scope["root_path"]),
        body=await request.body() + b"?" + request.url.query.encode(),
    )
    return idempotency.replayable(claim, seal=seal)


def call_of(request: Request, actor: str, replay: Replayable | None = None) -> Call:
    """The request as identity's services want it told."""
    request_id = request_id_of(request)
    return Call(actor, request_id) if replay is None else Call(actor, request_id, replay)


def origin_of(request: Request, principal: Principal) -> Origin:
    """The request as events want it told."""
    return Origin(principal.actor, request_id_of(request))


def location_of(request: Request, path: str) -> str:
    """Where the caller finds a resource: below the version that the request came to."""
    return str(request.scope["root_path"]) + path


def answer(
    value: Any, *, status: int = 200, replay: Replayable | None = None, location: str | None = None
) -> Response:
    """A JSON response, encoded once."""
    headers = {}
    if replay is not None and replay.replayed:
        headers["idempotency-replayed"] = "true"
    if location is not None:
        headers["location"] = location
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        media_type="application/json",
        headers=headers,
    )
