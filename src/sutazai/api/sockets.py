"""What both WebSockets share: parts that run side by side, floods, and how a connection ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, ClassVar, NamedTuple

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

from sutazai.api.live import SEND_SECONDS

MOST_MESSAGES, PER_SECONDS = 200, 10.0
"""More than any client needs to say; each costs us an answer."""

_LONGEST_REASON = 123

_logger = structlog.get_logger(__name__)

Refused = (msgspec.DecodeError, UnicodeEncodeError, RecursionError)
"""What decoding raises for what is no message; the last for nesting without end."""


class Ending(NamedTuple):
    """The code and the reason that the connection is closed with."""

    code: int
    reason: str


GONE = Ending(1005, "")
"""The client has closed the connection, so there is nothing to close."""
TOO_SLOW = Ending(1013, "Too slow. Connect again; subscribe with since: your last event's id.")
STOPPING = Ending(1012, "The server is stopping. Connect again in a moment.")

Part = Coroutine[Any, Any, Ending | None]
"""A part of a conversation; with an Ending it ends the whole, with None only itself."""


class Conversation:
    """One client's connection; subclasses say what is talked about."""

    flooded: ClassVar[Ending]
    not_text: ClassVar[Ending]
    failed_code: ClassVar[int]

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        # Where the server has it: see `cli.wire`.
        self._wire = scope.get("extensions", {}).get("sutazai.wire")
        self._request_id: str = scope["state"]["request_id"]
        self._ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[Ending | None]] = set()
        self._saying = asyncio.Lock()
        self._window, self._messages = 0.0, 0

    async def _converse(self, *parts: Part) -> None:
        """Run parts, and those that they spawn, until one of them ends the whole; then close."""
        try:
            _ = [self._spawn(part) for part in parts]
            ending = await self._ended
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
        await self._close(ending)

    def _spawn(self, part: Part) -> asyncio.Task[Ending | None]:
        task = asyncio.create_task(part)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Ending | None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            ending = task.result()
        elif isinstance(error, TimeoutError):
            ending = TOO_SLOW
        elif isinstance(error, OSError):
            ending = GONE
        else:
            _logger.error("websocket.crashed", exc_info=error)
            reason = f"Something went wrong; see {self._request_id} in the log."
            ending = Ending(self.failed_code, reason)
        if ending is not None and not self._ended.done():
            self._ended.set_result(ending)

    async def _heard(self) -> AsyncIterator[str | Ending]:
        """What the client says; at last, why no more of it is listened to."""
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                yield GONE
                return
            if self._floods():
                yield self.flooded
                return
            text = message.get("text")
            if text is None:
                yield self.not_text
                return
            yield text

    def _floods(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._window > PER_SECONDS:
            self._window, self._messages = now, 0
        self._messages += 1
        return self._messages > MOST_MESSAGES

    async def _say(self, message: dict[str, Any]) -> None:
        text = msgspec.json.encode(message).decode()
        # One at a time: the server takes a message as soon as the one before is on its way.
        async with asyncio.timeout(SEND_SECONDS), self._saying:
            await self._send({"type": "websocket.send", "text": text})

    async def _close(self, ending: Ending) -> None:
        if ending is GONE:
            return
        reason = ending.reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
        if self._wire is not None and ending in (TOO_SLOW, STOPPING):
            self._wire.cut(ending.code, reason)
            return
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(SEND_SECONDS):
                await self._send({"type": "websocket.close", "code": ending.code, "reason": reason})
