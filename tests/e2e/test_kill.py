"""A killed server loses nothing that it acknowledged, and does nothing twice."""

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.process import PASSWORD, ServerProcess

_KILLS = 4
_SEED = 20_260_805
_FINAL = ("task.completed", "task.failed", "task.cancelled")


_PATIENCE = 120.0
"""Seconds until something that should happen counts as not happening."""


class _Load:
    """Submits pings from several threads until told to stop; keeps what was acknowledged."""

    def __init__(self, server: ServerProcess, token_of: httpx2.Client) -> None:
        self._server = server
        self._headers = dict(token_of.headers)
        self.acknowledged: list[str] = []
        self.first_answer = threading.Event()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._submit) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _submit(self) -> None:
        client = httpx2.Client(base_url=self._server.url, headers=self._headers, timeout=60)
        while not self._stop.is_set():
            try:
                answer = client.post("/tasks", json={"type": "ping", "description": "load"})
            except httpx2.TransportError:
                break  # the server was killed, as it should be
            if answer.status_code == 201:
                self.acknowledged.append(answer.json()["task_id"])
                if len(self.acknowledged) > 20:
                    self.first_answer.set()
        client.close()

    def stop(self) -> list[str]:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.acknowledged


def _all_events(client: httpx2.Client) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    after = 0
    while True:
        page = client.get("/events", params={"after": after, "limit": 1000}).json()
        if not page["events"]:
            return events
        events += page["events"]
        after = page["next_after"]


def _each_ended_once(client: httpx2.Client, acknowledged: list[str]) -> None:
    end = time.monotonic() + _PATIENCE
    for task_id in acknowledged:
        while True:
            answer = client.get(f"/tasks/{task_id}/result", params={"wait": 20})
            if answer.status_code == 200 or time.monotonic() > end:
                break
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "completed"
    events = _all_events(client)
    ends = Counter(event["data"]["task_id"] for event in events if event["event_type"] in _FINAL)
    assert set(acknowledged) <= ends.keys()
    assert set(ends.values()) == {1}
    ids = [event["id"] for event in events]
    assert ids == sorted(set(ids))
    done = client.get("/tasks", params={"status": "completed", "limit": 1}).json()["total"]
    assert done == len(ends)
    assert client.get("/tasks", params={"limit": 1}).json()["total"] == done


def test_every_acknowledged_task_ends_exactly_once_though_the_server_is_killed(
    tmp_path: Path,
) -> None:
    chance = random.Random(_SEED)
    acknowledged: list[str] = []
    with ServerProcess(tmp_path / "data") as server:
        for _ in range(_KILLS):
            client = server.client()
            load = _Load(server, client)
            assert load.first_answer.wait(_PATIENCE)
            # Killed at no particular moment of the work that is under way.
            threading.Event().wait(chance.random() / 2)
            server.kill()
            acknowledged += load.stop()
            client.close()
            server.start_again()
        with server.client() as client:
            assert len(acknowledged) > 20 * _KILLS
            _each_ended_once(client, acknowledged)


def test_a_server_finishes_what_another_was_doing_when_it_was_killed(
    tmp_path: Path, postgres_url: str
) -> None:
    first_dir, second_dir = tmp_path / "first", tmp_path / "second"
    with (
        ServerProcess(first_dir, database_url=postgres_url) as first,
        ServerProcess(second_dir, database_url=postgres_url) as second,
        second.client() as client,
    ):
        load = _Load(first, client)
        assert load.first_answer.wait(_PATIENCE)
        first.kill()
        acknowledged = load.stop()
        _each_ended_once(client, acknowledged)
        first.start_again()


def test_a_server_told_to_end_finishes_its_work_and_loses_nothing(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        with server.client() as client:
            load = _Load(server, client)
            assert load.first_answer.wait(_PATIENCE)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(30) == 0
            acknowledged = load.stop()
        server.start_again()
        with server.client() as client:
            _each_ended_once(client, acknowledged)
            attempts = {client.get(f"/tasks/{one}").json()["attempt"] for one in acknowledged}
            assert attempts == {1}


def test_a_second_server_on_the_same_data_is_refused_in_one_line(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        second = subprocess.run(
            [*server.process.args, "--port", "0"],  # type: ignore[misc]  # it is a list
            env={"SUTAZAI_ADMIN_PASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert second.returncode == 2
        assert "Another server" in second.stderr
        assert str(server.process.pid) in second.stderr
        assert "Traceback" not in second.stderr
