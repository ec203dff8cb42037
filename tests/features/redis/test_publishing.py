"""Events on Redis: every one once, in order, whatever becomes of Redis or of a process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.api.server import PATIENCE, Server, ended, new_user, serving, settings_for, submit
from tests.features.redis.listening import listening, published, reached, redis_state
from tests.valkey import ValkeyServer

SECRET = "the secret of one installation, shared"


@pytest.fixture
async def started(
    database_url: str | None, data_dir: Path, tmp_path: Path, valkey: ValkeyServer
) -> AsyncIterator[Server]:
    """An application that has just begun to publish."""
    settings = settings_for(data_dir, database_url, tmp_path, redis_url=valkey.url)
    async with serving(settings, roles=[]) as server:
        yield server


async def leading(valkey: ValkeyServer, *, but: bytes | None = None) -> bytes:
    """Which process publishes, once one does (another than `but`)."""
    async with Redis.from_url(valkey.url) as client, asyncio.timeout(PATIENCE):
        while True:
            for key in await client.keys("sutazai:*:publisher"):
                holder = await client.get(key)
                if isinstance(holder, bytes) and holder != but:
                    return holder
            await asyncio.sleep(0.02)  # Redis tells nobody of a lease


async def test_the_specifications_subscriber_hears_of_a_task(
    started: Server, valkey: ValkeyServer
) -> None:
    await leading(valkey)
    async with listening(valkey.url) as heard:
        task = await submit(started.admin, description='"quoted", and ünïcode')
        await heard.until_ended(task["task_id"])
    # Whatever the agents tell of themselves meanwhile is not of the task.
    told = [event for event in heard.events if event["event_type"].startswith("task.")]
    assert [event["event_type"] for event in told] == [
        "task.created",
        "task.assigned",
        "task.started",
        "task.completed",
    ]
    for event in told:
        assert event.keys() == {"event_type", "timestamp", "data"}
        assert event["data"]["task_id"] == task["task_id"]
    assert await redis_state(started) == ("healthy", "healthy")


async def test_what_tells_of_accounts_is_not_for_everybody_on_redis(
    started: Server, valkey: ValkeyServer
) -> None:
    await leading(valkey)
    async with listening(valkey.url) as heard:
        await new_user(started, "somebody", "user")
        task = await submit(started.admin)
        await heard.until_ended(task["task_id"])
    assert {event["event_type"].partition(".")[0] for event in heard.events} == {"task"}


async def test_a_frozen_redis_delays_events_and_nothing_else(
    started: Server, valkey: ValkeyServer
) -> None:
    await leading(valkey)
    async with listening(valkey.url) as heard:
        with valkey.frozen():
            tasks = [await submit(started.admin) for _ in range(10)]
            for task in tasks:
                assert (await ended(started.admin, task["task_id"]))["status"] == "completed"
            assert await redis_state(started) == ("degraded", "unhealthy")
            assert heard.events == []
        await heard.until_ended(*(task["task_id"] for task in tasks))
        await reached(started, "healthy")
    expected = await published(started.admin)
    assert heard.events == expected[-len(heard.events) :]
    assert len(heard.events) == 4 * len(tasks)


async def test_after_a_crash_of_redis_it_goes_on_from_the_last_one_published(
    started: Server, valkey: ValkeyServer
) -> None:
    await leading(valkey)
    async with listening(valkey.url) as before:
        first = await submit(started.admin)
        await before.until_ended(first["task_id"])
    valkey.kill()
    tasks = [await submit(started.admin) for _ in range(10)]
    for task in tasks:
        assert (await ended(started.admin, task["task_id"]))["status"] == "completed"
    # It remembers nothing, and lets nobody in until somebody listens.
    valkey.start("--requirepass", "for now")
    async with listening(valkey.url, password="for now") as after:
        async with Redis.from_url(valkey.url, password="for now") as client:
            await client.config_set("requirepass", "")
        last = await submit(started.admin)
        await after.until_ended(*(task["task_id"] for task in [*tasks, last]))
    heard = before.events + after.events
    assert heard == (await published(started.admin))[-len(heard) :]
    assert len(heard) == 4 * (1 + len(tasks) + 1)


async def test_a_server_that_starts_without_redis_publishes_from_its_start(
    database_url: str | None, data_dir: Path, tmp_path: Path, valkey: ValkeyServer
) -> None:
    valkey.kill()
    settings = settings_for(data_dir, database_url, tmp_path, redis_url=valkey.url)
    async with serving(settings, roles=[]) as server:
        task = await submit(server.admin)
        assert (await ended(server.admin, task["task_id"]))["status"] == "completed"
        assert await redis_state(server) == ("degraded", "unhealthy")
        valkey.start("--requirepass", "for now")
        async with listening(valkey.url, password="for now") as heard:
            async with Redis.from_url(valkey.url, password="for now") as client:
                await client.config_set("requirepass", "")
            await heard.until_ended(task["task_id"])
        expected = await published(server.admin)
    assert "agent.online" in [event["event_type"] for event in heard.events]
    assert heard.events == expected


async def test_a_restarted_server_goes_on_where_the_last_one_ended(
    database_url: str | None, data_dir: Path, tmp_path: Path, valkey: ValkeyServer
) -> None:
    def settings(**more: Any) -> Any:
        return settings_for(data_dir, database_url, tmp_path, jwt_secret=SECRET, **more)

    async with listening(valkey.url) as heard:
        async with serving(settings(redis_url=valkey.url), roles=[]) as server:
            await leading(valkey)
            await submit(server.admin)
        async with serving(settings(), roles=[]) as server:
            unheard = await submit(server.admin)
            await ended(server.admin, unheard["task_id"])
        async with serving(settings(redis_url=valkey.url), roles=[]) as server:
            last = await submit(server.admin)
            await heard.until_ended(unheard["task_id"], last["task_id"])
            expected = await published(server.admin)
    assert heard.events[: len(expected)] == expected


async def test_two_processes_publish_each_event_once_and_stand_in_for_each_other(
    postgres_url: str, tmp_path: Path, valkey: ValkeyServer
) -> None:
    async with AsyncExitStack() as stack, listening(valkey.url) as heard:
        servers: list[Server] = []
        ends: list[AsyncExitStack] = []
        for name in ("one", "two"):
            data_dir = tmp_path / name
            data_dir.mkdir()
            settings = settings_for(
                data_dir, postgres_url, tmp_path, redis_url=valkey.url, jwt_secret=SECRET
            )
            own = await stack.enter_async_context(AsyncExitStack())
            servers.append(await own.enter_async_context(serving(settings, roles=[])))
            ends.append(own)
            await leading(valkey)
        tasks = await asyncio.gather(*(submit(servers[n % 2].admin) for n in range(40)))
        await heard.until_ended(*(task["task_id"] for task in tasks))
        first = await leading(valkey)
        more = asyncio.gather(*(submit(servers[1].admin) for _ in range(40)))
        await ends[0].aclose()
        assert await leading(valkey, but=first) != first
        await heard.until_ended(*(task["task_id"] for task in await more))
        expected = await published(servers[1].admin)
    assert heard.events[: len(expected)] == expected


async def test_two_publishers_survive_a_crash_of_redis_with_no_event_twice(
    postgres_url: str, tmp_path: Path, valkey: ValkeyServer
) -> None:
    async with AsyncExitStack() as stack:
        servers: list[Server] = []
        for name in ("one", "two"):
            data_dir = tmp_path / name
            data_dir.mkdir()
            settings = settings_for(
                data_dir, postgres_url, tmp_path, redis_url=valkey.url, jwt_secret=SECRET
            )
            servers.append(await stack.enter_async_context(serving(settings, roles=[])))
            await leading(valkey)
        async with listening(valkey.url) as before:
            task = await submit(servers[0].admin)
            await before.until_ended(task["task_id"])
        valkey.kill()
        tasks = await asyncio.gather(*(submit(servers[n % 2].admin) for n in range(20)))
        valkey.start("--requirepass", "for now")
        async with listening(valkey.url, password="for now") as after:
            async with Redis.from_url(valkey.url, password="for now") as client:
                await client.config_set("requirepass", "")
            await after.until_ended(*(task["task_id"] for task in tasks))
        heard = before.events + after.events
        assert heard == (await published(servers[0].admin))[-len(heard) :]
        assert len(heard) == 4 * 21
