"""A workflow survives a server that is killed between any two of its transactions."""

from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.process import MortalServer

_LANES, _LEVELS = 5, 10
_LIVES = {"sqlite": (2, 3, 5), "postgresql": (4, 7)}
"""How many transactions the server lives for, one life after the other."""


def _steps() -> list[dict[str, Any]]:
    """Fifty steps in ten levels, each needing two of the level above and the output of one."""
    steps = []
    for level in range(_LEVELS):
        for lane in range(_LANES):
            made: dict[str, Any] = {
                "step_id": f"{level}-{lane}",
                "type": "ping",
                "metadata": {"level": level},
                # Every kill takes an attempt from what was running.
                "retry": {"max_attempts": 20},
            }
            if level:
                above = [f"{level - 1}-{lane}", f"{level - 1}-{(lane + 1) % _LANES}"]
                made["depends_on"] = above
                made["input"] = {"above": f'steps."{above[0]}".output.level'}
            steps.append(made)
    return steps


def events_of(client: httpx2.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        page = client.get("/events", params={"after": after, "limit": 1000}).json()
        found += page["events"]
        if not page["events"]:
            return found
        after = page["next_after"]


def _each_step_was_done_once(client: httpx2.Client, execution_id: str) -> None:
    execution = client.get(f"/executions/{execution_id}").json()
    assert execution["status"] == "completed", execution
    assert execution["steps_completed"] == _LANES * _LEVELS
    by_task = {one["task_id"]: one for one in execution["steps"]}
    assert len(by_task) == _LANES * _LEVELS
    for step in execution["steps"]:
        level = int(step["step_id"].partition("-")[0])
        wanted = {"level": level, "above": level - 1} if level else {"level": 0}
        assert step["output"] == wanted
    assert client.get("/tasks", params={"limit": 1}).json()["total"] == len(by_task)
    told = Counter(
        (event["event_type"], event["data"].get("task_id"), event["data"].get("step_id"))
        for event in events_of(client)
        if event["event_type"] in ("task.completed", "workflow.step")
        and event["data"]["status"] == "completed"
    )
    assert set(told.values()) == {1}
    assert len(told) == 2 * len(by_task)


def _is_over(client: httpx2.Client, execution_id: str) -> bool:
    try:
        status = client.get(f"/executions/{execution_id}").json().get("status")
    except httpx2.TransportError:  # not yet up, or no more
        return False
    return status in ("completed", "failed", "cancelled")


def test_every_step_is_done_once_though_the_server_is_killed_all_along(
    data_dir: Path, database_url: str | None
) -> None:
    # On PostgreSQL, each life begins with waiting until the leases of the one before have lapsed.
    with MortalServer(data_dir, database_url=database_url, lease_seconds=1) as server:
        with server.client() as client:
            body = {"name": "fifty", "steps": _steps()}
            workflow_id = client.post("/workflows", json=body).json()["workflow_id"]
            answer = client.post(f"/workflows/{workflow_id}/execute", json={})
            assert answer.status_code == 202, answer.text
            execution_id = answer.json()["execution_id"]
            server.kill()
            killed = 0
            lives = _LIVES["sqlite" if database_url is None else "postgresql"]
            for commits in cycle(lives):
                if not server.live_for(commits, lambda: _is_over(client, execution_id)):
                    break
                killed += 1
        assert killed >= _LEVELS // max(lives)
        server.process = server._start()
        server.wait_until_up()
        with server.client() as client:
            _each_step_was_done_once(client, execution_id)


def _failing_steps(absent: str) -> list[dict[str, Any]]:
    """A chain whose last step fails, while others wait for an agent and a person."""
    chain = []
    for number in range(4):
        made: dict[str, Any] = {"step_id": str(number), "type": "ping", "metadata": {}}
        if number:
            made["depends_on"] = [str(number - 1)]
        chain.append({**made, "retry": {"max_attempts": 20}})
    chain[-1] |= {"input": {"x": "input.nowhere"}, "on_failure": {"compensate": "undo"}}
    return [
        *chain,
        {"step_id": "undo", "type": "ping", "metadata": {}, "retry": {"max_attempts": 20}},
        {"step_id": "ask", "type": "approval"},
        {"step_id": "waits", "type": absent},
        {
            "step_id": "each",
            "type": absent,
            "metadata": {},
            "for_each": {"items": "input.all", "concurrency": 2},
        },
    ]


def test_what_has_not_begun_ends_with_a_failed_execution_wherever_the_server_is_killed(
    data_dir: Path, database_url: str | None
) -> None:
    with MortalServer(data_dir, database_url=database_url, lease_seconds=1) as server:
        with server.client() as client:
            joining = {
                "agent_id": "absent-01",
                "name": "Never there",
                "type": "specialist",
                "capabilities": ["absent"],
                "max_capacity": 1,
                "transport": "http",
            }
            assert client.post("/agents", json=joining).status_code == 201
            body = {"name": "failing", "steps": _failing_steps("absent")}
            workflow_id = client.post("/workflows", json=body).json()["workflow_id"]
            answer = client.post(
                f"/workflows/{workflow_id}/execute", json={"input": {"all": [1, 2, 3]}}
            )
            assert answer.status_code == 202, answer.text
            execution_id = answer.json()["execution_id"]
            server.kill()
            killed = 0
            while server.live_for(3 + killed % 3, lambda: _is_over(client, execution_id)):
                killed += 1
        assert killed
        server.process = server._start()
        server.wait_until_up()
        with server.client() as client:
            execution = client.get(f"/executions/{execution_id}").json()
            assert execution["status"] == "failed"
            shown = {one["step_id"]: one for one in execution["steps"]}
            assert {name: one["status"] for name, one in shown.items()} == {
                **{str(number): "completed" for number in range(3)},
                "3": "failed",
                "undo": "completed",
                "ask": "cancelled",
                "waits": "cancelled",
                "each": "cancelled",
            }
            assert [one["status"] for one in shown["each"]["items"]] == ["cancelled"] * 3
            listed = client.get("/tasks", params={"limit": 100}).json()["tasks"]
            # Three of the chain, the compensation; those that waited, of which none is left open.
            ended = Counter(one["status"] for one in listed)
            assert ended == {"completed": 4, "cancelled": 3}
