"""The servers under test, each a process of its own on a free port."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.http_load import call, request

PASSWORD = "benchmark-password"
# Requests are counted as they are for users, only with more room than any benchmark takes.
_PLENTY = {
    "SUTAZAI_RATE_LIMIT_REQUESTS": "1000000",
    "SUTAZAI_RATE_LIMIT_REQUESTS_PREMIUM": "1000000",
    "SUTAZAI_RATE_LIMIT_TASKS_PREMIUM": "1000000",
    "SUTAZAI_RATE_LIMIT_REQUESTS_AGENT": "1000000",
}
_BARE = """
from fastapi import FastAPI
from pydantic import BaseModel, Field
import uvicorn, sys

class TaskRequest(BaseModel):
    type: str
    description: str
    priority: int = Field(5, ge=1, le=10)
    metadata: dict = {}

class Task(BaseModel):
    task_id: str
    status: str
    type: str
    description: str
    priority: int

app = FastAPI()

@app.post("/tasks", status_code=201)
async def create(task: TaskRequest) -> Task:
    return Task(task_id="550e8400-e29b-41d4-a716-446655440000", status="queued", type=task.type,
                description=task.description, priority=task.priority)

@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="error")
"""


class Server(NamedTuple):
    port: int
    process: psutil.Process
    token: str
    started_in: float


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError, ValueError, EOFError):
            if call(port, request("GET", path)).status == 200:
                return
        time.sleep(0.005)
    raise RuntimeError("the server ended while starting")


@contextlib.contextmanager
def _running(command: list[str], port: int, path: str, **env: str) -> Iterator[tuple[int, float]]:
    begun = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **env}, stderr=subprocess.DEVNULL)
    try:
        _wait(port, path, process)
        yield process.pid, time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def running_script(script: str) -> Iterator[Server]:
    """A baseline: a script that serves on the port it is given, with a `/health`."""
    port = free_port()
    with _running([sys.executable, "-c", script, str(port)], port, "/health") as (pid, seconds):
        yield Server(port, psutil.Process(pid), "", seconds)


@contextlib.contextmanager
def bare() -> Iterator[Server]:
    """FastAPI and pydantic that do nothing: what HTTP alone costs."""
    with running_script(_BARE) as server:
        yield server


@contextlib.contextmanager
def ours(
    *, data_dir: Path | None = None, script: str | None = None, **env: str
) -> Iterator[Server]:
    """`sutazai serve`, embedded, logged in as admin; or a script that takes its arguments."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        data = data_dir or Path(directory) / "data"
        program = ["-m", "sutazai"] if script is None else ["-c", script]
        command = [sys.executable, *program, "serve", "--port", str(port)]
        command += ["--data-dir", str(data), "--workspace", directory]
        settings = {"SUTAZAI_ADMIN_PASSWORD": PASSWORD, **_PLENTY, **env}
        with _running(command, port, "/api/v1/health", **settings) as (pid, seconds):
            body = json.dumps({"username": "admin", "password": PASSWORD}).encode()
            answer = call(port, request("POST", "/api/v1/auth/login", body=body))
            token: str = json.loads(answer.body)["access_token"]
            yield Server(port, psutil.Process(pid), token, seconds)
