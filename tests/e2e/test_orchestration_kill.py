"""What a task has had done survives a server that is killed while the task waits."""

from collections import Counter
from itertools import cycle
from pathlib import Path

import httpx2

from tests.e2e.process import MortalServer
from tests.e2e.test_workflow_kill import events_of

_LIVES = {"sqlite": (3, 5), "postgresql": (4, 7)}
"""How many transactions the server lives for, one life after the other."""
_GOAL = "review this for security, then review its quality"


def _is_over(client: httpx2.Client, task_id: str) -> bool:
    try:
        status = client.get(f"/tasks/{task_id}").json().get("status")
    except httpx2.TransportError:  # not yet up, or no more
        return False
    return status in ("completed", "failed", "cancelled")


def test_a_goal_is_reached_once_though_the_server_is_killed_all_along(
    data_dir: Path, database_url: str | None
) -> None:
    # On PostgreSQL, each life begins with waiting until the leases of the one before have lapsed.
    with MortalServer(data_dir, database_url=database_url, lease_seconds=1) as server:
        with server.client() as client:
            body = {
                "type": "orchestration",
                "description": "to survive",
                "metadata": {"goal": _GOAL, "code": "def half(n):\n    return eval('n / 2')\n"},
                # Every kill takes an attempt from what was running.
                "max_attempts": 20,
            }
            answer = client.post("/tasks", json=body)
            assert answer.status_code == 201, answer.text
            task_id = answer.json()["task_id"]
            server.kill()
            killed = 0
            lives = _LIVES["sqlite" if database_url is None else "postgresql"]
            for commits in cycle(lives):
                if not server.live_for(commits, lambda: _is_over(client, task_id)):
                    break
                killed += 1
        assert killed
        server.process = server._start()
        server.wait_until_up()
        with server.client() as client:
            _the_goal_was_reached_once(client, task_id)


def _the_goal_was_reached_once(client: httpx2.Client, task_id: str) -> None:
    done = client.get(f"/tasks/{task_id}/result", params={"wait": 25}).json()
    assert done["status"] == "completed", done
    steps = done["result"]["steps"]
    assert [step["status"] for step in steps] == ["completed", "completed"]
    children = client.get("/tasks", params={"parent": task_id}).json()["tasks"]
    assert {one["task_id"] for one in children} == {one["task_id"] for one in steps}
    assert client.get("/tasks", params={"limit": 1}).json()["total"] == 3
    told = Counter(event["event_type"] for event in events_of(client))
    assert (told["workflow.started"], told["workflow.completed"]) == (1, 1)
    assert told["task.completed"] == 3
