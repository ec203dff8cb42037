"""A small, fast HTTP/1.1 load client: raw sockets on asyncio, keep-alive, one at a time each.

A general client would cost more than the server under test on two shared cores.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import NamedTuple

import uvloop


class Answer(NamedTuple):
    status: int
    body: bytes


class Connection:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, request: bytes) -> Answer:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        start = head.lower().index(b"content-length:") + 15
        length = int(head[start : head.index(b"\r", start)])
        return Answer(status, await self._reader.readexactly(length) if length else b"")

    def close(self) -> None:
        self._writer.close()


def request(method: str, path: str, *, token: str = "", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Load(NamedTuple):
    """`rate` in requests a second; latencies in milliseconds, sorted."""

    seconds: float
    rate: float
    latencies: list[float]
    last_body: bytes


async def _load(port: int, message: bytes, count: int, connections: int, expect: int) -> Load:
    opened = [await Connection.open(port) for _ in range(connections)]
    latencies: list[float] = []
    last = b""
    todo: Iterator[int] = iter(range(count))

    async def work(connection: Connection) -> None:
        nonlocal last
        for _ in todo:
            begun = time.perf_counter()
            answer = await connection.send(message)
            latencies.append((time.perf_counter() - begun) * 1000)
            if answer.status != expect:
                raise RuntimeError(f"{answer.status}: {answer.body[:300]!r}")
            last = answer.body

    begun = time.perf_counter()
    await asyncio.gather(*map(work, opened))
    seconds = time.perf_counter() - begun
    for connection in opened:
        connection.close()
    return Load(seconds, count / seconds, sorted(latencies), last)


def load(port: int, message: bytes, *, count: int, connections: int = 32, expect: int) -> Load:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_load(port, message, count, connections, expect))


def call(port: int, message: bytes) -> Answer:
    async def once() -> Answer:
        connection = await Connection.open(port)
        answer = await connection.send(message)
        connection.close()
        return answer

    return asyncio.run(once())
