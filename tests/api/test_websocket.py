"""`/ws` as the specification's JavaScript uses it, and as somebody who means no good would."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from sutazai.api import live, sockets, websocket
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.events import streams
from sutazai.events.feed import EventFeed
from tests.api.server import (
    PATIENCE,
    Server,
    ended,
    new_user,
    on_a_socket,
    submit,
)

pytestmark = pytest.mark.anyio

JSON = dict[str, Any]


class Talker:
    """A client that says and hears JSON."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def hear(self) -> JSON:
        async with asyncio.timeout(PATIENCE):
            heard: JSON = json.loads(await self.socket.recv())
        return heard

    async def hear_until(self, kind: str, task_id: str | None = None) -> list[JSON]:
        """What comes up to the first message of a type, about this task if one is named."""
        heard: list[JSON] = []
        while True:
            heard.append(await self.hear())
            payload = heard[-1].get("payload", {})
            if heard[-1]["type"] == kind and task_id in (None, payload.get("task_id")):
                return heard

    async def log_in(self, token: str) -> None:
        await self.say(type="auth", token=token)
        assert await self.hear() == {"type": "auth.ok"}

    async def subscribe(self, *patterns: str, **more: Any) -> None:
        await self.say(type="subscribe", events=patterns, **more)
        told = await self.hear()
        while "id" in told:  # an event of the selection before, on its way already
            told = await self.hear()
        assert told == {"type": "subscribe.ok", "events": list(patterns)}

    async def closed(self) -> tuple[int | None, str | None]:
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    await self.socket.recv()
            await self.socket.wait_closed()
        return self.socket.close_code, self.socket.close_reason


@contextlib.asynccontextmanager
async def talking(port: int, **options: Any) -> AsyncIterator[Talker]:
    url = f"ws://127.0.0.1:{port}/ws"
    async with connect(url, open_timeout=PATIENCE, ping_interval=None, **options) as socket:
        yield Talker(socket)


def token_of(server: Server, role: str) -> str:
    authorization: str = server.clients[role].headers["authorization"]
    return authorization


async def test_a_task_is_followed_to_its_end(server: Server, port: int) -> None:
    async with talking(port) as client:
        # At once, without waiting for answers, as the specification's client does.
        await client.say(type="auth", token=token_of(server, "user"))
        await client.say(type="subscribe", events=["task.*", "agent.*"])
        assert await client.hear() == {"type": "auth.ok"}
        assert await client.hear() == {"type": "subscribe.ok", "events": ["task.*", "agent.*"]}
        task = await submit(server.user)
        heard: list[JSON] = []
        while not heard or heard[-1]["type"] != "task.completed":
            message = await client.hear()
            if message["payload"].get("task_id") == task["task_id"]:
                heard.append(message)
    assert [one["type"] for one in heard] == [
        "task.created",
        "task.assigned",
        "task.started",
        "task.completed",
    ]
    assert [one["id"] for one in heard] == sorted(one["id"] for one in heard)
    last = heard[-1]
    assert last.keys() == {"type", "payload", "timestamp", "id"}
    assert last["payload"] == {
        "task_id": task["task_id"],
        "type": "ping",
        "status": "completed",
        "attempt": 1,
        "assigned_agent": "master-coordinator",
    }


async def test_since_resumes_without_a_gap(server: Server, port: int) -> None:
    async with talking(port) as client:
        await client.log_in(token_of(server, "user"))
        await client.subscribe("task.*")
        first = await submit(server.user)
        heard = await client.hear_until("task.created", first["task_id"])
    await ended(server.user, first["task_id"])
    async with talking(port) as client:
        await client.log_in(token_of(server, "user"))
        await client.subscribe("task.*", since=heard[-1]["id"])
        again = await client.hear_until("task.completed", first["task_id"])
        assert again[0]["id"] > heard[-1]["id"]
        assert [one["type"] for one in again if one["payload"]["task_id"] == first["task_id"]] == [
            "task.assigned",
            "task.started",
            "task.completed",
        ]


async def test_another_subscribe_takes_the_place_of_the_first(server: Server, port: int) -> None:
    async with talking(port) as client:
        await client.log_in(token_of(server, "user"))
        await client.subscribe("task.completed")
        await submit(server.user)
        assert (await client.hear())["type"] == "task.completed"
        await client.subscribe("task.created")
        await submit(server.user)
        assert (await client.hear())["type"] == "task.created"
        await client.subscribe()
        await submit(server.user)
        await client.say(type="ping")
        assert await client.hear() == {"type": "pong"}


