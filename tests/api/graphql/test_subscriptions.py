"""Subscriptions over graphql-transport-ws, with good clients and bad ones."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from sutazai.api import live, sockets
from sutazai.api.graphql import socket
from sutazai.cli.wire import WireProtocol
from tests.api.agents import Obedient
from tests.api.server import (
    JSON,
    PATIENCE,
    Server,
    ended,
    new_user,
    on_a_socket,
    submit,
)
from tests.api.workflows import begun, obey, step

EVENTS = "subscription($patterns: [String!], $since: ID) { events(patterns: $patterns, since: $since) { id eventType timestamp actor requestId data } }"  # noqa: E501  # one query
EXECUTION = "subscription($id: String!) { execution(executionId: $id) { status stepsCompleted steps { status } } }"  # noqa: E501  # one query
TASK = "subscription($id: String!) { task(taskId: $id) { taskId status progress result } }"


class Talker:
    """A client of the protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, type_: str, **more: Any) -> None:
        await self.connection.send(json.dumps({"type": type_, **more}))

    async def hear(self) -> JSON:
        async with asyncio.timeout(PATIENCE):
            heard: JSON = json.loads(await self.connection.recv())
        return heard

    async def begin(self, token: str) -> None:
        await self.say("connection_init", payload={"Authorization": token})
        assert await self.hear() == {"type": "connection_ack"}

    async def subscribe(self, name: str, query: str, **variables: Any) -> None:
        payload = {"query": query, "variables": variables}
        await self.say("subscribe", id=name, payload=payload)

    async def answered(self) -> None:
        """Whatever was said before has been heard: an answer to a wrong subscription says so."""
        await self.subscribe("settled", "subscription { nonsense }")
        while (await self.hear())["id"] != "settled":
            pass

    async def settled(self, server: Server) -> None:
        """The subscription before is under way: the protocol has no answer that says so."""
        await self.answered()
        fan = server.application.services.streams
        async with asyncio.timeout(PATIENCE):
            while True:
                if fan._subscriptions and fan._unsubscribe is not None:
                    return
                await asyncio.sleep(0.01)  # asks again; nobody is told

    async def event(self, kind: str, task_id: str | None = None) -> JSON:
        """The next event of a type, about this task if one is named."""
        while True:
            heard = await self.hear()
            assert heard["type"] == "next", heard
            event: JSON = heard["payload"]["data"]["events"]
            if event["eventType"] == kind and task_id in (None, event["data"].get("task_id")):
                return event

    async def refusal(self, name: str) -> JSON:
        """The one error that a subscription ends with."""
        heard = await self.hear()
        assert (heard["type"], heard["id"]) == ("error", name), heard
        assert len(heard["payload"]) == 1
        error: JSON = heard["payload"][0]
        assert error["extensions"].keys() >= {"code", "requestId", "timestamp"}
        return error

    async def closed(self) -> int | None:
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    await self.connection.recv()
            await self.connection.wait_closed()
        return self.connection.close_code


@contextlib.asynccontextmanager
async def talking(
    port: int, protocol: str | None = socket.PROTOCOL, **options: Any
) -> AsyncIterator[Talker]:
    offered = None if protocol is None else [Subprotocol(protocol)]
    url = f"ws://127.0.0.1:{port}/graphql"
    patient: dict[str, Any] = {"open_timeout": PATIENCE, "ping_interval": None, **options}
    async with connect(url, subprotocols=offered, **patient) as connection:
        yield Talker(connection)


def token_of(server: Server, role: str) -> str:
    authorization: str = server.clients[role].headers["authorization"]
    return authorization


async def test_events_come_as_they_happen_and_again_from_an_id_on(
    server: Server, port: int
) -> None:
    async with talking(port) as client:
        await client.begin(token_of(server, "user"))
        await client.subscribe("a", EVENTS, patterns=["task.*"])
        await client.settled(server)
        task = (await submit(server.user))["task_id"]
        created = await client.event("task.created", task)
        completed = await client.event("task.completed", task)
    assert int(created["id"]) < int(completed["id"])
    assert completed["data"]["status"] == "completed"
    assert created["requestId"].startswith("req-")
    async with talking(port) as client:
        await client.begin(token_of(server, "user"))
        await client.subscribe("a", EVENTS, since=created["id"])
        assert await client.event("task.completed", task) == completed


