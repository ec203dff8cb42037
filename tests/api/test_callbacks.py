"""Callbacks over HTTP: from a submission to the log of its delivery."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from standardwebhooks import Webhook

from tests.api.agents import Obedient
from tests.api.server import (
    JSON,
    PATIENCE,
    Server,
    ended,
    error_of,
    new_user,
    serving,
    settings_for,
    submit,
    wrong_fields,
)
from tests.features.callbacks.receiver import Receiver, receiving, status

INVALID = "VALIDATION_ERROR"
TASK = {"type": "ping", "description": "told", "metadata": {"say": "pong"}}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who listens."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def open_server(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> AsyncIterator[Server]:
    """A server that may call the loopback interface, with an agent that fails when told to."""
    settings = settings_for(
        data_dir, database_url, tmp_path, callback_allow="127.0.0.0/8", rate_limits=False
    )
    async with serving(settings, extra_agents=[Obedient()], roles=["user"]) as server:
        yield server


async def deliveries(client: httpx2.AsyncClient, **wanted: Any) -> list[JSON]:
    answer = await client.get("/callbacks/deliveries", params=wanted)
    assert answer.status_code == 200, answer.text
    found: list[JSON] = answer.json()["deliveries"]
    return found


async def delivery_of(client: httpx2.AsyncClient, task_id: str, state: str) -> JSON:
    """A task's delivery once it stands so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for one in await deliveries(client, task_id=task_id):
                if one["status"] == state:
                    return one
            await asyncio.sleep(0.01)  # asks again; the log announces nothing


async def test_every_end_is_told_signed_and_logged(open_server: Server, receiver: Receiver) -> None:
    user = open_server.user
    secret = (await user.post("/callbacks/secret")).json()["secret"]
    url = receiver.url("/hook?of=mine")
    told = (await user.post("/tasks", params={"callback_url": url}, json=TASK)).json()
    failed = await submit(user, "obey", metadata={"do": "fail"}, callback_url=receiver.url("/b"))
    later = await submit(user, run_at="2999-01-01T00:00:00Z", callback_url=receiver.url("/c"))
    await user.delete(f"/tasks/{later['task_id']}")
    waits = await submit(user, depends_on=[], callback_url=receiver.url("/d"))
    received = await receiver.until_received(4)
    messages = {one.target: Webhook(secret).verify(one.body, one.headers) for one in received}
    assert messages["/hook?of=mine"]["task_id"] == told["task_id"]
    assert messages["/hook?of=mine"]["status"] == "completed"
    result = (await user.get(f"/tasks/{told['task_id']}/result")).json()["result"]
    assert messages["/hook?of=mine"]["result"] == result
    assert messages["/b"]["task_id"] == failed["task_id"]
    assert messages["/b"]["status"] == "failed"
    assert messages["/b"]["error"]["message"] == "It cannot be done."
    assert messages["/c"] == {"task_id": later["task_id"], "status": "cancelled", "result": None}
    assert messages["/d"]["task_id"] == waits["task_id"]
    delivery = await delivery_of(user, told["task_id"], "delivered")
    assert delivery["url"] == url
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [204]


async def test_a_task_that_fails_with_what_it_waits_for_is_told_too(
    open_server: Server, receiver: Receiver
) -> None:
    user = open_server.user
    first = await submit(user, run_at="2999-01-01T00:00:00Z")
    second = await submit(user, depends_on=[first["task_id"]], callback_url=receiver.url("/second"))
    await user.delete(f"/tasks/{first['task_id']}")
    [told] = await receiver.until_received(1)
    message = json.loads(told.body)
    assert (message["task_id"], message["status"]) == (second["task_id"], "failed")
    assert first["task_id"] in message["error"]["message"]


async def test_the_specifications_handler_is_told_what_it_posts_itself(
    open_server: Server, receiver: Receiver
) -> None:
    # What `on_task_complete` of the specification sends, with httpx2 for httpx.
    task = await submit(open_server.user, callback_url=receiver.url("/ours"))
    await receiver.until_received(1)
    outcome = (await open_server.user.get(f"/tasks/{task['task_id']}/result")).json()
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        await client.post(
            receiver.url("/theirs"),
            json={
                "task_id": task["task_id"],
                "status": "completed",
                "result": outcome["result"],
            },
        )
    ours, theirs = await receiver.until_received(2)
    assert json.loads(ours.body) == json.loads(theirs.body)
    assert ours.headers["content-type"] == theirs.headers["content-type"]


