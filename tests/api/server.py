"""The whole application in process, and somebody of every role who talks to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from sutazai.agents.contract import Agent
from sutazai.bootstrap import Application, running
from sutazai.cli.listener import Listener, open_socket
from sutazai.settings import Settings
from sutazai.telemetry.tracing import Tracing

ADMIN_PASSWORD = "the admin's password"
PASSWORD = "correct horse battery"
ROLES = ("admin", "developer", "user", "viewer")
FINAL = ("completed", "failed", "cancelled")
PATIENCE = 30.0
"""Seconds until something that should happen counts as not happening."""

JSON = dict[str, Any]


class Server(NamedTuple):
    """A running application; `clients` are logged in, by role, `anonymous` is not."""

    application: Application
    workspace: Path
    clients: Mapping[str, httpx2.AsyncClient]
    anonymous: httpx2.AsyncClient

    @property
    def admin(self) -> httpx2.AsyncClient:
        return self.clients["admin"]

    @property
    def developer(self) -> httpx2.AsyncClient:
        return self.clients["developer"]

    @property
    def user(self) -> httpx2.AsyncClient:
        return self.clients["user"]

    @property
    def viewer(self) -> httpx2.AsyncClient:
        return self.clients["viewer"]


def client_of(application: Application, token: str | None = None) -> httpx2.AsyncClient:
    """A client that calls the application without a socket."""
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(application.app),
        base_url="http://sutazai.test/api/v1",
        headers={} if token is None else {"authorization": f"Bearer {token}"},
        timeout=PATIENCE,
    )


async def log_in(anonymous: httpx2.AsyncClient, username: str, password: str) -> str:
    """A new session's access token."""
    answer = await anonymous.post("/auth/login", json={"username": username, "password": password})
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


async def new_user(server: "Server", username: str, *roles: str) -> httpx2.AsyncClient:
    """An account of its own for one test; its client, logged in."""
    body = {"username": username, "password": PASSWORD, "roles": list(roles)}
    made = await server.admin.post("/users", json=body)
    assert made.status_code == 201, made.text
    return client_of(server.application, await log_in(server.anonymous, username, PASSWORD))


def settings_for(
    data_dir: Path, database_url: str | None, workspace: Path, **more: Any
) -> Settings:
    """Settings from these values alone, whatever the environment and `.env` say."""
    return Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
        data_dir=data_dir,
        workspace=workspace,
        database_url=database_url,  # type: ignore[arg-type]  # made a SecretStr
        admin_password=ADMIN_PASSWORD,  # type: ignore[arg-type]  # made a SecretStr
        **{
            "analysis_processes": 1,
            "drain_seconds": 1,
            "rate_limits": False,
            "llm_url": "off",
            **more,
        },
    )


@contextlib.asynccontextmanager
async def serving(
    settings: Settings,
    *,
    extra_agents: Sequence[Agent] = (),
    roles: Sequence[str] = ROLES,
    tracing: Tracing | None = None,
) -> AsyncIterator[Server]:
    """Start the application, make one user of each role, and log them in: which takes a while."""
    async with running(settings, extra_agents=extra_agents, tracing=tracing) as application:
        anonymous = client_of(application)
        clients = {
            "admin": client_of(application, await log_in(anonymous, "admin", ADMIN_PASSWORD))
        }
        server = Server(application, settings.workspace, clients, anonymous)
        for role in set(roles) - {"admin"}:
            clients[role] = await new_user(server, f"the-{role}", role)
        yield server


@contextlib.asynccontextmanager
async def on_a_socket(application: Application) -> AsyncIterator[int]:
    """Serve an application as `sutazai serve` does; the port. Ends its streams at the end."""
    settings = settings_for(Path(), None, Path())
    with open_socket("127.0.0.1", 0) as opened:
        listener = Listener(application, settings)
        serving = asyncio.create_task(listener.serve(sockets=[opened]))
        await listener.up.wait()
        yield opened.getsockname()[1]
        listener.stop()
        await serving


# --- what tests do all the time


async def submit(
    client: httpx2.AsyncClient, task_type: str = "ping", description: str = "a test", **more: Any
) -> JSON:
    """A task that must be accepted."""
    answer = await client.post(
        "/tasks", json={"type": task_type, "description": description, **more}
    )
    assert answer.status_code == 201, answer.text
    shown: JSON = answer.json()
    return shown


async def ended(client: httpx2.AsyncClient, task_id: str) -> JSON:
    """The task once it is over."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await client.get(f"/tasks/{task_id}", params={"wait": 20})
            assert answer.status_code == 200, answer.text
            task: JSON = answer.json()
            if task["status"] in FINAL:
                return task


async def reached(client: httpx2.AsyncClient, task_id: str, status: str) -> JSON:
    """The task once it has this status, which must be one it stays in for a while."""
    async with asyncio.timeout(PATIENCE):
        while True:
            task: JSON = (await client.get(f"/tasks/{task_id}")).json()
            if task["status"] == status:
                return task
            await asyncio.sleep(0.01)  # asks again; nothing announces this to a client yet


def error_of(answer: httpx2.Response, status: int, code: str) -> JSON:
    """The error of an answer that must be this one, in the specification's envelope."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body: JSON = answer.json()
    assert body.keys() == {"error"}
    error: JSON = body["error"]
    assert error.keys() - {"details"} == {"code", "message", "timestamp", "request_id"}
    assert error["code"] == code
    assert error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]
    for detail in error.get("details", ()):
        assert detail.keys() == {"field", "message"}
    return error


def wrong_fields(answer: httpx2.Response) -> dict[str, str]:
    """The fields that a 422 complains of, with what it says of each."""
    error = error_of(answer, 422, "VALIDATION_ERROR")
    return {detail["field"]: detail["message"] for detail in error.get("details", ())}
