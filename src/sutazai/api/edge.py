"""Around every request: its id, its headers, its limits of size and time, and what is told of it.

Plain ASGI, because every request passes through here.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sutazai import ids
from sutazai.api.envelope import error_response, printable, too_large
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.telemetry.instruments import Instruments
from sutazai.telemetry.tracing import Kind, Tracing, fail

MOST_BODY_BYTES = 10 * 1024 * 1024
REQUEST_SECONDS = 30.0

HEADERS = "headers"
"""In a request's state: who wants headers on its answer, whatever that will be (MoreHeaders)."""
BEGUN = "begun"
"""In a request's state: whether its answer has begun."""
MoreHeaders = Callable[[], Iterable[tuple[bytes, bytes]]]

_logger = structlog.get_logger(__name__)

_UNMATCHED = "unmatched"
"""The route of what no route serves, for else every wrong path would count by itself."""
_VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}
"""On every answer that does not set them itself."""


class Edge:
    """The outermost layer: gives each request an id, each answer its headers, and tells of both.

    HEAD is served as GET without the body, which for a stream would have no end.
    """

    def __init__(
        self, app: ASGIApp, *, instruments: Instruments, tracing: Tracing | None = None
    ) -> None:
        self._app = app
        self._instruments = instruments
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        request_id = _request_id(scope)
        if scope["type"] == "websocket":
            scope["state"] = {**scope.get("state", {}), "request_id": request_id}
            structlog.contextvars.clear_contextvars()
            structlog.contextvars.bind_contextvars(request_id=request_id)
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        headers_only = method == "HEAD"
        begun = time.perf_counter()
        status = 500
        if headers_only:
            scope = {**scope, "method": "GET"}
        more: list[MoreHeaders] = []
        state = {**scope.get("state", {}), "request_id": request_id, HEADERS: more, BEGUN: False}
        scope["state"] = state
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        shown = (b"x-request-id", request_id.encode())

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                state[BEGUN] = True
                status = message["status"]
                headers = [*message.get("headers", ())]
                for made in more:
                    headers += made()
                headers.append(shown)
                there = {name for name, _ in headers}
                headers += [header for header in _HEADERS.items() if header[0] not in there]
                message["headers"] = headers
                await send(message)
                if headers_only:
                    await send({"type": "http.response.body", "body": b""})
            elif not headers_only:
                await send(message)

        try:
            if self._tracing is None:
                await self._app(scope, receive, send_with_headers)
            else:
                await self._traced(self._tracing, scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - begun
            route = _route(scope)
            self._instruments.http_request(method, route, status, seconds)
            _logger.info(
                "http.request",
                method=printable(method),
                path=printable(scope["path"]),
                route=route,
                status=status,
                seconds=round(seconds, 6),
                address=(scope.get("client") or (None,))[0],
            )

    async def _traced(self, tracing: Tracing, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        with tracing.span(
            method,
            kind=Kind.SERVER,
            parent=_header(scope, b"traceparent"),
            attributes={
                "http.request.method": method,
                "url.scheme": scope.get("scheme", "http"),
                "url.path": printable(scope["path"]),
                "sutazai.request.id": scope["state"]["request_id"],
            },
        ) as span:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        fail(span, str(status))
                await send(message)

            try:
                await self._app(scope, receive, noting)
            finally:
                route = _route(scope)
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)


def _route(scope: Scope) -> str:
    """The template of the path, below the version that was asked for."""
    template = getattr(scope.get("route"), "path", None)
    return _UNMATCHED if template is None else scope.get("root_path", "") + template


def _header(scope: Scope, wanted: bytes) -> str | None:
    for name, value in scope["headers"]:
        if name == wanted:
            return str(value.decode("latin-1"))
    return None


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            if _VALID_REQUEST_ID.fullmatch(value):
                return str(value.decode("ascii"))
            break
    return ids.new_id("req")


class Limits:
    """Answers 413 to a body that is too large, and 503 to a request that takes too long."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        most_bytes: int = MOST_BODY_BYTES,
        seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, body and answer within the limits."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id: str = scope["state"]["request_id"]
        length = _declared_length(scope)
        if length is None:
            receive = self._counted(receive)
        elif length > self._most_bytes:
            await too_large(request_id)(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds) as limit:
                scope["state"]["time_limit"] = limit  # for an endpoint that streams to lift
                await self._app(scope, receive, send)
        except TimeoutError:
            if scope["state"][BEGUN] or not limit.expired():
                raise
            message = f"The request was not answered within {self._seconds:g} s; try again."
            error = SutazaiError(ErrorCode.SERVICE_UNAVAILABLE, message, retry_after=1)
            await error_response(error, request_id)(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        """Guards a body that does not say how long it is."""
        size = 0

        async def counting() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._most_bytes:
                raise HTTPException(413)
            return message

        return counting


def _declared_length(scope: Scope) -> int | None:
    """The body's length where the server holds the client to it; None for a body in chunks."""
    length = None
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length" and value.isdigit():
            length = int(value)
    return length
