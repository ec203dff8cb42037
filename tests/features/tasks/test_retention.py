"""What is counted, and what is forgotten: the counters agree with the rows at every moment."""

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import func, select

from sutazai import clock
from sutazai.clock import SECOND
from sutazai.database import Connection, Database, open_database
from sutazai.engine.recurring import in_batches
from sutazai.events import log
from sutazai.events.model import SYSTEM, NewEvent
from sutazai.tasks import counts_store, retention, store
from tests.api.agents import Obedient, Twin
from tests.api.server import JSON, Server, ended, error_of, serving, settings_for, submit

_SEEDS = (1, 2, 3)
_STEPS = 60
Counts = dict[tuple[str, str], int]


class Watched(NamedTuple):
    """An application, its agent, and a look into its database beside it."""

    server: Server
    agent: Obedient
    database: Database

    async def counts(self) -> tuple[Counts, Counts]:
        """As kept and as recounted, of one moment."""
        return await self.database.read(_counts)


def _counts(connection: Connection) -> tuple[Counts, Counts]:
    kept = {key: number for key, number in counts_store.counts(connection).items() if number}
    columns = (store.TASKS.c.type, store.TASKS.c.status)
    rows = connection.execute(select(*columns, func.count()).group_by(*columns))
    return kept, {(row[0], row[1]): row[2] for row in rows}


@pytest.fixture
async def watched(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> AsyncIterator[Watched]:
    agent = Obedient()
    settings = settings_for(data_dir, database_url, tmp_path)
    async with serving(settings, extra_agents=[agent, Twin()], roles=["user"]) as server:
        database = await open_database(url=database_url, data_dir=data_dir)
        yield Watched(server, agent, database)
        agent.gate.set()
        await database.close()


async def _submit_something(watched: Watched, chance: random.Random, known: list[str]) -> None:
    body: JSON = {"max_attempts": chance.randint(1, 2), "priority": chance.randint(1, 10)}
    kind = chance.choice(["ping", "twin", "obey"])
    if kind == "obey":
        body["metadata"] = {"do": chance.choice(["", "fail", "crash once"])}
    if known and chance.random() < 0.3:
        body["depends_on"] = [chance.choice(known)]
    elif chance.random() < 0.2:
        body["run_at"] = clock.to_iso(clock.now() + chance.choice([SECOND // 10, 3600 * SECOND]))
    if chance.random() < 0.3:
        body["tags"] = ["tagged"]
    answer = await watched.server.user.post(
        "/tasks", json={"type": kind, "description": "history", **body}
    )
    if answer.status_code == 201:
        known.append(answer.json()["task_id"])
    else:  # what it depends on has failed meanwhile
        error_of(answer, 422, "VALIDATION_ERROR")


@pytest.mark.parametrize("seed", _SEEDS)
async def test_the_counters_agree_with_a_recount_all_through_a_random_history(
    watched: Watched, seed: int
) -> None:
    chance = random.Random(seed)  # the same history in every run
    known: list[str] = []
    for _ in range(_STEPS):
        if known and chance.random() < 0.25:
            await watched.server.user.delete(f"/tasks/{chance.choice(known)}")
        else:
            await _submit_something(watched, chance, known)
        kept, recounted = await watched.counts()
        assert kept == recounted
    for task_id in known:
        # Those for later are cancelled, and what waits for them ends with them.
        await watched.server.user.delete(f"/tasks/{task_id}")
    for task_id in known:
        await ended(watched.server.user, task_id)
    kept, recounted = await watched.counts()
    assert kept == recounted
    assert sum(kept.values()) == len(known)
    total = (await watched.server.admin.get("/tasks", params={"limit": 1})).json()["total"]
    assert total == len(known)


async def test_only_tasks_that_ended_long_ago_are_forgotten_with_all_of_theirs(
    watched: Watched,
) -> None:
    user = watched.server.user
    waiting = await submit(user, "obey", metadata={"do": "wait"})
    first = await submit(user, "ping", tags=["old"])
    second = await submit(user, "ping", depends_on=[first["task_id"]])
    follows = await submit(user, "ping", depends_on=[first["task_id"], waiting["task_id"]])
    for task in (first, second):
        await ended(user, task["task_id"])
    forget = partial(retention.purge_tasks, 3600 * SECOND)
    await in_batches(watched.database, forget)
    assert (await user.get(f"/tasks/{first['task_id']}")).status_code == 200

    await in_batches(watched.database, partial(retention.purge_tasks, -SECOND))
    for task in (first, second):
        for path in ("", "/result"):
            answer = await user.get(f"/tasks/{task['task_id']}{path}")
            error_of(answer, 404, "NOT_FOUND")
    listed = (await user.get("/tasks")).json()
    assert {task["task_id"] for task in listed["tasks"]} == {
        waiting["task_id"],
        follows["task_id"],
    }
    assert listed["total"] == 2
    assert (await user.get("/tasks", params={"tag": "old"})).json()["total"] == 0
    kept, recounted = await watched.counts()
    assert kept == recounted
    left = await watched.database.read(
        lambda c: [len(c.execute(table.select()).all()) for table in (store.RESULTS, store.TAGS)]
    )
    assert left == [0, 0]
    # What waits for one that is forgotten and for another is still let go by the other.
    watched.agent.gate.set()
    assert (await ended(user, follows["task_id"]))["status"] == "completed"


async def test_old_events_are_forgotten_in_batches_and_readers_go_on_behind_them(
    watched: Watched,
) -> None:
    admin = watched.server.admin
    now = clock.now()

    def write(connection: Connection) -> None:
        event = NewEvent("old", {}, SYSTEM, "tasks")
        log.append(connection, [event] * 25, now=now)
        # With all that the start has told of: events are as old as their ids say.
        connection.execute(log.EVENTS.update().values(timestamp=now - 31 * 86_400 * SECOND))

    await watched.database.run(write)
    await ended(admin, (await submit(admin))["task_id"])
    before = now - 30 * 86_400 * SECOND
    await in_batches(watched.database, partial(log.purge, before=before, limit=10))
    page = (await admin.get("/events", params={"after": 0, "limit": 1000})).json()
    kinds = [event["event_type"] for event in page["events"]]
    assert "old" not in kinds
    assert "user.created" not in kinds
    assert "task.created" in kinds
    async with asyncio.timeout(30):
        newest = page["next_after"]
        task = await submit(admin)
        found: list[JSON] = []
        while not any(event["event_type"] == "task.completed" for event in found):
            page = (await admin.get("/events", params={"after": newest})).json()
            newest, found = page["next_after"], found + page["events"]
    about = [event for event in found if event["data"].get("task_id") == task["task_id"]]
    assert [event["event_type"] for event in about][:1] == ["task.created"]