async def test_a_task_is_followed_to_its_end(server: Server, port: int, obedient: Obedient) -> None:
    task = (await submit(server.user, "obey", metadata={"do": "report"}))["task_id"]
    await obedient.running.wait()
    async with talking(port) as client:
        await client.begin(token_of(server, "user"))
        await client.subscribe("t", TASK, id=task)
        seen: list[JSON] = []
        while not seen or seen[-1]["progress"] != 65:
            seen.append((await client.hear())["payload"]["data"]["task"])
        assert seen[-1] == {"taskId": task, "status": "processing", "progress": 65, "result": None}
        obedient.gate.set()
        while seen[-1]["status"] != "completed":
            seen.append((await client.hear())["payload"]["data"]["task"])
        assert seen[-1]["result"]["attempt"] == 1
        assert await client.hear() == {"type": "complete", "id": "t"}
        # Its name is free again, and a task that has ended is told once.
        await client.subscribe("t", TASK, id=task)
        assert (await client.hear())["payload"]["data"]["task"]["status"] == "completed"
        assert await client.hear() == {"type": "complete", "id": "t"}


async def test_an_execution_is_followed_to_its_end(
    server: Server, port: int, obedient: Obedient
) -> None:
    execution = await begun(server.developer, obey("a", "wait"), step("b", "a"))
    await obedient.running.wait()
    async with talking(port) as client:
        await client.begin(token_of(server, "developer"))
        await client.subscribe("e", EXECUTION, id=execution)
        seen = [(await client.hear())["payload"]["data"]["execution"]]
        assert seen[0]["status"] == "running"
        assert [one["status"] for one in seen[0]["steps"]] == ["running", "pending"]
        obedient.gate.set()
        while seen[-1]["status"] == "running":
            seen.append((await client.hear())["payload"]["data"]["execution"])
        assert [one["status"] for one in seen[-1]["steps"]] == ["completed", "completed"]
        assert seen[-1]["stepsCompleted"] == 2
        assert await client.hear() == {"type": "complete", "id": "e"}
    async with talking(port) as client:
        await client.begin(token_of(server, "viewer"))
        await client.subscribe("e", EXECUTION, id=execution)
        assert (await client.refusal("e"))["extensions"]["code"] == "FORBIDDEN"


async def test_several_subscriptions_share_a_connection_and_end_alone(
    server: Server, port: int
) -> None:
    async with talking(port) as client:
        await client.begin(token_of(server, "user"))
        await client.subscribe("a", EVENTS, patterns=["task.created"], since="0")
        assert (await client.hear())["id"] == "a"
        await client.say("complete", id="a")
        await client.answered()
        later = (await submit(server.user, run_at="2999-01-01T00:00:00Z"))["task_id"]
        await client.subscribe("b", TASK, id=later)
        assert (await client.hear())["id"] == "b"
        await server.user.delete(f"/tasks/{later}")
        heard = await client.hear()
        assert (heard["id"], heard["payload"]["data"]["task"]["status"]) == ("b", "cancelled")


@pytest.mark.parametrize("name", ["Authorization", "authorization", "token", "X-API-Key"])
async def test_a_token_or_a_key_opens_it_under_several_names(
    server: Server, port: int, name: str
) -> None:
    token = token_of(server, "user")
    async with talking(port) as client:
        payload = {name: token.removeprefix("Bearer ") if name == "token" else token}
        await client.say("connection_init", payload=payload)
        assert await client.hear() == {"type": "connection_ack"}


async def test_the_handshakes_header_opens_it_too(server: Server, port: int) -> None:
    headers = {"Authorization": token_of(server, "user")}
    async with talking(port, additional_headers=headers) as client:
        await client.say("connection_init")
        assert await client.hear() == {"type": "connection_ack"}
        await client.say("ping")
        assert await client.hear() == {"type": "pong"}
        await client.say("pong")


@pytest.mark.parametrize("payload", [None, {}, {"token": "nonsense"}, {"token": 1}, {"token": " "}])
async def test_without_a_valid_credential_it_is_closed(
    server: Server, port: int, payload: Any
) -> None:
    async with talking(port) as client:
        await client.say("connection_init", payload=payload)
        assert await client.closed() == 4403


