"""A stream of server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

import asyncio
import contextlib
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sutazai import clock
from sutazai.api.live import SEND_SECONDS, Listener
from sutazai.errors import SutazaiError
from sutazai.events.model import Event
from sutazai.events.streams import Closed, EventStreams, Reset, Subscription, TooSlow

HEARTBEAT_SECONDS = 15.0

_RETRY_MILLISECONDS = 2000
_FAREWELL_SECONDS = 1.0


def block_of(event: Event) -> bytes:
    """An event as the specification's stream shows it, with the id to resume from."""
    return b'id: %d\nevent: message\ndata: {"event_type":"%s","timestamp":"%s","data":%s}\n\n' % (
        event.id,
        event.event_type.encode(),
        clock.to_iso(event.timestamp).encode(),
        event.data.encode(),
    )


def _told(name: str, position: int, data: dict[str, Any]) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (
        position,
        name.encode(),
        msgspec.json.encode(data),
    )


def _unavailable(message: str) -> dict[str, str]:
    return {"code": "SERVICE_UNAVAILABLE", "message": message}


class EventStreamResponse(Response):
    """Events until the client goes, its credential ends, or the server stops."""

    media_type = "text/event-stream"

    def __init__(
        self,
        streams: EventStreams,
        listener: Listener,
        patterns: tuple[str, ...],
        after: int | None,
    ) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._streams = streams
        self._listener = listener
        self._patterns = patterns
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, for as long as it takes."""
        if (limit := scope["state"].get("time_limit")) is not None:
            limit.reschedule(None)
        async with self._streams.subscribe(
            self._listener.sight, self._patterns, after=self._after
        ) as subscription:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            writer = _Writer(send)
            work = [
                asyncio.create_task(_until_disconnected(receive)),
                asyncio.create_task(self._guard(subscription, writer)),
                asyncio.create_task(_forward(subscription, writer, self._after)),
            ]
            try:
                await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in work:
                    task.cancel()
                await asyncio.wait(work)
            for task in work:
                # A client that is gone or does not read gets no end either.
                if not task.cancelled() and (error := task.exception()) is not None:
                    if isinstance(error, (OSError, TimeoutError)):
                        return
                    raise error
        with contextlib.suppress(OSError):
            await send({"type": "http.response.body", "body": b""})

    async def _guard(self, subscription: Subscription, writer: "_Writer") -> None:
        error: SutazaiError = await self._listener.until_ended(lambda: [subscription])
        data = {"code": error.code, "message": error.message}
        await writer.write(_told("closed", subscription.position, data))


class _Writer:
    """Writes whole blocks; one that waits too long for the client raises TimeoutError."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._writing = asyncio.Lock()

    async def write(self, blocks: bytes) -> None:
        async with self._writing, asyncio.timeout(SEND_SECONDS):
            await self._send({"type": "http.response.body", "body": blocks, "more_body": True})


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _forward(subscription: Subscription, writer: _Writer, after: int | None) -> None:
    # At once, so that the client knows that it is connected, and from where to resume.
    start = subscription.position if after is None else after
    await writer.write(b"retry: %d\nevent: ping\nid: %d\ndata:\n\n" % (_RETRY_MILLISECONDS, start))
    while True:
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                found = await subscription.next()
        except TimeoutError:
            # With an id, which moves a client on past events that were not for it.
            await writer.write(b"id: %d\nevent: ping\ndata:\n\n" % subscription.position)
            continue
        except TooSlow:
            message = "Too slow: events came faster than they were read. Resume from the last id."
            await writer.write(_told("closed", subscription.position, _unavailable(message)))
            return
        except Closed:
            message = "The server is stopping. Connect again in a moment."
            # Who does not read must not hold up the stop.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    await writer.write(
                        _told("closed", subscription.position, _unavailable(message))
                    )
            return
        if isinstance(found, Reset):
            message = "Events after the id that was asked for are no longer kept; the rest follows."
            where = {"asked": found.asked, "goes_on_after": found.position, "message": message}
            await writer.write(_told("reset", found.position, where))
        else:
            await writer.write(found.joined(block_of))