async def test_a_subscribe_that_failed_leaves_nothing_behind(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def out_of_reach(_: EventFeed) -> tuple[int, int]:
        raise SutazaiError(ErrorCode.DATABASE_ERROR, "The database is out of reach.")

    async with talking(port) as client:
        await client.log_in(token_of(server, "user"))
        await client.subscribe("task.*")
        with monkeypatch.context() as broken:
            broken.setattr(EventFeed, "bounds", out_of_reach)
            await client.say(type="subscribe", events=["task.*"], since=0)
            refused = (await client.hear_until("error"))[-1]
            assert refused["payload"]["code"] == "DATABASE_ERROR"
        await client.subscribe("task.*")
        task_id = (await submit(server.user))["task_id"]
        await client.hear_until("task.completed", task_id)


async def test_what_a_listener_may_not_read_never_reaches_it(server: Server, port: int) -> None:
    # Somebody to whom nothing happens but what happens here.
    listener = await new_user(server, "listens-to-a-socket", "user")
    token = listener.headers["authorization"]
    _, before = await server.application.services.events.bounds()
    async with talking(port) as client, talking(port) as admin:
        for one, key in ((client, token), (admin, token_of(server, "admin"))):
            await one.log_in(key)
            await one.subscribe("*")
        stranger = await new_user(server, "a-stranger", "viewer")
        task = await submit(listener)
        told = await client.hear_until("task.completed", task["task_id"])
        everything = await admin.hear_until("task.completed", task["task_id"])
        await stranger.aclose()
    assert "user.created" in {one["type"] for one in everything}
    assert {one["type"].partition(".")[0] for one in told} == {"task"}
    # From the log, too.
    async with talking(port) as client:
        await client.log_in(token)
        await client.subscribe("*", since=before)
        told = await client.hear_until("task.completed", task["task_id"])
        assert {one["type"].partition(".")[0] for one in told} == {"task"}
    await listener.aclose()


@pytest.mark.parametrize("token", ["Bearer nonsense", "", "sk-sutazai-nonsense", "Bearer " * 900])
async def test_a_bad_token_closes_with_1008(server: Server, port: int, token: str) -> None:
    async with talking(port) as client:
        await client.say(type="auth", token=token)
        code, reason = await client.closed()
        assert code == 1008
        assert reason


async def test_no_auth_in_time_closes_with_1008(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "AUTH_SECONDS", 0.05)
    async with talking(port) as client:
        assert await client.closed() == (1008, "No auth within 0.05 s.")


async def test_without_auth_there_is_no_subscription(server: Server, port: int) -> None:
    async with talking(port) as client:
        await client.say(type="subscribe", events=["*"])
        answer = await client.hear()
        assert answer["type"] == "error"
        assert answer["payload"]["code"] == "UNAUTHORIZED"
        await client.say(type="ping")
        assert await client.hear() == {"type": "pong"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"auth"',
        "{}",
        '{"type": 1}',
        '{"type": "nonsense"}',
        '{"type": "auth"}',
        '{"type": "auth", "token": 7}',
        '{"type": "subscribe", "events": "task.*"}',
        '{"type": "subscribe", "events": [1]}',
        '{"type": "subscribe", "since": "7"}',
        '{"type": "subscribe", "event": ["a"]}',
        "[" * 100_000,
        '{"type": "ping", "x": ' + "[" * 50_000 + "]" * 50_000 + "}",
        '{"type": "ping", "x": "\\ud800"}',
    ],
)
async def test_what_is_not_understood_is_told_and_survived(
    server: Server, port: int, text: str
) -> None:
    async with talking(port) as client:
        await client.log_in(token_of(server, "user"))
        await client.socket.send(text)
        answer = await client.hear()
        if answer["type"] != "pong":
            assert answer["type"] == "error"
            assert answer["payload"].keys() >= {"code", "message", "timestamp", "request_id"}
        await client.subscribe("task.*")


@pytest.mark.parametrize(
    "wrong",
    [{"events": ["Task"]}, {"events": ["x"] * 51}, {"since": -1}, {"since": 2**62}],
)
async def test_a_wrong_field_is_named(server: Server, port: int, wrong: JSON) -> None:
    async with talking(port) as client:
        await client.log_in(token_of(server, "user"))
        await client.say(type="subscribe", **wrong)
        payload = (await client.hear())["payload"]
        assert payload["code"] == "VALIDATION_ERROR"
        assert [detail["field"] for detail in payload["details"]] == list(wrong)