async def test_a_callback_that_fails_leaves_its_task_as_it_is_and_can_be_replayed(
    open_server: Server, receiver: Receiver
) -> None:
    user, admin = open_server.user, open_server.admin
    receiver.replies = [status(410)]
    task = await submit(user, callback_url=receiver.url())
    failed = await delivery_of(user, task["task_id"], "failed")
    assert (await ended(user, task["task_id"]))["status"] == "completed"
    assert [one["status_code"] for one in failed["attempts"]] == [410]
    path = f"/callbacks/deliveries/{failed['delivery_id']}/replay"
    other = await new_user(open_server, "somebody-else", "developer")
    error_of(await other.post(path), 404, "NOT_FOUND")
    assert not await deliveries(other)
    assert [one["delivery_id"] for one in await deliveries(admin)] == [failed["delivery_id"]]
    key = {"Idempotency-Key": "again-1"}
    first = await user.post(path, headers=key)
    assert first.status_code == 202, first.text
    assert first.json()["status"] == "pending"
    await delivery_of(user, task["task_id"], "delivered")
    # The same request again is answered as the first time, and sends nothing.
    repeated = await user.post(path, headers=key)
    assert repeated.json() == first.json()
    assert repeated.headers["idempotency-replayed"] == "true"
    assert (await admin.post(path)).status_code == 202
    received = await receiver.until_received(3)
    assert len({one.headers["webhook-id"] for one in received}) == 1
    await delivery_of(user, task["task_id"], "delivered")
    assert len(receiver.received) == 3


async def test_what_is_pending_cannot_be_replayed(open_server: Server, receiver: Receiver) -> None:
    receiver.replies = [status(500, "Retry-After: 3600")]
    task = await submit(open_server.user, callback_url=receiver.url())
    await receiver.until_received(1)
    [pending] = await deliveries(open_server.user, task_id=task["task_id"])
    path = f"/callbacks/deliveries/{pending['delivery_id']}/replay"
    error_of(await open_server.user.post(path), 409, "CONFLICT")
    missing = f"/callbacks/deliveries/{uuid.uuid4()}/replay"
    error_of(await open_server.user.post(missing), 404, "NOT_FOUND")
    error_of(await open_server.user.post("/callbacks/deliveries/nonsense/replay"), 422, INVALID)


