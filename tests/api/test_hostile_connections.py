"""Connections that are used as no client uses them, on a real socket."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect

from sutazai.cli.http import LONGEST_HEAD, HttpProtocol
from tests.api.server import PATIENCE, Server, on_a_socket

pytestmark = pytest.mark.anyio

_HEALTH = b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\n"


async def answer_to(port: int, *pieces: bytes) -> bytes:
    """All that the server says before it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE):
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                return await reader.read()
            except ConnectionError:  # it was closed while we were still sending
                return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "start", [_HEALTH + b"X-Long: ", b"GET /api/v1/health?"], ids=["a header", "an address"]
)
async def test_a_head_without_end_is_cut_off(port: int, start: bytes) -> None:
    # Far more than the sockets' buffers hold: without a limit this would never be answered.
    assert b"HTTP/1.1 200" not in await answer_to(port, start, *[b"a" * 65_536] * 500)


async def test_headers_over_the_limit_are_refused_in_the_envelope(port: int) -> None:
    # Not a byte more: the system throws an answer away with what its sender has not read yet.
    start = _HEALTH + b"X-Many: a\r\n" * 5_000 + b"X-Long: "
    answer = await answer_to(port, start + b"a" * (LONGEST_HEAD + 1 - len(start)))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    error = json.loads(body)["error"]
    assert error["code"] == "BAD_REQUEST"
    assert error["request_id"].startswith("req-")


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x00\xa5\r\n\r\n", b"FOO / HTTP/1.1\r\n\r\n", _HEALTH + b" folded\r\n\r\n"],
)
async def test_what_is_no_http_is_refused_in_the_envelope(port: int, sent: bytes) -> None:
    head, _, body = (await answer_to(port, sent)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "BAD_REQUEST"


async def test_who_says_nothing_is_let_go_and_who_listens_is_not(
    fresh_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HttpProtocol, "head_seconds", 0.2)
    async with (
        on_a_socket(fresh_server.application) as port,
        connect(f"ws://127.0.0.1:{port}/ws") as listening,
    ):
        assert await answer_to(port) == b""
        assert await answer_to(port, b"GET /api/v1/hea") == b""
        assert await answer_to(port, b"\r\n") == b""
        async with asyncio.timeout(PATIENCE):
            await (await listening.ping())
        answer = await answer_to(port, _HEALTH + b"Connection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK")
