"""`/ws`: the specification's WebSocket.

The client sends `auth`, `subscribe` and `ping`; the server answers each, then sends events as
`{"type", "payload", "timestamp", "id"}`.
"""

import asyncio
import contextlib
import struct
from collections.abc import Coroutine
from functools import partial
from typing import Any, NamedTuple

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

from sutazai import clock
from sutazai.api.live import SEND_SECONDS, Listener
from sutazai.api.services import Services
from sutazai.errors import Detail, ErrorCode, SutazaiError
from sutazai.events.model import Event
from sutazai.events.streams import (
    Batch,
    Closed,
    Reset,
    Subscription,
    TooSlow,
    checked_patterns,
)

AUTH_SECONDS = 10.0

_UNSUPPORTED, _POLICY, _FAILED, _RESTART, _AGAIN = 1003, 1008, 1011, 1012, 1013
# More than any client needs to say; each costs us an answer.
_MOST_MESSAGES, _PER_SECONDS = 200, 10.0
_LONGEST_REASON = 123

_logger = structlog.get_logger(__name__)


class Auth(msgspec.Struct, tag="auth", forbid_unknown_fields=True):
    """Who listens: an access token, with or without `Bearer `, or an API key."""

    token: str


class Subscribe(msgspec.Struct, tag="subscribe", forbid_unknown_fields=True):
    """What to listen to, in place of what was listened to before; `since` an event's id."""

    events: list[str] = msgspec.field(default_factory=lambda: ["*"])
    since: int | None = None


class Ping(msgspec.Struct, tag="ping"):
    """Whether anybody is there."""


_decode = msgspec.json.Decoder(Auth | Subscribe | Ping).decode


class _Ending(NamedTuple):
    """The code and the reason that the connection is closed with."""

    code: int
    reason: str


def message_of(event: Event) -> bytes:
    """An event as a subscriber gets it."""
    return b'{"type":"%s","payload":%s,"timestamp":"%s","id":%d}' % (
        event.event_type.encode(),
        event.data.encode(),
        clock.to_iso(event.timestamp).encode(),
        event.id,
    )


def frame_of(event: Event) -> bytes:
    """The same as a frame of the WebSocket protocol, unmasked: RFC 6455, 5.2."""
    message = message_of(event)
    size = len(message)
    if size < 126:
        head = struct.pack("!BB", 0x81, size)
    elif size < 65_536:
        head = struct.pack("!BBH", 0x81, 126, size)
    else:
        head = struct.pack("!BBQ", 0x81, 127, size)
    return head + message