async def test_the_log_is_narrowed_and_paged(open_server: Server, receiver: Receiver) -> None:
    user = open_server.user
    receiver.replies = [status(410)]
    first = await submit(user, callback_url=receiver.url("/gone"))
    await delivery_of(user, first["task_id"], "failed")
    more = [await submit(user, callback_url=receiver.url()) for _ in range(4)]
    for task in more:
        await delivery_of(user, task["task_id"], "delivered")
    assert len(await deliveries(user)) == 5
    assert [one["task_id"] for one in await deliveries(user, status="failed")] == [first["task_id"]]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "2"} | ({} if cursor is None else {"cursor": cursor})
        page = (await user.get("/callbacks/deliveries", params=params)).json()
        seen += [one["task_id"] for one in page["deliveries"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert set(seen) == {first["task_id"], *(task["task_id"] for task in more)}
    assert len(seen) == 5
    created = [one["created_at"] for one in await deliveries(user)]
    assert created == sorted(created, reverse=True)
    for params in ({"status": "lost"}, {"limit": "0"}, {"cursor": "x"}, {"task_id": "1"}):
        error_of(await user.get("/callbacks/deliveries", params=params), 422, INVALID)


# --- submitting


async def test_the_url_is_given_in_the_query_or_in_the_body_but_not_two(server: Server) -> None:
    url, other = "https://93.184.215.14/hook", "https://93.184.215.14/other"
    later = {**TASK, "run_at": "2999-01-01T00:00:00Z"}

    async def post(query: str, **body: Any) -> httpx2.Response:
        return await server.user.post(f"/tasks{query}", json={**later, **body})

    encoded = quote(url, safe="")
    for good in (
        await post("", callback_url=None),
        await post("", callback_url=url),
        await post(f"?callback_url={encoded}"),
        await post(f"?callback_url={url}", callback_url=url),
        await post(f"?unknown=1&callback_url={encoded}&more"),
        await post("?something=else"),
    ):
        assert good.status_code == 201, good.text
        await server.user.delete(f"/tasks/{good.json()['task_id']}")
    for bad in (
        await post(f"?callback_url={encoded}", callback_url=other),
        await post(f"?callback_url={encoded}&callback_url={encoded}"),
        await post("?callback_url="),
        await post("", callback_url=""),
        await post("", callback_url=5),
        await post("", callback_url="https://example.com/\0"),
        await post("?callback_url=https://example.com/%00"),
        await post("?callback_url=%ff%fe"),
        await post("?callback_url=https://example.com/" + "x" * 2048),
        await post("", callback_url="https://example.com/" + "x" * 2048),
    ):
        assert list(wrong_fields(bad)) == ["callback_url"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/",
        "http://localhost:8080/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "ftp://example.com/",
        "https://user:password@example.com/",
        "https://example.com:22/",
    ],
)
async def test_urls_into_the_servers_network_are_refused_and_no_task_is_made(
    server: Server, url: str
) -> None:
    client = await new_user(server, f"inward-{uuid.uuid4().hex}", "user")
    for answer in (
        await client.post("/tasks", json={**TASK, "callback_url": url}),
        await client.post("/tasks", params={"callback_url": url}, json=TASK),
    ):
        [message] = wrong_fields(answer).values()
        assert message
    assert (await client.get("/tasks", params={"submitter": "me"})).json()["total"] == 0


async def test_a_repeated_submission_is_told_of_once(
    open_server: Server, receiver: Receiver
) -> None:
    user = open_server.user
    params, key = {"callback_url": receiver.url()}, {"Idempotency-Key": "once-1"}
    first = await user.post("/tasks", params=params, json=TASK, headers=key)
    again = await user.post("/tasks", params=params, json=TASK, headers=key)
    assert first.json()["task_id"] == again.json()["task_id"]
    other = await user.post("/tasks", json=TASK, headers=key)
    assert "Idempotency-Key" in wrong_fields(other)
    await delivery_of(user, first.json()["task_id"], "delivered")
    assert len(receiver.received) == 1


async def test_the_url_is_not_shown_to_whoever_may_read_the_task(server: Server) -> None:
    url = "https://93.184.215.14/hook?token=a-secret-of-the-receiver"
    task = await submit(server.user, run_at="2999-01-01T00:00:00Z", callback_url=url)
    seen = await server.viewer.get(f"/tasks/{task['task_id']}")
    events = await server.viewer.get("/events", params={"limit": 1000})
    assert "a-secret-of-the-receiver" not in seen.text + events.text
    await server.user.delete(f"/tasks/{task['task_id']}")


# --- secrets


async def test_a_secret_is_shown_once_and_the_repetition_of_its_request_shows_the_same(
    server: Server,
) -> None:
    client = await new_user(server, "with-a-secret", "viewer")
    key = {"Idempotency-Key": "secret-1"}
    first = await client.post("/callbacks/secret", headers=key)
    assert first.status_code == 201
    assert first.headers["cache-control"] == "no-store"
    shown = first.json()
    assert shown["secret"].startswith("whsec_")
    assert shown["previous_valid_until"] is None
    assert (await client.post("/callbacks/secret", headers=key)).json() == shown
    second = (await client.post("/callbacks/secret")).json()
    assert second["secret"] != shown["secret"]
    assert second["previous_valid_until"] > second["created_at"]
    events = (await server.admin.get("/events", params={"limit": 1000})).text
    assert "callback_secret.created" in events
    assert "whsec_" not in events


async def test_without_a_credential_nothing_of_it_is_reached(server: Server) -> None:
    for method, path in (
        ("POST", "/callbacks/secret"),
        ("GET", "/callbacks/deliveries"),
        ("POST", f"/callbacks/deliveries/{uuid.uuid4()}/replay"),
    ):
        error_of(await server.anonymous.request(method, path), 401, "UNAUTHORIZED")
