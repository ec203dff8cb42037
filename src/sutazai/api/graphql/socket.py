"""Subscriptions over a WebSocket, by the protocol graphql-transport-ws.

Its text: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

from sutazai.api.live import SEND_SECONDS, Listener
from sutazai.api.requests import credential_in
from sutazai.api.services import Services
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

_MOST_MESSAGES, _PER_SECONDS = 200, 10.0
_LONGEST_REASON = 123

_logger = structlog.get_logger(__name__)


class Ending(NamedTuple):
    """The code and the reason that the connection is closed with."""

    code: int
    reason: str


_FAILED = 4500
_TOO_LATE = Ending(4408, f"No connection_init within {INIT_SECONDS:g} s.")
_TOO_EARLY = Ending(4401, "Send connection_init with a token first.")
_TWICE = Ending(4429, "connection_init was sent before.")
_FLOODED = Ending(4429, "Too many messages: 20 a second are plenty.")
_NOT_TEXT = Ending(4400, "Send text frames with JSON.")
_UNKNOWN_PROTOCOL = Ending(4406, f"Speak {PROTOCOL}.")
_TOO_SLOW = Ending(1013, "Too slow. Connect again; subscribe with since: your last event's id.")
_STOPPING = Ending(1012, "The server is stopping. Connect again in a moment.")


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


class GraphQLSocket:
    """One client's connection."""

    def __init__(
        self,
        services: Services,
        loaded: "Callable[[], Awaitable[Schema]]",
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._services = services
        self._loaded = loaded
        self._scope = scope
        self._receive = receive
        self._send = send
        # Where the server has it: see `cli.wire`.
        self._wire = scope.get("extensions", {}).get("sutazai.wire")
        self._request_id: str = scope["state"]["request_id"]
        self._ended: asyncio.Future[Ending | None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[Ending | None]] = set()
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
        try:
            _ = self._spawn(self._read()), self._spawn(self._guard())
            ending = await self._ended
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
        if ending is not None:
            await self._close(ending)

    def _spawn(self, work: Coroutine[Any, Any, Ending | None]) -> asyncio.Task[Ending | None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Ending | None]) -> None:
        """What a part ends with ends the whole; a subscription may end with nothing."""
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            ending = task.result()
            if ending is None:
                return
        elif isinstance(error, TimeoutError):
            ending = _TOO_SLOW
        elif isinstance(error, OSError):
            ending = None  # the client is gone
        else:
            _logger.error("graphql.socket_crashed", exc_info=error)
            ending = Ending(_FAILED, f"Something went wrong; see {self._request_id} in the log.")
        self._end(ending)

    def _end(self, ending: Ending | None) -> None:
        if not self._ended.done():
            self._ended.set_result(ending)

    # --- what the client says

    async def _read(self) -> Ending | None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._end(None)
                return None
            if self._floods():
                return _FLOODED
            text = message.get("text")
            if text is None:
                return _NOT_TEXT
            try:
                said = _decode(text)
            except (msgspec.DecodeError, UnicodeEncodeError) as error:
                return Ending(4400, f"Not a message of {PROTOCOL}: {error}.")
            if ending := await self._heard(said):
                return ending

    def _floods(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._window > _PER_SECONDS:
            self._window, self._messages = now, 0
        self._messages += 1
        return self._messages > _MOST_MESSAGES

    async def _heard(self, said: Init | Ping | Pong | Subscribe | Complete) -> Ending | None:
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
            if error.code is ErrorCode.UNAUTHORIZED:
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
        except msgspec.DecodeError as error:
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
            return _TOO_SLOW
        except Closed:
            return _STOPPING
        await self._finish(name, {"type": "complete"})
        return None

    async def _finish(self, name: str, message: dict[str, Any]) -> None:
        """Say the last of an operation, whose id is free from then on."""
        running = self._running.get(name)
        if running is not None and running.task is asyncio.current_task():
            del self._running[name]
            await self._say({"id": name, **message})

    async def _say(self, message: dict[str, Any]) -> None:
        text = msgspec.json.encode(message).decode()
        # One at a time: the server takes a message as soon as the one before is on its way.
        async with asyncio.timeout(SEND_SECONDS), self._saying:
            await self._send({"type": "websocket.send", "text": text})

    async def _close(self, ending: Ending) -> None:
        reason = ending.reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
        if self._wire is not None and ending in (_TOO_SLOW, _STOPPING):
            self._wire.cut(ending.code, reason)
            return
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(SEND_SECONDS):
                await self._send({"type": "websocket.close", "code": ending.code, "reason": reason})


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
