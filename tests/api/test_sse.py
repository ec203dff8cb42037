"""`/api/v1/events/stream` and its tickets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx2
import pytest

from sutazai import clock
from sutazai.api import live, sse
from sutazai.events import log, streams
from sutazai.events.model import SYSTEM, NewEvent
from sutazai.identity import service
from tests.api.server import (
    PATIENCE,
    Server,
    ended,
    error_of,
    new_user,
    on_a_socket,
    submit,
    wrong_fields,
)

pytestmark = pytest.mark.anyio

JSON = dict[str, Any]


class Told(NamedTuple):
    """One block of a stream."""

    id: int | None
    event: str
    data: str

    @property
    def json(self) -> JSON:
        value: JSON = json.loads(self.data)
        return value


class Stream:
    """Blocks of a stream, taken apart as the standard says."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> Told | None:
        """The next block; None at the end."""
        number: int | None = None
        event, data = "message", []
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "id":
                    number = int(value)
                elif name == "event":
                    event = value
                elif name == "data":
                    data.append(value)
                elif not line:
                    return Told(number, event, "\n".join(data))
        return None

    async def message(self) -> Told:
        """The next block that is no heartbeat."""
        while True:
            told = await self.next()
            assert told is not None
            if told.event != "ping":
                return told

    async def until(self, kind: str, task_id: str) -> list[Told]:
        """Everything up to this event of this task."""
        found = []
        while True:
            found.append(await self.message())
            shown = found[-1].json
            if shown.get("event_type") == kind and shown["data"].get("task_id") == task_id:
                return found


@contextlib.asynccontextmanager
async def listening(
    port: int, client: httpx2.AsyncClient | None, query: str = "", **headers: str
) -> AsyncIterator[Stream]:
    if client is not None:
        headers["authorization"] = client.headers["authorization"]
    async with httpx2.AsyncClient(timeout=PATIENCE) as http:
        url = f"http://127.0.0.1:{port}/api/v1/events/stream{query}"
        async with http.stream("GET", url, headers=headers) as response:
            yield Stream(response)


async def test_the_stream_is_as_the_specification_shows(server: Server, port: int) -> None:
    async with listening(port, server.user) as stream:
        assert stream.response.status_code == 200
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.response.headers["cache-control"] == "no-cache"
        assert stream.response.headers["x-accel-buffering"] == "no"
        first = await stream.next()
        assert first is not None
        assert (first.event, first.data) == ("ping", "")
        task = await submit(server.user)
        told = await stream.until("task.completed", task["task_id"])
    assert told[-1].event == "message"
    assert told[-1].json.keys() == {"event_type", "timestamp", "data"}
    assert told[-1].json["data"]["status"] == "completed"
    ids = [one.id for one in told if one.id is not None]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("how", ["header", "query", "both"])
async def test_it_resumes_after_the_last_id(server: Server, port: int, how: str) -> None:
    task = await submit(server.user)
    await ended(server.user, task["task_id"])
    async with listening(port, server.user, "?last_event_id=0") as stream:
        told = await stream.until("task.completed", task["task_id"])
    cut = told[-3]
    query = {"header": "", "query": f"?last_event_id={cut.id}", "both": "?last_event_id=1"}[how]
    headers = {} if how == "query" else {"last-event-id": str(cut.id)}
    async with listening(port, server.user, query, **headers) as stream:
        assert await stream.until("task.completed", task["task_id"]) == told[-2:]


@pytest.mark.parametrize("beats", [0.05, 30.0])
async def test_who_heard_nothing_yet_resumes_from_where_it_began(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch, beats: float
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", beats)
    before = await submit(server.user)
    async with listening(port, server.user, "?last_event_id=0") as stream:
        await stream.until("task.completed", before["task_id"])
    async with listening(port, server.user, "?events=task.*") as stream:
        first = await stream.next()
        if beats < 1:
            first = await stream.next()
    assert first is not None
    assert first.event == "ping"
    task = await submit(server.user)
    async with listening(port, server.user, "", **{"last-event-id": str(first.id)}) as stream:
        told = await stream.until("task.completed", task["task_id"])
    kinds = [one.json["event_type"] for one in told if task["task_id"] in one.data]
    assert kinds == ["task.created", "task.assigned", "task.started", "task.completed"]
    assert not any(before["task_id"] in one.data for one in told)


@pytest.mark.parametrize("query", ["?events=task.completed", "?events=agent.*,task.completed"])
async def test_patterns_select(server: Server, port: int, query: str) -> None:
    async with listening(port, server.user, query) as stream:
        await stream.next()
        task = await submit(server.user)
        told = await stream.until("task.completed", task["task_id"])
    assert {one.json["event_type"] for one in told} == {"task.completed"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?events=Task", "events"),
        ("?events=", "events"),
        ("?" + "events=a&" * 51, "events"),
        ("?last_event_id=-1", "last_event_id"),
        ("?last_event_id=x", "last_event_id"),
        ("?last_event_id=" + "9" * 30, "last_event_id"),
    ],
)
async def test_wrong_parameters_are_named(server: Server, query: str, field: str) -> None:
    answer = await server.user.get(f"/events/stream{query}")
    assert list(wrong_fields(answer)) == [field]


