"""Subscriptions over a WebSocket, by the protocol graphql-transport-ws.

Its text: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from starlette.types import Receive, Scope, Send

from sutazai.api.live import Listener
from sutazai.api.requests import credential_in
from sutazai.api.services import Services
from sutazai.api.sockets import STOPPING, TOO_SLOW, Conversation, Ending, Refused
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.events.streams import Closed, Subscription, TooSlow
from sutazai.identity.tokens import unauthorized

if TYPE_CHECKING:
    from sutazai.api.graphql.context import Context
    from sutazai.api.graphql.execution import Operation
    from sutazai.api.graphql.schema import Schema

PROTOCOL = "graphql-transport-ws"
INIT_SECONDS = 10.0
MOST_SUBSCRIPTIONS = 20

_TOO_LATE = Ending(4408, f"No connection_init within {INIT_SECONDS:g} s.")
_TOO_EARLY = Ending(4401, "Send connection_init with a token first.")
_TWICE = Ending(4429, "connection_init was sent before.")
_UNKNOWN_PROTOCOL = Ending(4406, f"Speak {PROTOCOL}.")

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Init(msgspec.Struct, tag="connection_init"):
    """The first message; `payload` carries the credential as a request's headers would."""

    payload: dict[str, Any] | None = None


class Ping(msgspec.Struct, tag="ping"):
    """Whether anybody is there."""


class Pong(msgspec.Struct, tag="pong"):
    """The answer to a ping, which we do not send."""


class Subscribe(msgspec.Struct, tag="subscribe"):
    """An operation to run; `payload` is what a POST would send."""

    id: Id
    payload: msgspec.Raw


class Complete(msgspec.Struct, tag="complete"):
    """Enough of an operation."""

    id: Id


_decode = msgspec.json.Decoder(Init | Ping | Pong | Subscribe | Complete).decode


class _Running(NamedTuple):
    task: asyncio.Task[Ending | None]
    context: "Context"


class GraphQLSocket(Conversation):
    """One client's connection."""

    flooded = Ending(4429, "Too many messages: 20 a second are plenty.")
    not_text = Ending(4400, "Send text frames with JSON.")
    failed_code = 4500

    def __init__(
        self,
        services: Services,
        loaded: "Callable[[], Awaitable[Schema]]",
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        super().__init__(scope, receive, send)
        self._services = services
        self._loaded = loaded
        self._scope = scope
        self._listener: Listener | None = None
        self._initialised = False
        self._acknowledged = asyncio.Event()
        self._running: dict[str, _Running] = {}
        self._saying = asyncio.Lock()
        self._window, self._messages = 0.0, 0

    async def serve(self) -> None:
        """Talk until either side has had enough."""
        await self._receive()  # websocket.connect
        if PROTOCOL not in self._scope.get("subprotocols", ()):
            await self._send({"type": "websocket.accept"})
            await self._close(_UNKNOWN_PROTOCOL)
            return
        await self._send({"type": "websocket.accept", "subprotocol": PROTOCOL})
        await self._converse(self._read(), self._guard())

    # --- what the client says

    async def _read(self) -> Ending | None:
        async for text in self._heard():
            if isinstance(text, Ending):
                return text
            try:
                said = _decode(text)
            except Refused as error:
                return Ending(4400, f"Not a message of {PROTOCOL}: {error}.")
            if ending := await self._obey(said):
                return ending
        return None

    async def _obey(self, said: Init | Ping | Pong | Subscribe | Complete) -> Ending | None:
        if isinstance(said, Init):
            return await self._initialise(said)
        if isinstance(said, Ping):
            await self._say({"type": "pong"})
        elif isinstance(said, Subscribe):
            return await self._subscribe(said)
        elif isinstance(said, Complete) and said.id in self._running:
            self._running.pop(said.id).task.cancel()
        return None

    async def _initialise(self, said: Init) -> Ending | None:
        if self._initialised:
            return _TWICE
        self._initialised = True
        try:
            credential = _credential(said.payload or {}, self._scope)
            check = partial(self._services.identity.authenticate, credential)
            self._listener = Listener(await check(), check)
        except SutazaiError as error:
            if error.code in (ErrorCode.UNAUTHORIZED, ErrorCode.FORBIDDEN):
                return Ending(4403, error.message)
            return Ending(1013, error.message)
        await self._say({"type": "connection_ack"})
        self._acknowledged.set()
        return None

    async def _subscribe(self, said: Subscribe) -> Ending | None:
        if self._listener is None:
            return _TOO_EARLY
        if said.id in self._running:
            return Ending(4409, f"Subscriber for {said.id} already exists")
        schema = await self._loaded()

        from sutazai.api.graphql.context import Context
        from sutazai.api.graphql.execution import Operation, refused

        try:
            operation = msgspec.json.decode(said.payload, type=Operation)
        except Refused as error:
            return Ending(4400, f"Not an operation: {error}.")
        context = Context(self._services, self._listener, self._scope)
        if len(self._running) >= MOST_SUBSCRIPTIONS:
            message = f"At most {MOST_SUBSCRIPTIONS} subscriptions a connection. Complete one."
            answer = refused(SutazaiError(ErrorCode.BAD_REQUEST, message), context)
            await self._say({"id": said.id, "type": "error", "payload": answer.body["errors"]})
            return None
        task = self._spawn(self._run(said.id, schema, operation, context))
        self._running[said.id] = _Running(task, context)
        return None

    # --- what the server says

    async def _guard(self) -> Ending:
        try:
            async with asyncio.timeout(INIT_SECONDS):
                await self._acknowledged.wait()
        except TimeoutError:
            return _TOO_LATE
        assert self._listener is not None
        error = await self._listener.until_ended(self._subscriptions)
        return Ending(4401, error.message)

    def _subscriptions(self) -> list[Subscription]:
        running = [one.context.subscription for one in self._running.values()]
        return [one for one in running if one is not None]

    async def _run(
        self, name: str, schema: "Schema", operation: "Operation", context: "Context"
    ) -> Ending | None:
        from sutazai.api.graphql.execution import subscribe

        try:
            async with contextlib.aclosing(subscribe(schema, operation, context)) as answers:
                async for answer in answers:
                    if answer.body.get("data") is None:
                        errors = answer.body["errors"]
                        await self._finish(name, {"type": "error", "payload": errors})
                        return None
                    await self._say({"id": name, "type": "next", "payload": answer.body})
                    # A page of events that is in memory already must not keep others waiting.
                    await asyncio.sleep(0)
        except TooSlow:
            return TOO_SLOW
        except Closed:
            return STOPPING
        await self._finish(name, {"type": "complete"})
        return None

    async def _finish(self, name: str, message: dict[str, Any]) -> None:
        """Say the last of an operation, whose id is free from then on."""
        running = self._running.get(name)
        if running is not None and running.task is asyncio.current_task():
            del self._running[name]
            await self._say({"id": name, **message})


def _credential(payload: dict[str, Any], scope: Scope) -> str:
    """The token or API key in the payload, or else in the handshake's headers."""
    for name, value in payload.items():
        if not isinstance(value, str) or not value.strip():
            continue
        if name.lower() in ("authorization", "token", "x-api-key"):
            scheme, _, rest = value.strip().partition(" ")
            return rest.strip() if scheme.lower() == "bearer" else value.strip()
    if credential := credential_in(scope["headers"]):
        return credential
    raise unauthorized("Send {'Authorization': 'Bearer …'} as the payload of connection_init.")
