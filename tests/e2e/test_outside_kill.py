"""A server killed as it hands a task to a waiting agent: the task is done, once."""

import contextlib
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.process import MortalServer
from tests.e2e.test_workflow_kill import events_of

_PATIENCE = 60.0
"""Seconds until something that should happen counts as not happening."""
_TASK = {"type": "handing", "description": "a test"}


def _joined(client: httpx2.Client, url: str) -> httpx2.Client:
    said = {"agent_id": "hand-01", "name": "hand", "type": "x", "capabilities": ["handing"]}
    answer = client.post("/agents", json={**said, "transport": "http"})
    assert answer.status_code == 201, answer.text
    headers = {"Authorization": f"Bearer {answer.json()['api_key']}"}
    return httpx2.Client(base_url=url, headers=headers, timeout=30)


def _claimed(agent: httpx2.Client) -> list[dict[str, Any]]:
    """What the agent gets, over as many claims as it takes; nothing if the server dies."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            answer = agent.post("/agents/hand-01/claim", params={"wait": 20})
        except httpx2.ConnectError:
            time.sleep(0.02)  # nothing tells when another process listens
            continue
        except httpx2.TransportError:
            return []
        assert answer.status_code == 200, answer.text
        if given := answer.json()["assignments"]:
            return list(given)
    raise AssertionError("there was nothing to do")


def _online(client: httpx2.Client) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            if client.get("/agents/hand-01").json()["status"] != "offline":
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.02)  # nothing announces this to a client
    raise AssertionError("the agent did not come online")


def _submit(client: httpx2.Client) -> httpx2.Response:
    return client.post("/tasks", json=_TASK, headers={"Idempotency-Key": "this-task"})


def test_a_task_is_done_once_though_the_server_is_killed_as_it_hands_it_over(
    data_dir: Path, database_url: str | None
) -> None:
    with (
        MortalServer(data_dir, database_url=database_url, lease_seconds=2) as server,
        server.client() as client,
        _joined(client, server.url) as agent,
    ):
        server.kill()

        received: list[dict[str, Any]] = []
        accepted: list[int] = []

        def work() -> None:
            received.extend(_claimed(agent))

        def use() -> None:
            _online(client)
            time.sleep(0.5)  # until its claim waits: nothing tells
            with contextlib.suppress(httpx2.TransportError):  # it was killed, as it should be
                accepted.append(_submit(client).status_code)

        threads = [threading.Thread(target=work), threading.Thread(target=use)]
        for thread in threads:
            thread.start()
        # The first transaction of a task is its last.
        assert server.live_for(1, lambda: False)
        for thread in threads:
            thread.join()
        assert (received, accepted) == ([], [])

        server.start_again()
        again = _submit(client)
        assert again.status_code == 201
        (given,) = _claimed(agent)
        assert given["task_id"] == again.json()["task_id"]
        # On SQLite the first attempt began in the transaction that the server died of.
        assert given["attempt"] == (2 if database_url is None else 1)
        done = agent.post(f"/assignments/{given['assignment_id']}/complete", json={"result": {}})
        assert done.status_code == 200, done.text
        told = Counter(
            event["event_type"]
            for event in events_of(client)
            if event["data"].get("task_id") == given["task_id"]
        )
        assert told["task.created"] == told["task.completed"] == 1
        assert told["task.started"] == given["attempt"]
