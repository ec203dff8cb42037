"""`/ws`: the specification's WebSocket.

The client sends `auth`, `subscribe` and `ping`; the server answers each, then sends events as
`{"type", "payload", "timestamp", "id"}`.
"""

import asyncio
import contextlib
import struct
from functools import partial
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from sutazai import clock
from sutazai.api.live import SEND_SECONDS, Listener
from sutazai.api.services import Services
from sutazai.api.sockets import STOPPING, TOO_SLOW, Conversation, Ending, Refused
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

_POLICY = 1008


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


class LiveSocket(Conversation):
    """One client's connection."""

    flooded = Ending(_POLICY, "Too many messages: 20 a second are plenty.")
    not_text = Ending(1003, "Send text frames with JSON.")
    failed_code = 1011

    def __init__(self, services: Services, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        self._services = services
        self._listener: Listener | None = None
        self._authenticated = asyncio.Event()
        self._subscription: Subscription | None = None
        self._forwarding: asyncio.Task[Ending | None] | None = None
        self._opened = contextlib.AsyncExitStack()

    async def serve(self) -> None:
        """Talk until either side has had enough."""
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept"})
        try:
            await self._converse(self._read(), self._guard())
        finally:
            await self._opened.aclose()

    # --- what the client says

    async def _read(self) -> Ending | None:
        async for text in self._heard():
            if isinstance(text, Ending):
                return text
            try:
                if ending := await self._obey(_decode(text)):
                    return ending
            except Refused as error:
                await self._complain(_not_understood(str(error)))
            except SutazaiError as error:
                await self._complain(error)
        return None

    async def _obey(self, said: Auth | Subscribe | Ping) -> Ending | None:
        if isinstance(said, Ping):
            await self._say({"type": "pong"})
        elif isinstance(said, Auth):
            return await self._authenticate(said.token)
        else:
            await self._subscribe(said)
        return None

    async def _authenticate(self, token: str) -> Ending | None:
        credential = token.strip()
        scheme, _, rest = credential.partition(" ")
        if scheme.lower() == "bearer":
            credential = rest.strip()
        check = partial(self._services.identity.authenticate, credential)
        try:
            principal = await check()
        except SutazaiError as error:
            if error.code in (ErrorCode.UNAUTHORIZED, ErrorCode.FORBIDDEN):
                return Ending(_POLICY, error.message)
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
            # Should there be no new one, the next `subscribe` must not go on with this.
            self._forwarding = self._subscription = None
        subscribing = self._services.streams.subscribe(
            self._listener.sight, patterns, after=said.since
        )
        self._subscription = await self._opened.enter_async_context(subscribing)
        if self._wire is not None:
            self._subscription.sink = self._push
        await self._say(answer)
        self._forwarding = self._spawn(self._forward(self._subscription))

    # --- what the server says

    async def _guard(self) -> Ending:
        try:
            async with asyncio.timeout(AUTH_SECONDS):
                await self._authenticated.wait()
        except TimeoutError:
            return Ending(_POLICY, f"No auth within {AUTH_SECONDS:g} s.")
        assert self._listener is not None
        error = await self._listener.until_ended(
            lambda: [] if self._subscription is None else [self._subscription]
        )
        return Ending(_POLICY, error.message)

    async def _forward(self, subscription: Subscription) -> Ending:
        try:
            while True:
                found = await subscription.next()
                async with asyncio.timeout(SEND_SECONDS):
                    if isinstance(found, Reset):
                        payload = {"since": found.asked, "goes_on_after": found.position}
                        await self._say({"type": "reset", "payload": payload})
                    else:
                        await self._write(found)
        except TooSlow:
            return TOO_SLOW
        except Closed:
            return STOPPING

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

    async def _complain(self, error: SutazaiError) -> None:
        payload: dict[str, Any] = {"code": error.code, "message": error.message}
        if error.details:
            payload["details"] = [detail._asdict() for detail in error.details]
        payload["timestamp"] = clock.to_iso(clock.now())
        payload["request_id"] = self._request_id
        await self._say({"type": "error", "payload": payload})


def _not_understood(problem: str) -> SutazaiError:
    return SutazaiError(
        ErrorCode.BAD_REQUEST,
        "Send JSON objects whose type is auth (with token), subscribe (with events, and since if "
        f"you like) or ping. {problem}.",
    )