async def test_silence_is_not_waited_for_long(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "INIT_SECONDS", 0.05)
    async with talking(port) as client:
        assert await client.closed() == 4408


async def test_the_order_of_the_protocol_is_kept(server: Server, port: int) -> None:
    token = token_of(server, "user")
    async with talking(port) as client:
        await client.subscribe("a", EVENTS)
        assert await client.closed() == 4401
    async with talking(port) as client:
        await client.begin(token)
        await client.say("connection_init", payload={"token": token})
        assert await client.closed() == 4429
    async with talking(port) as client:
        await client.begin(token)
        await client.subscribe("a", EVENTS)
        await client.subscribe("a", EVENTS)
        assert await client.closed() == 4409


@pytest.mark.parametrize("protocol", [None, "graphql-ws"])
async def test_another_protocol_is_refused(server: Server, port: int, protocol: str | None) -> None:
    with contextlib.suppress(websockets.NegotiationError):
        async with talking(port, protocol) as client:
            assert await client.closed() == 4406


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"type": "nonsense"}',
        '{"type": "subscribe"}',
        '{"type": "subscribe", "id": 1, "payload": {"query": "{ me { userId } }"}}',
        '{"type": "subscribe", "id": "", "payload": {"query": "{ me { userId } }"}}',
        '{"type": "subscribe", "id": "a", "payload": "x"}',
        '{"type": "subscribe", "id": "a", "payload": {}}',
        '{"type": "subscribe", "id": "a", "payload": {"query": 1}}',
        '{"type": "subscribe", "id": "a", "payload": {"query": "x", "variables": []}}',
        '{"type": "complete"}',
        '{"type": "connection_init", "payload": []}',
        "[" * 100_000,
        '{"type": "ping", "payload": ' + "[" * 50_000 + "]" * 50_000 + "}",
        '{"type": "subscribe", "payload": {"query": "x", "variables": {"x": '
        + "[" * 50_000
        + "]" * 50_000
        + '}}, "id": "a"}',
        b"\x00\x01",
        b'{"type": "ping"}',
    ],
    ids=lambda frame: str(frame[:60]),
)
async def test_a_frame_that_is_no_message_ends_it(
    server: Server, port: int, frame: str | bytes
) -> None:
    async with talking(port) as client:
        await client.begin(token_of(server, "user"))
        await client.connection.send(frame)
        assert await client.closed() == 4400


async def test_frames_beyond_all_measure_end_it(server: Server, port: int) -> None:
    async with talking(port) as client:
        with contextlib.suppress(websockets.ConnectionClosed):
            await client.connection.send("x" * 10_000_000)
        assert await client.closed() == 1009


async def test_a_flood_ends_it(server: Server, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MOST_MESSAGES", 20)
    async with talking(port) as client:
        with contextlib.suppress(websockets.ConnectionClosed):
            for _ in range(50):
                await client.say("ping")
        assert await client.closed() == 4429


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ me { userId } }", "BAD_REQUEST"),
        ('mutation { createTask(type: "ping", description: "x") { taskId } }', "BAD_REQUEST"),
        ("subscription {", "BAD_REQUEST"),
        ("", "BAD_REQUEST"),
        (" ", "BAD_REQUEST"),
        ("subscription { " + "events { id } " * 400 + "}", "BAD_REQUEST"),
        ("subscription A { events { id } } subscription B { events { id } }", "BAD_REQUEST"),
        ("subscription { nonsense }", "VALIDATION_ERROR"),
        ("subscription { events { id } task(taskId: 1) { status } }", "VALIDATION_ERROR"),
        ("subscription { __typename }", "VALIDATION_ERROR"),
        ('subscription { events(patterns: ["!"]) { id } }', "VALIDATION_ERROR"),
        ('subscription { events(since: "x") { id } }', "VALIDATION_ERROR"),
        ("subscription { events(since: -1) { id } }", "VALIDATION_ERROR"),
        ('subscription { events(since: "9999999999999999999") { id } }', "VALIDATION_ERROR"),
        ('subscription { task(taskId: "x") { status } }', "VALIDATION_ERROR"),
        (
            'subscription { task(taskId: "01a20af4-87b8-77fe-ac03-3a69b1fb45d4") { status } }',
            "NOT_FOUND",
        ),
    ],
    ids=lambda text: text[:70],
)
async def test_what_cannot_be_subscribed_to_is_told_and_the_rest_goes_on(
    server: Server, port: int, query: str, code: str
) -> None:
    async with talking(port) as client:
        await client.begin(token_of(server, "user"))
        await client.say("subscribe", id="a", payload={"query": query})
        heard = await client.hear()
        assert (heard["type"], heard["id"]) == ("error", "a"), heard
        assert heard["payload"][0]["extensions"]["code"] == code
        await client.subscribe("a", EVENTS, since="0")
        assert (await client.hear())["type"] == "next"