class LiveSocket:
    """One client's connection."""

    def __init__(self, services: Services, scope: Scope, receive: Receive, send: Send) -> None:
        self._services = services
        self._receive = receive
        self._send = send
        # Where the server has it: see `cli.wire`.
        self._wire = scope.get("extensions", {}).get("sutazai.wire")
        self._request_id: str = scope["state"]["request_id"]
        self._ended: asyncio.Future[_Ending | None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[_Ending | None]] = set()
        self._listener: Listener | None = None
        self._authenticated = asyncio.Event()
        self._subscription: Subscription | None = None
        self._forwarding: asyncio.Task[_Ending | None] | None = None
        self._opened = contextlib.AsyncExitStack()
        self._window, self._messages = 0.0, 0

    async def serve(self) -> None:
        """Talk until either side has had enough."""
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept"})
        try:
            _ = self._spawn(self._read()), self._spawn(self._guard())
            ending = await self._ended
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            await self._opened.aclose()
        if ending is not None:
            await self._close(ending)

    def _spawn(self, work: Coroutine[Any, Any, _Ending | None]) -> asyncio.Task[_Ending | None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[_Ending | None]) -> None:
        """The first part that ends decides how the whole does."""
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            ending = task.result()
        elif isinstance(error, OSError):
            ending = None  # the client is gone
        else:
            _logger.error("websocket.crashed", exc_info=error)
            ending = _Ending(_FAILED, f"Something went wrong; see {self._request_id} in the log.")
        if not self._ended.done():
            self._ended.set_result(ending)

    # --- what the client says

    async def _read(self) -> _Ending | None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return None
            if self._floods():
                return _Ending(_POLICY, "Too many messages: 20 a second are plenty.")
            text = message.get("text")
            if text is None:
                return _Ending(_UNSUPPORTED, "Send text frames with JSON.")
            try:
                said = _decode(text)
            except (msgspec.DecodeError, UnicodeEncodeError) as error:
                await self._complain(_not_understood(str(error)))
                continue
            try:
                if ending := await self._heard(said):
                    return ending
            except SutazaiError as error:
                await self._complain(error)

    def _floods(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._window > _PER_SECONDS:
            self._window, self._messages = now, 0
        self._messages += 1
        return self._messages > _MOST_MESSAGES

    async def _heard(self, said: Auth | Subscribe | Ping) -> _Ending | None:
        if isinstance(said, Ping):
            await self._say({"type": "pong"})
        elif isinstance(said, Auth):
            return await self._authenticate(said.token)
        else:
            await self._subscribe(said)
        return None

    async def _authenticate(self, token: str) -> _Ending | None:
        credential = token.strip()
        scheme, _, rest = credential.partition(" ")
        if scheme.lower() == "bearer":
            credential = rest.strip()
        check = partial(self._services.identity.authenticate, credential)
        try:
            principal = await check()
        except SutazaiError as error:
            if error.code is ErrorCode.UNAUTHORIZED:
                return _Ending(_POLICY, error.message)
            raise
        if self._listener is None:
            self._listener = Listener(principal, check)
        else:  # a fresh token for a connection that goes on
            self._listener.principal, self._listener.check = principal, check
            if self._subscription is not None:
                self._subscription.sight = self._listener.sight
        self._authenticated.set()
        await self._say({"type": "auth.ok"})
        return None

    async def _subscribe(self, said: Subscribe) -> None:
        if self._listener is None:
            message = "Send {'type': 'auth', 'token': …} first."
            raise SutazaiError(ErrorCode.UNAUTHORIZED, message)
        patterns = checked_patterns(said.events)
        if said.since is not None and not 0 <= said.since < 2**62:
            raise SutazaiError(
                ErrorCode.VALIDATION_ERROR,
                "Invalid input data",
                details=[Detail("since", "Must be the id of an event, or 0 for all.")],
            )
        answer = {"type": "subscribe.ok", "events": said.events}
        if self._subscription is not None and said.since is None:
            self._subscription.select(patterns)
            await self._say(answer)
            return
        if self._forwarding is not None:
            self._forwarding.cancel()
            await asyncio.wait([self._forwarding])
            await self._opened.aclose()
        subscribing = self._services.streams.subscribe(
            self._listener.sight, patterns, after=said.since
        )
        self._subscription = await self._opened.enter_async_context(subscribing)
        if self._wire is not None:
            self._subscription.sink = self._push
        await self._say(answer)
        self._forwarding = self._spawn(self._forward(self._subscription))

    # --- what the server says

    async def _guard(self) -> _Ending:
        try:
            async with asyncio.timeout(AUTH_SECONDS):
                await self._authenticated.wait()
        except TimeoutError:
            return _Ending(_POLICY, f"No auth within {AUTH_SECONDS:g} s.")
        assert self._listener is not None
        error = await self._listener.until_ended(
            lambda: [] if self._subscription is None else [self._subscription]
        )
        return _Ending(_POLICY, error.message)

    async def _forward(self, subscription: Subscription) -> _Ending:
        try:
            while True:
                found = await subscription.next()
                async with asyncio.timeout(SEND_SECONDS):
                    if isinstance(found, Reset):
                        payload = {"since": found.asked, "goes_on_after": found.position}
                        await self._say({"type": "reset", "payload": payload})
                    else:
                        await self._write(found)
        except (TooSlow, TimeoutError):
            return _Ending(_AGAIN, "Too slow. Connect again; subscribe with since=<your last id>.")
        except Closed:
            return _Ending(_RESTART, "The server is stopping. Connect again in a moment.")

    async def _write(self, batch: Batch) -> None:
        if self._wire is not None:
            await self._wire.write(batch.joined(frame_of))
            return
        for one in batch.broadcasts:
            text = one.encoded(message_of).decode()
            await self._send({"type": "websocket.send", "text": text})

    def _push(self, batch: Batch) -> bool:
        taken: bool = self._wire.try_write(batch.joined(frame_of))
        return taken

    async def _say(self, message: dict[str, Any]) -> None:
        text = msgspec.json.encode(message).decode()
        await self._send({"type": "websocket.send", "text": text})

    async def _complain(self, error: SutazaiError) -> None:
        payload: dict[str, Any] = {"code": error.code, "message": error.message}
        if error.details:
            payload["details"] = [detail._asdict() for detail in error.details]
        payload["timestamp"] = clock.to_iso(clock.now())
        payload["request_id"] = self._request_id
        await self._say({"type": "error", "payload": payload})

    async def _close(self, ending: _Ending) -> None:
        reason = ending.reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
        if self._wire is not None and ending.code in (_AGAIN, _RESTART):
            self._wire.cut(ending.code, reason)
            return
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(SEND_SECONDS):
                await self._send({"type": "websocket.close", "code": ending.code, "reason": reason})


def _not_understood(problem: str) -> SutazaiError:
    return SutazaiError(
        ErrorCode.BAD_REQUEST,
        "Send JSON objects whose type is auth (with token), subscribe (with events, and since if "
        f"you like) or ping. {problem}.",
    )