async def test_heartbeats_move_the_cursor_on(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.05)
    async with (
        listening(port, server.user, "?events=workflow.*") as quiet,
        listening(port, server.user, "?events=task.*") as other,
    ):
        await quiet.next()
        await other.next()
        task = await submit(server.user)
        newest = (await other.until("task.completed", task["task_id"]))[-1].id
        assert newest is not None
        while True:
            told = await quiet.next()
            assert told is not None
            assert (told.event, told.data) == ("ping", "")
            if told.id is not None and told.id >= newest:
                break


async def test_a_cursor_older_than_what_is_kept_is_reset(fresh_server: Server) -> None:
    database = fresh_server.application.services.events._database
    for _ in range(3):
        task = await submit(fresh_server.user)
        await ended(fresh_server.user, task["task_id"])
    kept = await database.read(log.oldest_id)
    assert kept is not None
    await database.run(
        lambda connection: (
            connection.execute(log.EVENTS.delete().where(log.EVENTS.c.id < kept + 8)).rowcount
        )
    )
    async with (
        on_a_socket(fresh_server.application) as port,
        listening(port, fresh_server.user, f"?last_event_id={kept + 1}") as stream,
    ):
        told = await stream.message()
        assert (told.event, told.id) == ("reset", kept + 7)
        assert told.json["goes_on_after"] == kept + 7
        first = (await stream.message()).id
        assert first is not None
        assert first >= kept + 8


async def test_it_resumes_across_a_restart_and_a_stop_ends_it_at_once(
    fresh_server: Server,
) -> None:
    async with on_a_socket(fresh_server.application) as port:
        listens = listening(port, fresh_server.user)
        stream = await listens.__aenter__()
        await stream.next()
        task = await submit(fresh_server.user)
        told = await stream.until("task.completed", task["task_id"])
    # The block's end stops the server, and waits for it, with the stream open.
    rest = []
    while (one := await stream.next()) is not None:
        rest.append(one)
    assert rest[-1].event == "closed"
    assert rest[-1].json["code"] == "SERVICE_UNAVAILABLE"
    await listens.__aexit__(None, None, None)
    assert told[-1].id is not None


# --- who listens


async def test_without_a_credential_there_is_no_stream(server: Server) -> None:
    error_of(await server.anonymous.get("/events/stream"), 401, "UNAUTHORIZED")
    answer = await server.anonymous.get(
        "/events/stream", headers={"authorization": "Bearer nonsense"}
    )
    error_of(answer, 401, "UNAUTHORIZED")
    error_of(await server.anonymous.post("/events/tickets"), 401, "UNAUTHORIZED")


async def test_a_ticket_opens_one_stream(server: Server, port: int) -> None:
    made = await server.user.post("/events/tickets")
    assert made.status_code == 201
    assert made.json()["expires_in"] == 30
    ticket = made.json()["ticket"]
    async with listening(port, None, f"?ticket={ticket}&events=task.*") as stream:
        assert stream.response.status_code == 200
        task = await submit(server.user)
        await stream.until("task.completed", task["task_id"])
    again = await server.anonymous.get(f"/events/stream?ticket={ticket}")
    assert "used" in error_of(again, 401, "UNAUTHORIZED")["message"]


async def test_a_ticket_is_good_for_nothing_else(server: Server) -> None:
    ticket = (await server.user.post("/events/tickets")).json()["ticket"]
    bearer = {"authorization": f"Bearer {ticket}"}
    for path in ("/tasks", "/events/stream", "/auth/me"):
        error_of(await server.anonymous.get(path, headers=bearer), 401, "UNAUTHORIZED")
    refreshed = await server.anonymous.post("/auth/refresh", json={"refresh_token": ticket})
    error_of(refreshed, 401, "UNAUTHORIZED")
    access = server.user.headers["authorization"].removeprefix("Bearer ")
    for wrong in (access, "nonsense", ""):
        answer = await server.anonymous.get("/events/stream", params={"ticket": wrong})
        error_of(answer, 401, "UNAUTHORIZED")