async def test_a_connection_has_so_many_subscriptions_and_no_more(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "MOST_SUBSCRIPTIONS", 3)
    async with talking(port) as client:
        await client.begin(token_of(server, "user"))
        for name in "abc":
            await client.subscribe(name, EVENTS, patterns=["nothing"])
        await client.subscribe("d", EVENTS)
        assert (await client.refusal("d"))["extensions"]["code"] == "BAD_REQUEST"
        await client.say("complete", id="a")
        await client.subscribe("d", EVENTS, since="0")
        assert (await client.hear())["type"] == "next"


async def test_nobody_hears_what_they_may_not_read(server: Server, port: int) -> None:
    async with talking(port) as viewer, talking(port) as admin:
        for client, role in ((viewer, "viewer"), (admin, "admin")):
            await client.begin(token_of(server, role))
            await client.subscribe("a", EVENTS, patterns=["user.*", "agent.*", "task.*"])
            await client.settled(server)
        await server.admin.post("/auth/keys", json={"name": "told to admins"})
        user_id = (await server.user.get("/auth/me")).json()["user_id"]
        await server.admin.patch(f"/users/{user_id}", json={"tier": "free"})
        task = (await submit(server.user))["task_id"]
        await admin.event("user.updated")
        heard = ""
        while heard != "task.completed":
            heard = (await viewer.hear())["payload"]["data"]["events"]["eventType"]
            assert heard.startswith("task.")
        await ended(server.user, task)


async def test_a_session_that_ends_ends_the_connection(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "RECHECK_SECONDS", 0.05)
    someone = await new_user(server, "leaves-the-graph", "user")
    async with talking(port) as client:
        await client.begin(someone.headers["authorization"])
        await client.subscribe("a", EVENTS, patterns=["nothing"])
        assert (await someone.post("/auth/logout")).status_code == 204
        assert await client.closed() == 4401


async def test_who_does_not_read_is_cut_off(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SEND_SECONDS", 0.2)
    cut = asyncio.Event()
    inner = WireProtocol.cut

    def cutting(self: WireProtocol, code: int, reason: str) -> None:
        inner(self, code, reason)
        cut.set()

    monkeypatch.setattr(WireProtocol, "cut", cutting)
    client = await new_user(server, "graph-slow", "user")
    metadata = {"text": "x" * 2_000_000}
    task = (await submit(client, metadata=metadata, run_at="2999-01-01T00:00:00Z"))["task_id"]
    query = "subscription($id: String!) { task(taskId: $id) { metadata } }"
    async with talking(port, max_queue=1, max_size=None) as slow:
        await slow.begin(client.headers["authorization"])
        for n in range(8):
            await slow.subscribe(str(n), query, id=task)
        # Nothing of it is read until the server has given up.
        await cut.wait()
        assert await slow.closed() in (1006, 1013)  # as far as it still reads the reason


async def test_a_stop_says_1012(fresh_server: Server) -> None:
    async with on_a_socket(fresh_server.application) as port, talking(port) as client:
        await client.begin(token_of(fresh_server, "user"))
        await client.subscribe("a", EVENTS)
        await client.settled(fresh_server)
        fresh_server.application.services.streams.close()
        assert await client.closed() == 1012


async def test_a_cursor_that_is_not_in_the_log_is_told(server: Server, port: int) -> None:
    async with talking(port) as client:
        await client.begin(token_of(server, "user"))
        await client.subscribe("a", EVENTS, since="999999999999")
        event = (await client.hear())["payload"]["data"]["events"]
        assert event["eventType"] == "reset"
        assert event["data"]["since"] == 999999999999
