"""The door: queries and mutations by POST, subscriptions by WebSocket."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sutazai.api.bodies import content_of, parse_json
from sutazai.api.envelope import error_answer, error_response
from sutazai.api.graphql.socket import GraphQLSocket
from sutazai.api.live import Listener
from sutazai.api.requests import credential_of, request_id_of
from sutazai.api.services import Services
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.identity.agent_keys import refuse_agents
from sutazai.identity.model import Principal

if TYPE_CHECKING:
    from sutazai.api.graphql.schema import Schema

PATH = "/graphql"

_RESPONSE = "application/graphql-response+json"


class GraphQL:
    """Serves the path; nothing of Strawberry is there before the first request of a user."""

    path = PATH
    """As `scope["route"]` tells it to those who count requests by route."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._schema: Schema | None = None
        self._loading = asyncio.Lock()

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is wrong with it as such is told in the REST API's envelope."""
        scope["route"] = self
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Exception as error:
            response = await error_answer(request, error)
        await response(scope, receive, send)

    async def websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Talk to one client until either side has had enough."""
        await GraphQLSocket(self._services, self._loaded, scope, receive, send).serve()

    async def _loaded(self) -> "Schema":
        async with self._loading:
            if self._schema is None:
                # In a thread, because it takes most of a second.
                self._schema = await asyncio.to_thread(_load)
        return self._schema

    async def _listener(self, request: Request) -> Listener:
        check = partial(self._services.identity.authenticate, credential_of(request))
        # Found out on the way in, where requests are counted by who sends them.
        found: Principal | SutazaiError | None = request.scope["state"].get("principal")
        if isinstance(found, SutazaiError):
            raise found
        return Listener(refuse_agents(found) if found else await check(), check)

    async def _answer(self, request: Request) -> Response:
        if request.method != "POST":
            return _only_post(request)
        listener = await self._listener(request)
        if "content-type" not in request.headers:
            # A page of another site can send a body without a type, but not one of this type.
            raise HTTPException(415)
        value = parse_json(request, await content_of(request))
        schema = await self._loaded()

        from sutazai.api.graphql.context import Context
        from sutazai.api.graphql.execution import Operation, execute

        operation = _read(value, Operation)
        context = Context(self._services, listener, request.scope)
        answer = await execute(schema, operation, context)
        modern = _RESPONSE in request.headers.get("accept", "")
        response = Response(
            msgspec.json.encode(answer.body),
            status_code=400 if modern and not answer.executed else 200,
            media_type=_RESPONSE if modern else "application/json",
        )
        if context.replayed:
            response.headers["idempotency-replayed"] = "true"
        return response


def _load() -> "Schema":
    from sutazai.api.graphql.schema import make_schema

    return make_schema()


def _read(value: Any, kind: type[Any]) -> Any:
    """The operation; BAD_REQUEST for anything else, and for several in one."""
    if isinstance(value, list):
        message = "Send one operation at a time; a request may ask for many fields."
        raise SutazaiError(ErrorCode.BAD_REQUEST, message)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message = f"Send an object with query, and variables and operationName if needed: {error}."
        raise SutazaiError(ErrorCode.BAD_REQUEST, message) from error


def _only_post(request: Request) -> Response:
    message = (
        f"{request.method} is not allowed at {PATH}: send queries and mutations by POST, "
        "subscriptions over a WebSocket (graphql-transport-ws)."
    )
    error = SutazaiError(ErrorCode.BAD_REQUEST, message)
    response = error_response(error, request_id_of(request), status=405)
    response.headers["allow"] = "POST"
    return response
