"""A due time begins its task once, however often the server dies and however many there are."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.process import MortalServer, ServerProcess

_NUMBER = 6
_LIVES = (1, 2, 3)
"""How many transactions the server lives for, one life after the other."""
_PATIENCE = 60.0


def _schedule_some(client: httpx2.Client, *, seconds: float) -> list[str]:
    """Schedules that are all due at one moment; their ids."""
    at = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    made = []
    for number in range(_NUMBER):
        task = {"type": "ping", "description": "once", "metadata": {"n": number}}
        answer = client.post("/schedules", json={"name": str(number), "at": at, "task": task})
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["schedule_id"])
    return made


def _wait_for_all(client: httpx2.Client, made: list[str]) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        found = [client.get(f"/schedules/{one}").json()["status"] for one in made]
        if set(found) == {"completed"}:
            return
        time.sleep(0.1)  # nothing tells another process
    raise AssertionError("not every due time came")


def _each_fired_once(client: httpx2.Client, made: list[str]) -> None:
    began: list[str] = []
    for one in made:
        [firing] = client.get(f"/schedules/{one}/history").json()["history"]
        assert firing["outcome"] == "fired"
        began.append(firing["task_id"])
    assert client.get("/tasks", params={"limit": 1}).json()["total"] == _NUMBER
    tasks: list[dict[str, Any]] = client.get("/tasks", params={"limit": 100}).json()["tasks"]
    assert {task["task_id"] for task in tasks} == set(began)
    assert Counter(task["metadata"]["n"] for task in tasks) == Counter(range(_NUMBER))


def _is_over(client: httpx2.Client) -> bool:
    try:
        found: int = client.get("/tasks?status=completed&limit=1").json()["total"]
    except httpx2.TransportError:  # not yet up, or no more
        return False
    return found == _NUMBER


def test_every_due_time_fires_once_though_the_server_is_killed_all_along(
    data_dir: Path, database_url: str | None
) -> None:
    # On PostgreSQL, each life begins with waiting until the leases of the one before have lapsed.
    with MortalServer(data_dir, database_url=database_url, lease_seconds=1) as server:
        with server.client() as client:
            made = _schedule_some(client, seconds=3)
            server.kill()

            killed = 0
            for commits in cycle(_LIVES):
                if not server.live_for(commits, lambda: _is_over(client)):
                    break
                killed += 1
        assert killed >= 1
        server.process = server._start()
        server.wait_until_up()
        with server.client() as client:
            _wait_for_all(client, made)
            _each_fired_once(client, made)


def test_of_two_servers_on_one_database_one_fires_each_due_time(
    tmp_path: Path, postgres_url: str
) -> None:
    with (
        ServerProcess(tmp_path / "one", database_url=postgres_url) as first,
        ServerProcess(tmp_path / "two", database_url=postgres_url) as second,
    ):
        with first.client() as client:
            made = _schedule_some(client, seconds=4)
            _wait_for_all(client, made)
        with second.client() as client:
            _each_fired_once(client, made)
