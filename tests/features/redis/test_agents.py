"""Agents on Redis: the specification's messages over assignments that nothing loses."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sutazai.adapters import redis_agents
from sutazai.agents.messages import event_for
from tests.api.server import (
    JSON,
    PATIENCE,
    Server,
    ended,
    reached,
    serving,
    settings_for,
    submit,
)
from tests.features.redis.agent import present, register, reply, specification_agent
from tests.valkey import ValkeyServer


@pytest.fixture
async def started(
    database_url: str | None, data_dir: Path, tmp_path: Path, valkey: ValkeyServer
) -> AsyncIterator[Server]:
    settings = settings_for(data_dir, database_url, tmp_path, redis_url=valkey.url)
    async with serving(settings, roles=[]) as server:
        yield server


async def status_of(server: Server, agent_id: str, wanted: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            shown = (await server.admin.get(f"/agents/{agent_id}")).json()
            if shown["status"] == wanted:
                return
            await asyncio.sleep(0.02)  # asks again; nothing announces this to a client


async def result_of(server: Server, task: JSON) -> JSON:
    over = await ended(server.admin, task["task_id"])
    assert over["status"] == "completed", over
    answer: JSON = (await server.admin.get(f"/tasks/{task['task_id']}/result")).json()
    result: JSON = answer["result"]
    return result


async def told_of(server: Server, event_type: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            page = (await server.admin.get("/events", params={"limit": 1000})).json()
            if event_type in {event["event_type"] for event in page["events"]}:
                return
            await asyncio.sleep(0.02)  # asks again


async def test_the_specifications_subscriber_is_a_complete_agent(
    started: Server, valkey: ValkeyServer
) -> None:
    kind = await register(started, "spec-01")
    waiting = await submit(started.admin, kind, description="early")
    assert waiting["status"] == "pending"
    with specification_agent(valkey.url, "spec-01") as asked:
        task = await submit(
            started.admin, kind, description="echo this", metadata={"code": "x = 1", "action": "no"}
        )
        assert await result_of(started, task) == {"echo": "echo this"}
        assert await result_of(started, waiting) == {"echo": "early"}
        request = next(one for one in asked if one["payload"]["description"] == "echo this")
    assert request.keys() == {
        "message_id",
        "from_agent",
        "to_agent",
        "type",
        "payload",
        "timestamp",
        "correlation_id",
    }
    assert request["message_id"].startswith("msg-")
    assert (request["from_agent"], request["to_agent"]) == ("master-coordinator", "spec-01")
    payload = request["payload"]
    assert payload.keys() == {
        "action",
        "task_id",
        "assignment_id",
        "description",
        "attempt",
        "code",
    }
    assert (payload["action"], payload["task_id"]) == (kind, task["task_id"])
    assert payload["code"] == "x = 1"


async def test_who_listens_is_online_and_who_does_not_is_not(
    started: Server, valkey: ValkeyServer
) -> None:
    await register(started, "present-01")
    await status_of(started, "present-01", "offline")
    async with present(valkey.url, "present-01"):
        await status_of(started, "present-01", "active")


async def test_progress_and_failures_come_as_messages(
    started: Server, valkey: ValkeyServer
) -> None:
    kind = await register(started, "talking-01")
    async with present(valkey.url, "talking-01") as agent:
        task = await submit(started.admin, kind)
        request = await agent.next()
        told = {"progress": 40, "lines_processed": 7, "not a counter": 1, "status": "x"}
        await agent.say(reply(request, "event", told))
        await agent.say(reply(request, "event", {"heartbeat": True}))
        async with asyncio.timeout(PATIENCE):
            while True:
                running = (await started.admin.get(f"/tasks/{task['task_id']}")).json()
                if running["progress"] == 40:
                    break
                await asyncio.sleep(0.02)  # asks again; this is read, not waited for
        assert running["metadata"] == {"lines_processed": 7}
        error = {"code": "BAD_REQUEST", "message": "There is nothing to do."}
        await agent.say(reply(request, "response", {"status": "failed", "error": error}))
        over = await ended(started.admin, task["task_id"])
        assert (over["status"], over["error"]) == ("failed", error)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("OUT_OF_DISK", {"code": "OUT_OF_DISK", "message": "It is full."}),
        ("out of disk", {"code": "INTERNAL_ERROR", "message": "out of disk: It is full."}),
        ("B" * 33, {"code": "INTERNAL_ERROR", "message": "B" * 33 + ": It is full."}),
        (7, {"code": "INTERNAL_ERROR", "message": "It is full."}),
    ],
)
async def test_an_agents_own_code_is_the_failures_if_it_is_one(
    started: Server, valkey: ValkeyServer, code: object, told: JSON
) -> None:
    kind = await register(started, "filling-01")
    async with present(valkey.url, "filling-01") as agent:
        task = await submit(started.admin, kind)
        said = {"status": "failed", "error": {"code": code, "message": "It is full."}}
        await agent.say(reply(await agent.next(), "response", said))
        assert (await ended(started.admin, task["task_id"]))["error"] == told


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"status": "completed", "result": "text"}, "no JSON object"),
        ({"status": "done"}, "neither `completed` nor `failed`"),
        ({"status": "failed"}, "no `message`"),
        ({"status": "completed", "result": {"x": "y" * 11_000_000}}, "at most 10 MiB"),
    ],
)
async def test_an_answer_that_is_none_is_a_failed_attempt_and_the_agent_hears_why(
    started: Server, valkey: ValkeyServer, payload: JSON, reason: str
) -> None:
    kind = await register(started, "nonsense-01")
    async with present(valkey.url, "nonsense-01") as agent:
        task = await submit(started.admin, kind, max_attempts=2)
        for number in (1, 2):
            request = await agent.next()
            assert request["payload"]["attempt"] == number
            for noise in (b"", b"\xff", b"[]", b"{", b'{"type": "response"}', b"[" * 100_000):
                await agent.say(noise)
            await agent.say(reply(request, "response", payload))
            refused = await agent.next("event")
            assert refused["correlation_id"] == request["correlation_id"]
            assert refused["payload"]["action"] == "refused"
            assert reason in refused["payload"]["error"]["message"]
        over = await ended(started.admin, task["task_id"])
        assert (over["status"], over["error"]["code"]) == ("failed", "VALIDATION_ERROR")
        assert reason in over["error"]["message"]


async def test_an_event_that_is_none_ends_nothing(started: Server, valkey: ValkeyServer) -> None:
    kind = await register(started, "babbling-01")
    async with present(valkey.url, "babbling-01") as agent:
        task = await submit(started.admin, kind)
        request = await agent.next()
        await agent.say(reply(request, "event", {"progress": "nearly"}))
        refused = await agent.next("event")
        assert "no whole number" in refused["payload"]["error"]["message"]
        await agent.complete(request, {"done": True})
        assert await result_of(started, task) == {"done": True}


async def test_an_answer_under_a_wrong_correlation_id_is_nobodys(
    started: Server, valkey: ValkeyServer
) -> None:
    kind = await register(started, "muddled-01", max_capacity=2)
    async with present(valkey.url, "muddled-01") as agent:
        tasks = [await submit(started.admin, kind, description=str(n)) for n in range(2)]
        requests = [await agent.next(), await agent.next()]
        assignment_id = requests[0]["correlation_id"]
        # Of no assignment; of an attempt that there never was; none at all.
        for wrong in ("corr-1", f"{assignment_id[:-1]}9", assignment_id.upper()):
            await agent.complete(requests[0], {"wrong": True}, correlation_id=wrong)
            refused = await agent.next("event")
            assert refused["correlation_id"] == wrong
            assert refused["payload"]["error"]["code"] in ("CONFLICT", "NOT_FOUND")
        await agent.complete(requests[0], {"wrong": True}, correlation_id=None)
        for request in requests:
            await agent.complete(request, {"echo": request["payload"]["description"]})
        for task in tasks:
            assert await result_of(started, task) == {"echo": task["description"]}


async def test_the_same_message_twice_counts_once(started: Server, valkey: ValkeyServer) -> None:
    kind = await register(started, "echoing-01")
    async with present(valkey.url, "echoing-01") as agent:
        task = await submit(started.admin, kind)
        request = await agent.next()
        error = {"message": "Not yet.", "retryable": True}
        failed = reply(request, "response", {"status": "failed", "error": error})
        for _ in range(3):
            await agent.say(failed)
        second = await agent.next()
        assert second["payload"]["attempt"] == 2
        # The answer to the attempt before ends nothing, by whatever message it comes.
        await agent.say(failed)
        await agent.complete(request, {"late": True})
        refused = await agent.next("event")
        assert refused["correlation_id"] == request["correlation_id"]
        await agent.complete(second, {"attempt": 2})
        assert await result_of(started, task) == {"attempt": 2}


async def test_nobody_answers_for_another(started: Server, valkey: ValkeyServer) -> None:
    kind = await register(started, "honest-01")
    await register(started, "other-01")
    async with present(valkey.url, "honest-01") as agent, present(valkey.url, "other-01") as other:
        task = await submit(started.admin, kind)
        request = await agent.next()
        await other.complete(request, {"stolen": True}, from_agent="other-01")
        refused = await other.next("event")
        assert refused["payload"]["error"]["code"] == "CONFLICT"
        await agent.complete(request, {"mine": True})
        assert await result_of(started, task) == {"mine": True}


async def test_a_late_or_other_answer_is_refused_and_the_same_is_harmless(
    started: Server, valkey: ValkeyServer
) -> None:
    kind = await register(started, "twice-01")
    async with present(valkey.url, "twice-01") as agent:
        task = await submit(started.admin, kind)
        request = await agent.next()
        await agent.complete(request, {"answer": 1})
        assert await result_of(started, task) == {"answer": 1}
        await agent.complete(request, {"answer": 1})
        await agent.complete(request, {"answer": 2})
        refused = await agent.next("event")
        assert refused["correlation_id"] == request["correlation_id"]
        assert refused["payload"]["action"] == "refused"
        assert await result_of(started, task) == {"answer": 1}


async def test_who_works_for_nothing_is_told(started: Server, valkey: ValkeyServer) -> None:
    kind = await register(started, "cancelled-01")
    async with present(valkey.url, "cancelled-01") as agent:
        task = await submit(started.admin, kind)
        request = await agent.next()
        await started.admin.delete(f"/tasks/{task['task_id']}")
        told = await agent.next("event")
        assert told["correlation_id"] == request["correlation_id"]
        assert told["payload"]["action"] == "cancel"


async def test_a_request_that_was_lost_is_sent_again(
    started: Server, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_agents, "_AFTER_GAP_SECONDS", 0.1)
    kind = await register(started, "forgetful-01")
    async with present(valkey.url, "forgetful-01") as agent:
        task = await submit(started.admin, kind)
        lost = await agent.next()
    # Long enough away for that to be seen.
    await status_unheard(valkey, "forgetful-01")
    async with present(valkey.url, "forgetful-01") as agent:
        again = await agent.next()
        assert again["message_id"] == lost["message_id"]
        assert again["payload"] == lost["payload"]
        await agent.complete(again, {"done": True})
        assert await result_of(started, task) == {"done": True}


async def status_unheard(valkey: ValkeyServer, agent_id: str) -> None:
    """Until the server has looked at a channel that nobody listened on."""
    with valkey.client() as client:
        before = client.info("commandstats")["cmdstat_pubsub|numsub"]["calls"]
        async with asyncio.timeout(PATIENCE):
            while True:
                if client.info("commandstats")["cmdstat_pubsub|numsub"]["calls"] >= before + 2:
                    return
                await asyncio.sleep(0.02)  # asks again; Redis tells nobody who was asked


async def test_silence_makes_a_request_be_sent_again(
    started: Server, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_agents, "_SILENCE_SECONDS", 0.2)
    kind = await register(started, "silent-01")
    async with present(valkey.url, "silent-01") as agent:
        task = await submit(started.admin, kind)
        first = await agent.next()
        assert (await agent.next())["message_id"] == first["message_id"]
        await agent.complete(first, {"done": True})
        assert await result_of(started, task) == {"done": True}


async def test_redis_may_die_in_the_middle(
    started: Server, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_agents, "_AFTER_GAP_SECONDS", 0.1)
    kind = await register(started, "surviving-01", max_capacity=2)
    async with present(valkey.url, "surviving-01") as agent:
        answered = await submit(started.admin, kind, description="answered into nothing")
        request = await agent.next()
        valkey.kill()
        meanwhile = await submit(started.admin, kind, description="submitted meanwhile")
        valkey.start()
        for _ in range(2):
            request = await agent.next()
            await agent.complete(request, {"echo": request["payload"]["description"]})
        for task in (answered, meanwhile):
            over = await ended(started.admin, task["task_id"])
            assert over["status"] == "completed"


async def test_an_agent_that_goes_away_loses_its_task_to_another_attempt(
    data_dir: Path, tmp_path: Path, valkey: ValkeyServer, postgres_url: str
) -> None:
    settings = settings_for(data_dir, postgres_url, tmp_path, redis_url=valkey.url, lease_seconds=4)
    async with serving(settings, roles=[]) as server:
        kind = await register(server, "leaving-01")
        async with present(valkey.url, "leaving-01") as agent:
            task = await submit(server.admin, kind)
            first = await agent.next()
        await told_of(server, "task.retrying")
        async with present(valkey.url, "leaving-01") as agent:
            second = await agent.next()
            assert second["correlation_id"] != first["correlation_id"]
            assert second["message_id"] != first["message_id"]
            await agent.complete(first, {"late": True})
            refused = await agent.next("event")
            assert refused["correlation_id"] == first["correlation_id"]
            await agent.complete(second, {"attempt": 2})
            assert await result_of(server, task) == {"attempt": 2}


async def test_two_servers_share_an_agent(
    tmp_path: Path, valkey: ValkeyServer, postgres_url: str
) -> None:
    async with AsyncExitStack() as stack:
        servers = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            settings = settings_for(
                folder,
                postgres_url,
                tmp_path,
                redis_url=valkey.url,
                jwt_secret="the secret of one installation, shared",
            )
            servers.append(await stack.enter_async_context(serving(settings, roles=[])))
        kind = await register(servers[0], "shared-01", max_capacity=5)
        async with present(valkey.url, "shared-01") as agent:
            tasks = [
                await submit(servers[n % 2].admin, kind, description=str(n)) for n in range(12)
            ]
            seen = set()
            for _ in tasks:
                request = await agent.next()
                seen.add(request["payload"]["task_id"])
                await agent.complete(request, {"n": request["payload"]["description"]})
            assert seen == {task["task_id"] for task in tasks}
            for n, task in enumerate(tasks):
                await reached(servers[0].admin, task["task_id"], "completed")
                assert await result_of(servers[1], task) == {"n": str(n)}


async def test_an_answer_counts_though_its_sender_is_gone(
    data_dir: Path, tmp_path: Path, valkey: ValkeyServer
) -> None:
    settings = settings_for(data_dir, None, tmp_path, redis_url=valkey.url)
    async with present(valkey.url, "patient-01") as agent:
        async with serving(settings, roles=[]) as server:
            kind = await register(server, "patient-01")
            task = await submit(server.admin, kind)
            request = await agent.next()
        async with serving(settings, roles=[]) as server:
            await status_of(server, "patient-01", "busy")
            await agent.complete(request, {"after": "a restart"})
            assert await result_of(server, task) == {"after": "a restart"}


def test_messages_are_what_the_specification_prints() -> None:
    assert json.loads(event_for("a", "corr", {"x": 1})).keys() == {
        "message_id",
        "from_agent",
        "to_agent",
        "type",
        "payload",
        "timestamp",
        "correlation_id",
    }
