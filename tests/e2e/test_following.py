"""Clients that are cut off and killed, of servers that are too, end with the log's very events."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.process import ServerProcess

# Two minutes and more by hand; what the suite can afford otherwise.
SECONDS = float(os.environ.get("SUTAZAI_SOAK_SECONDS", "8"))
_FOLLOWER = Path(__file__).with_name("follower.py")
_PATIENCE = 60.0
_LEAST = 40
"""Tasks, however slow the machine is."""


class Traffic:
    """Tasks, a few at a time, whether or not the server is up."""

    def __init__(self, server: ServerProcess, headers: dict[str, str]) -> None:
        self._server = server
        self._headers = headers
        self.accepted = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with httpx2.Client(base_url=self._server.url, headers=self._headers, timeout=60) as client:
            while not self._stop.wait(0.01):
                try:
                    task = {"type": "ping", "description": "traffic"}
                    self.accepted += client.post("/tasks", json=task).status_code == 201
                except httpx2.TransportError:
                    self._stop.wait(0.05)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def _log(client: httpx2.Client) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    after = 0
    while True:
        page = client.get("/events", params={"after": after, "limit": 1000}).json()
        if not page["events"]:
            return events
        events += [
            {"id": one["id"], "type": one["event_type"], "data": one["data"]}
            for one in page["events"]
        ]
        after = page["next_after"]


def _heard(path: Path) -> list[dict[str, Any]]:
    whole = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in whole[: whole.rfind(b"\n") + 1].splitlines()]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_followers_end_with_exactly_the_events_of_the_log(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    chance = random.Random(database)
    url = request.getfixturevalue("postgres_url") if database == "postgresql" else None
    with ServerProcess(tmp_path / "data", database_url=url) as server:
        with server.client() as client:
            headers = {"authorization": client.headers["authorization"]}
        token = headers["authorization"].removeprefix("Bearer ")
        files = {how: tmp_path / how for how in ("sse", "ws")}

        def follow(how: str) -> "subprocess.Popen[bytes]":
            command = [sys.executable, str(_FOLLOWER), how, server.url, token, str(files[how])]
            return subprocess.Popen(command)

        traffic = Traffic(server, headers)
        followers = {how: follow(how) for how in files}
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end or traffic.accepted < _LEAST:
                time.sleep(chance.random())  # the victims live for no particular while
                if chance.random() < 0.25:
                    server.process.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM]))
                    server.process.wait(30)
                    server.start_again()
                else:
                    how = chance.choice(list(followers))
                    followers[how].kill()
                    followers[how].wait()
                    followers[how] = follow(how)
            traffic.stop()
            with server.client() as client:
                _ended(client)
                log = _log(client)
            assert len(log) > _LEAST * 4
            for how, path in files.items():
                _until_heard(path, log[-1]["id"])
                assert _heard(path)[: len(log)] == log, how
        finally:
            traffic.stop()
            for process in followers.values():
                process.kill()
                process.wait()


def _ended(client: httpx2.Client) -> None:
    """Until no task is under way."""
    for status in ("queued", "processing"):
        end = time.monotonic() + _PATIENCE
        while client.get("/tasks", params={"status": status, "limit": 1}).json()["total"]:
            assert time.monotonic() < end
            time.sleep(0.05)  # and it looks again


def _until_heard(path: Path, last: int) -> None:
    end = time.monotonic() + _PATIENCE
    while not (heard := _heard(path)) or heard[-1]["id"] < last:
        assert time.monotonic() < end, f"{path.name}: {heard[-1:]}"
        time.sleep(0.05)  # and it looks again
