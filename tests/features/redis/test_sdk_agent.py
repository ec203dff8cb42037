"""Agents written with the SDK that talk through Redis."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sutazai_client import Agent, Assignment, TaskFailed

from tests.api.server import PATIENCE, Server, ended, reached, serving, settings_for, submit
from tests.features.redis.agent import register
from tests.valkey import ValkeyServer


@pytest.fixture
async def started(data_dir: Path, tmp_path: Path, valkey: ValkeyServer) -> AsyncIterator[Server]:
    settings = settings_for(data_dir, None, tmp_path, redis_url=valkey.url)
    async with serving(settings, roles=[]) as server:
        yield server


@contextlib.asynccontextmanager
async def working(agent: Agent) -> AsyncIterator[None]:
    """The agent in a thread of its own, as a program would have it."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            agent.run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        agent.stop()
        await asyncio.to_thread(thread.join, PATIENCE)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


async def test_functions_do_tasks_through_redis(started: Server, valkey: ValkeyServer) -> None:
    kind = await register(started, "sdk-01", max_capacity=3)
    agent = Agent("sdk-01", redis_url=valkey.url, capacity=3)

    @agent.task(kind)
    def work(assignment: Assignment) -> dict[str, object]:
        assignment.progress(50, lines_processed=3)
        if assignment.metadata.get("bad"):
            raise TaskFailed("It is bad.")
        return {"attempt": assignment.attempt, "metadata": assignment.metadata}

    async with working(agent):
        tasks = [await submit(started.admin, kind, metadata={"n": n}) for n in range(5)]
        bad = await submit(started.admin, kind, metadata={"bad": True})
        for n, task in enumerate(tasks):
            over = await ended(started.admin, task["task_id"])
            assert over["status"] == "completed"
            answer = (await started.admin.get(f"/tasks/{task['task_id']}/result")).json()
            assert answer["result"] == {"attempt": 1, "metadata": {"n": n}}
        over = await ended(started.admin, bad["task_id"])
        assert over["error"] == {"code": "VALIDATION_ERROR", "message": "It is bad."}


async def test_it_survives_redis_and_hears_of_cancellations(
    started: Server, valkey: ValkeyServer
) -> None:
    kind = await register(started, "sdk-02", max_capacity=2)
    agent = Agent("sdk-02", redis_url=valkey.url, capacity=2)
    go_on, cancelled = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    @agent.task(kind)
    async def work(assignment: Assignment) -> dict[str, object]:
        if assignment.metadata.get("for_ever"):
            try:
                await asyncio.Event().wait()
            finally:
                loop.call_soon_threadsafe(cancelled.set)
        await asyncio.to_thread(
            lambda: asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        )
        return {"done": True}

    async with working(agent):
        patient = await submit(started.admin, kind)
        endless = await submit(started.admin, kind, metadata={"for_ever": True})
        await reached(started.admin, patient["task_id"], "processing")
        await reached(started.admin, endless["task_id"], "processing")
        await started.admin.delete(f"/tasks/{endless['task_id']}")
        async with asyncio.timeout(PATIENCE):
            await cancelled.wait()
        valkey.kill()
        go_on.set()
        valkey.start()
        assert (await ended(started.admin, patient["task_id"]))["status"] == "completed"


async def test_what_it_has_when_it_is_stopped_is_given_back(
    started: Server, valkey: ValkeyServer
) -> None:
    kind = await register(started, "sdk-03")
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    first = Agent("sdk-03", redis_url=valkey.url, drain_seconds=0)

    @first.task(kind)
    async def hang(assignment: Assignment) -> None:
        loop.call_soon_threadsafe(begun.set)
        await asyncio.Event().wait()

    async with working(first):
        task = await submit(started.admin, kind)
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
    second = Agent("sdk-03", redis_url=valkey.url)

    @second.task(kind)
    def work(assignment: Assignment) -> dict[str, object]:
        return {"attempt": assignment.attempt}

    async with working(second):
        assert (await ended(started.admin, task["task_id"]))["status"] == "completed"
        answer = (await started.admin.get(f"/tasks/{task['task_id']}/result")).json()
        # Given back, so that no attempt was used up.
        assert answer["result"] == {"attempt": 1}
