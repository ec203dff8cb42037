"""The server's HTTP protocol: a request's head is limited in size and in time.

The application limits bodies; before the head is complete there is no application yet, and anybody
who reaches the port could fill the memory with headers, or the connections with silence.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sutazai import ids
from sutazai.api.envelope import error_response
from sutazai.errors import ErrorCode, SutazaiError

LONGEST_HEAD = 64 * 1024
"""Bytes of a head, not counting those that came in one read with the request before."""


class HttpProtocol(HttpToolsProtocol):
    """See the module."""

    head_seconds = 30.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_head = False
        self._awaited = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Await the first request."""
        super().connection_made(transport)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Await nothing more."""
        super().connection_lost(exc)
        self._unset_deadline()

    def data_received(self, data: bytes) -> None:
        """Refuse a head that goes on and on."""
        went_on = self._in_head
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if self._in_head and (went_on or self.cycle is None):
            self._awaited += len(data)
            if self._awaited > LONGEST_HEAD:
                self._refuse(431, "The headers of the request are larger than 64 KiB. Send fewer.")
                return
        answering = self.cycle is not None and not self.cycle.response_complete
        if self._deadline is None and not answering:
            self._set_deadline()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head = True
        self._awaited = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what follows a body in chunks is nobody's interest."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The application takes over, with its own limits."""
        self._in_head = False
        self._unset_deadline()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the envelope of every error."""
        self._refuse(400, f"{msg} Send HTTP/1.1, and nothing that contradicts itself.")

    def _refuse(self, status: int, message: str) -> None:
        error = SutazaiError(ErrorCode.BAD_REQUEST, message)
        answer = error_response(error, ids.new_id("req"), status=status)
        reason = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}[status]
        head = [b"HTTP/1.1 %d %s" % (status, reason), b"connection: close"]
        head += [name + b": " + value for name, value in answer.raw_headers]
        self.transport.write(b"\r\n".join([*head, b"", bytes(answer.body)]))
        self.transport.close()

    def _set_deadline(self) -> None:
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self.head_seconds, self.transport.close)

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