async def test_frames_that_are_no_text_or_too_long_end_the_connection(
    server: Server, port: int
) -> None:
    async with talking(port) as client:
        await client.socket.send(b"\x00\xff")
        assert (await client.closed())[0] == 1003
    async with talking(port, max_size=None) as client:
        with contextlib.suppress(websockets.ConnectionClosed):
            await client.socket.send("x" * 10_000_000)
        assert (await client.closed())[0] == 1009


async def test_a_flood_ends_the_connection(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MOST_MESSAGES", 20)
    async with talking(port) as client:
        with contextlib.suppress(websockets.ConnectionClosed):
            for _ in range(50):
                await client.say(type="ping")
        assert (await client.closed())[0] == 1008


async def test_a_session_that_ends_ends_the_connection(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "RECHECK_SECONDS", 0.05)
    someone = await new_user(server, "leaves-the-socket", "user")
    async with talking(port) as client:
        await client.log_in(someone.headers["authorization"])
        await client.subscribe("*")
        assert (await someone.post("/auth/logout")).status_code == 204
        code, reason = await client.closed()
    assert code == 1008
    assert reason is not None
    assert "session has ended" in reason
    await someone.aclose()


async def test_a_role_that_is_taken_away_narrows_what_is_heard(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "RECHECK_SECONDS", 0.05)
    someone = await new_user(server, "loses-a-role", "admin")
    user_id = (await someone.get("/auth/me")).json()["user_id"]
    other_id = (await server.user.get("/auth/me")).json()["user_id"]
    async with talking(port) as client:
        await client.log_in(someone.headers["authorization"])
        await client.subscribe("user.*", "task.created")
        changed = await server.admin.patch(f"/users/{user_id}", json={"roles": ["viewer"]})
        assert changed.status_code == 200
        heard = ["user.updated"]
        while "user.updated" in heard:  # until the next look at who listens
            tier = {"tier": "standard"}
            assert (await server.admin.patch(f"/users/{other_id}", json=tier)).status_code == 200
            task = await submit(server.user)
            told = await client.hear_until("task.created", task["task_id"])
            heard = [one["type"] for one in told]
    await someone.aclose()


async def test_an_api_key_is_as_good_as_a_token(server: Server, port: int) -> None:
    made = await server.user.post("/auth/keys", json={"name": "for the socket"})
    async with talking(port) as client:
        await client.log_in(made.json()["api_key"])
        await client.log_in("Bearer " + made.json()["api_key"])


async def test_who_does_not_read_is_cut_off_and_nobody_else_is_held_up(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_QUEUED", 20)
    monkeypatch.setattr(websocket, "SEND_SECONDS", 0.2)
    big = {"text": "x" * 200_000}
    async with talking(port) as reader:
        await reader.log_in(token_of(server, "user"))
        await reader.subscribe("task.completed")
        slow, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.get_extra_info("socket").setsockopt(1, 8, 4096)  # SO_RCVBUF
        await _subscribed_by_hand(slow, writer, token_of(server, "user"))
        for _ in range(30):
            task = await submit(server.user, metadata=big)
            await ended(server.user, task["task_id"])
            await reader.hear_until("task.completed", task["task_id"])
    writer.close()


async def _subscribed_by_hand(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str
) -> None:
    """A WebSocket that says what it must and never reads again."""
    head = (
        "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    writer.write(head.encode())
    await reader.readuntil(b"\r\n\r\n")
    for message in ({"type": "auth", "token": token}, {"type": "subscribe", "events": ["*"]}):
        data = json.dumps(message).encode()
        size = len(data)
        writer.write(bytes([0x81, 0x80 | 126]) + size.to_bytes(2, "big") + b"\0\0\0\0" + data)
    await writer.drain()


async def test_a_stop_says_1012(fresh_server: Server) -> None:
    async with on_a_socket(fresh_server.application) as port:
        client = await connect(f"ws://127.0.0.1:{port}/ws")
        talker = Talker(client)
        await talker.log_in(token_of(fresh_server, "user"))
        await talker.subscribe("*")
        stranger = await connect(f"ws://127.0.0.1:{port}/ws")
    told = (1012, "The server is stopping. Connect again in a moment.")
    assert await talker.closed() == told
    assert await Talker(stranger).closed() == told


async def test_other_paths_are_no_sockets(server: Server, port: int) -> None:
    for path in ("/", "/ws/", "/api/v1/ws", "/api/v1/tasks", "/nowhere"):
        with pytest.raises(websockets.InvalidStatus):
            async with connect(f"ws://127.0.0.1:{port}{path}"):
                pass
