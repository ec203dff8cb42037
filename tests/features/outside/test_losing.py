"""Agents that die, hang, come late and come in crowds, over leases that are short."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.api.server import (
    JSON,
    PATIENCE,
    Server,
    client_of,
    ended,
    error_of,
    serving,
    settings_for,
    submit,
)
from tests.features.outside.joining import Joined, given, join
from tests.postgres import PostgresServer

CROWD = 200
BUSY = 503


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def own_database(request: pytest.FixtureRequest) -> str | None:
    """The URL of a database of this module alone; None for SQLite."""
    if request.param == "sqlite":
        return None
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.url(postgres.create(template=request.getfixturevalue("postgres_template")))


@pytest.fixture(scope="module")
async def strict(
    own_database: str | None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """A server of this module alone, with short leases."""
    data_dir = tmp_path_factory.mktemp("strict")
    workspace = tmp_path_factory.mktemp("strict-workspace")
    settings = settings_for(data_dir, own_database, workspace, lease_seconds=2, agents=False)
    async with serving(settings, roles=[]) as server:
        yield server


async def test_what_a_dead_agent_had_goes_to_another_and_its_late_word_is_refused(
    strict: Server,
) -> None:
    dead = await join(strict, "dead-01")
    heir = await join(strict, "heir-01", capabilities=[dead.type])
    task, lost = await given(strict, dead)
    again = await heir.claim_one(wait=20)
    assert (again["task_id"], again["attempt"]) == (task["task_id"], 2)
    for verb, body in (("progress", {"progress": 5}), ("complete", {"result": {"late": True}})):
        error_of(await dead.report(lost, verb, **body), 409, "CONFLICT")
    assert (await dead.beat(assignments=[lost["assignment_id"]]))["cancelled"]
    assert (await heir.report(again, "complete", result={"late": False})).status_code == 200
    error_of(await dead.report(lost, "complete", result={"late": True}), 409, "CONFLICT")
    result = (await strict.admin.get(f"/tasks/{task['task_id']}/result")).json()["result"]
    assert result == {"late": False}


async def test_an_agent_that_beats_keeps_what_it_names_and_loses_the_rest(strict: Server) -> None:
    agent = await join(strict, "forgetful-01", max_capacity=2)
    _, kept = await given(strict, agent)
    other, forgotten = await given(strict, agent)
    async with asyncio.timeout(PATIENCE):
        while True:
            pulse = await agent.beat(assignments=[kept["assignment_id"]])
            if len(pulse["assignments"]) == 1:
                break
            await asyncio.sleep(0.2)  # as an agent would, until the other lease has lapsed
    assert pulse["assignments"][0]["assignment_id"] == kept["assignment_id"]
    again = await agent.claim_one(wait=20)
    assert (again["task_id"], again["attempt"]) == (other["task_id"], 2)
    error_of(await agent.report(forgotten, "complete", result={}), 409, "CONFLICT")
    assert (await agent.report(kept, "complete", result={})).status_code == 200
    assert (await agent.report(again, "complete", result={})).status_code == 200


async def test_an_agent_that_hangs_and_beats_is_ended_by_the_tasks_time(strict: Server) -> None:
    agent = await join(strict, "hanging-01")
    task, assignment = await given(strict, agent, timeout_seconds=1.5)

    async def beating() -> None:
        while True:
            await agent.beat()
            await asyncio.sleep(0.2)  # as an agent would, for ever

    beats = asyncio.create_task(beating())
    over = await ended(strict.admin, task["task_id"])
    beats.cancel()
    await asyncio.wait([beats])
    assert over["error"]["code"] == "TASK_TIMEOUT"
    assert over["attempt"] == 1
    refused = await agent.report(assignment, "complete", result={})
    assert "failed" in error_of(refused, 409, "CONFLICT")["message"]
    assert await agent.claim() == []


async def test_a_task_whose_agents_all_die_fails(strict: Server) -> None:
    agent = await join(strict, "dying-01")
    task = await submit(strict.admin, agent.type, max_attempts=2)
    for attempt in (1, 2):
        assert (await agent.claim_one(wait=20))["attempt"] == attempt
    over = await ended(strict.admin, task["task_id"])
    assert over["error"]["code"] == "AGENT_OFFLINE"
    shown = (await strict.admin.get(f"/agents/{agent.agent_id}")).json()
    assert shown["metrics"]["error_rate"] == 1


async def test_a_claim_that_waits_ends_with_the_key_it_came_with(strict: Server) -> None:
    agent = await join(strict, "rotated-01")
    path = f"/agents/{agent.agent_id}/claim"
    waiting = asyncio.create_task(agent.client.post(path, params={"wait": 20}))
    await _online(strict, agent)
    made = await strict.admin.post(f"/agents/{agent.agent_id}/key")
    task = await submit(strict.admin, agent.type)
    error_of(await waiting, 401, "UNAUTHORIZED")
    renewed = agent._replace(client=client_of(strict.application, made.json()["api_key"]))
    assert (await renewed.claim_one(wait=20))["task_id"] == task["task_id"]


async def test_a_claim_that_waits_ends_with_its_agent(strict: Server) -> None:
    agent = await join(strict, "deleted-01")
    path = f"/agents/{agent.agent_id}/claim"
    waiting = asyncio.create_task(agent.client.post(path, params={"wait": 20}))
    await _online(strict, agent)
    await strict.admin.delete(f"/agents/{agent.agent_id}")
    assert (await waiting).status_code in (401, 404)


async def test_an_agent_that_falls_silent_goes_offline(strict: Server) -> None:
    agent = await join(strict, "silent-01")
    await agent.beat()
    async with asyncio.timeout(PATIENCE + 15):
        while True:
            shown = (await strict.admin.get(f"/agents/{agent.agent_id}")).json()
            if shown["status"] == "offline":
                break
            await asyncio.sleep(0.5)  # asks again: it is about fifteen seconds of silence
    # Who takes the tasks in learns of it a moment later.
    async with asyncio.timeout(PATIENCE):
        while True:
            task = await submit(strict.admin, agent.type)
            if task.get("pending_reason") == "no_agent":
                break
            await asyncio.sleep(0.1)  # asks again; nothing announces this to a client


async def claimed(agent: Joined) -> list[JSON]:
    """As an agent would ask; a database that is busy for too long says so, and is asked again."""
    path = f"/agents/{agent.agent_id}/claim"
    while (answer := await agent.client.post(path, params={"wait": 20})).is_error:
        assert answer.status_code == BUSY, answer.text
    given: list[JSON] = answer.json()["assignments"]
    return given


async def test_a_crowd_of_agents_does_each_task_once(server: Server) -> None:
    agents = await asyncio.gather(
        *(join(server, f"one-of-many-{n}", capabilities=["crowded"]) for n in range(CROWD))
    )
    done: Counter[str] = Counter()
    over = asyncio.Event()

    async def work(agent: Joined) -> None:
        while not over.is_set():
            for assignment in await claimed(agent):
                while (answer := await agent.report(assignment, "complete", result={})).is_error:
                    assert answer.status_code == BUSY
                done[assignment["task_id"]] += 1
                if done.total() == CROWD:
                    over.set()

    working = [asyncio.create_task(work(agent)) for agent in agents]
    tasks = [await submit(server.admin, "crowded") for _ in range(CROWD)]
    async with asyncio.timeout(2 * PATIENCE):
        await over.wait()
    listed = await server.admin.get("/tasks", params={"type": "crowded", "status": "completed"})
    assert listed.json()["total"] == CROWD
    for one in working:
        one.cancel()
    ends = await asyncio.gather(*working, return_exceptions=True)
    assert not [end for end in ends if isinstance(end, Exception)]
    assert done == Counter(task["task_id"] for task in tasks)


async def _online(server: Server, agent: Joined) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            shown = (await server.admin.get(f"/agents/{agent.agent_id}")).json()
            if shown["status"] != "offline":
                return
            await asyncio.sleep(0.01)  # asks again; nothing announces this to a client
