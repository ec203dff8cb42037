"""A receiver of callbacks that answers as it is told, and remembers what it was sent."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

PATIENCE = 30.0
"""Seconds until something that should happen counts as not happening."""

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Received(NamedTuple):
    """One request."""

    target: str
    headers: dict[str, str]
    body: bytes


def status(code: int, *headers: str, body: bytes = b"") -> Reply:
    """An answer; headers such as `Retry-After: 5`."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {code} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return reply


async def hang(writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def nonsense(writer: asyncio.StreamWriter) -> None:
    """Answer, but not in HTTP."""
    writer.write(b"220 mail.example ESMTP\r\n")
    await writer.drain()


async def flood(writer: asyncio.StreamWriter) -> None:
    """An answer without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()


class Receiver:
    """Answers with `replies` in turn, and with 204 when they are used up."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.received: list[Received] = []
        self.port = 0
        self._news = asyncio.Condition()
        self._open: set[asyncio.Task[None]] = set()

    def url(self, path: str = "/hook", *, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def until_received(self, count: int) -> list[Received]:
        """What was received, once it is so many requests."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: len(self.received) >= count)
        return self.received

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            return
        finally:
            self._open.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        reply = self.replies.pop(0) if self.replies else status(204)
        async with self._news:
            self.received.append(Received(head[0].split()[1], headers, body))
            self._news.notify_all()
        await reply(writer)

    def hang_up(self) -> None:
        """Cut every connection that is open."""
        for task in self._open:
            task.cancel()


@contextlib.asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a port of the loopback interface."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        receiver.hang_up()
        await server.wait_closed()
