"""A workflow survives a server that is killed between any two of its transactions."""

from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.process import MortalServer

_LANES, _LEVELS = 5, 10
_LIVES = (2, 3, 5)
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


def _events(client: httpx2.Client) -> list[dict[str, Any]]:
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
        for event in _events(client)
        if event["event_type"] in ("task.completed", "workflow.step")
        and event["data"]["status"] == "completed"
    )
    assert set(told.values()) == {1}
    assert len(told) == 2 * len(by_task)


def test_every_step_is_done_once_though_the_server_is_killed_all_along(tmp_path: Path) -> None:
    with MortalServer(tmp_path / "data") as server:
        with server.client() as client:
            body = {"name": "fifty", "steps": _steps()}
            workflow_id = client.post("/workflows", json=body).json()["workflow_id"]
            answer = client.post(f"/workflows/{workflow_id}/execute", json={})
            assert answer.status_code == 202, answer.text
            execution_id = answer.json()["execution_id"]
            server.kill()

            def done() -> bool:
                shown = client.get(f"/executions/{execution_id}").json()
                return bool(shown["status"] == "completed")

            killed = 0
            for commits in cycle(_LIVES):
                if not server.live_for(commits, done=done):
                    break
                killed += 1
        assert killed >= _LEVELS // max(_LIVES)
        server.process = server._start()
        server.wait_until_up()
        with server.client() as client:
            _each_step_was_done_once(client, execution_id)