async def test_a_ticket_does_not_last(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = (await server.user.post("/events/tickets")).json()["ticket"]
    monkeypatch.setattr(service, "TICKET_SECONDS", 0)
    answer = await server.anonymous.get("/events/stream", params={"ticket": ticket})
    error_of(answer, 401, "UNAUTHORIZED")


async def test_a_ticket_got_by_an_api_key_ends_with_the_key(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "RECHECK_SECONDS", 0.05)
    key = (await server.user.post("/auth/keys", json={"name": "for a stream"})).json()
    made = await server.anonymous.post("/events/tickets", headers={"x-api-key": key["api_key"]})
    ticket = made.json()["ticket"]
    async with listening(port, None, f"?ticket={ticket}&events=workflow.*") as stream:
        await stream.next()
        assert (await server.user.delete(f"/auth/keys/{key['key_id']}")).status_code == 204
        told = await stream.message()
        assert told.event == "closed"
        assert told.json["code"] == "UNAUTHORIZED"
        assert await stream.next() is None


async def test_a_session_that_ends_ends_the_stream(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "RECHECK_SECONDS", 0.05)
    someone = await new_user(server, "leaves-the-stream", "user")
    async with listening(port, someone, "?events=workflow.*") as stream:
        await stream.next()
        assert (await someone.post("/auth/logout")).status_code == 204
        told = await stream.message()
        assert (told.event, told.json["code"]) == ("closed", "UNAUTHORIZED")
        assert await stream.next() is None
    await someone.aclose()


async def test_what_a_listener_may_not_read_never_reaches_it(server: Server, port: int) -> None:
    # Somebody to whom nothing happens but what happens here.
    listener = await new_user(server, "listens-to-a-stream", "user")
    _, before = await server.application.services.events.bounds()
    stranger = await new_user(server, "a-stranger-to-streams", "viewer")
    await stranger.aclose()
    others = await submit(server.admin)
    async with listening(port, listener, f"?last_event_id={before}") as stream:
        task = await submit(listener)
        told = await stream.until("task.completed", task["task_id"])
    async with listening(port, server.admin, f"?last_event_id={before}") as stream:
        everything = await stream.until("task.completed", task["task_id"])
    await listener.aclose()
    assert "user.created" in {one.json["event_type"] for one in everything}
    # Everybody reads tasks, and nobody but admins what tells of others' accounts.
    assert {one.json["event_type"].partition(".")[0] for one in told} == {"task"}
    assert others["task_id"] in {one.json["data"]["task_id"] for one in told}


async def test_who_does_not_read_is_cut_off(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_QUEUED", 5)
    monkeypatch.setattr(sse, "SEND_SECONDS", 0.2)
    fan = server.application.services.streams
    others = set(fan._subscriptions)
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(
        b"GET /api/v1/events/stream?last_event_id=0 HTTP/1.1\r\nHost: x\r\nAuthorization: "
        + server.admin.headers["authorization"].encode()
        + b"\r\n\r\n"
    )
    async with asyncio.timeout(PATIENCE):
        while not fan._subscriptions - others:  # noqa: ASYNC110  # as below
            await asyncio.sleep(0.01)  # until the server has read that; it tells nobody
    database = server.application.services.events._database
    large = [NewEvent("test.large", {"text": "x" * 60_000}, SYSTEM, "tasks") for _ in range(50)]
    for _ in range(100):  # far more than any buffer between the two holds
        await database.run(lambda connection: log.append(connection, large, now=clock.now()))
        if not fan._subscriptions - others:
            break
    async with asyncio.timeout(PATIENCE):
        while fan._subscriptions - others:  # noqa: ASYNC110  # as below
            await asyncio.sleep(0.01)  # until the server has had enough of it
    await database.run(
        lambda connection: (
            connection.execute(
                log.EVENTS.delete().where(log.EVENTS.c.event_type == "test.large")
            ).rowcount
        )
    )
    writer.close()


async def test_who_goes_leaves_nothing_behind(server: Server, port: int) -> None:
    fan = server.application.services.streams
    others = set(fan._subscriptions)
    for query in ("", "?last_event_id=0", "?events=workflow.*", "?last_event_id=0&events=task.*"):
        for _ in range(5):
            async with listening(port, server.admin, query) as stream:
                await stream.next()
    async with asyncio.timeout(PATIENCE):
        while fan._subscriptions - others:  # noqa: ASYNC110  # the server tells nobody
            await asyncio.sleep(0.01)  # and it looks again
