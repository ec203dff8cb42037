"""What the log tells of requests, and what it must never tell."""

import json
import traceback
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from sutazai.database import Database
from sutazai.errors import SutazaiError
from tests.api.process import started
from tests.api.server import ADMIN_PASSWORD, JSON, PATIENCE

WRONG = "wr0ng-passw0rd-of-the-test"
SECRET = "t9-vellum-41x-of-the-test"


async def test_failed_logins_are_logged_and_no_secret_ever_is(
    database_url: str | None, tmp_path: Path
) -> None:
    data_dir, workspace = tmp_path / "process", tmp_path / "workspace"
    workspace.mkdir()
    log = tmp_path / "process.log"
    environment = {} if database_url is None else {"SUTAZAI_DATABASE_URL": database_url}
    with started(data_dir, workspace, SUTAZAI_LOG_LEVEL="DEBUG", **environment) as url:
        async with httpx2.AsyncClient(
            base_url=f"{url}/api/v1", timeout=PATIENCE, trust_env=False
        ) as client:
            secrets = await _use(client)
    written = log.read_text("utf-8")
    for secret in secrets:
        assert secret not in written
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    failed = [line for line in lines if line["event"] == "login.failed"]
    assert [line["request_id"] for line in failed] == ["req-wrong", "req-unknown"]
    assert failed[0]["user_id"].startswith("user-")
    assert failed[1]["user_id"] is None
    assert {line["address"] for line in failed} == {"127.0.0.1"}


async def test_an_error_of_the_database_does_not_show_what_was_to_be_stored(
    database: Database,
) -> None:
    statement = text("SELECT * FROM nowhere WHERE secret = :secret")
    with pytest.raises((SutazaiError, SQLAlchemyError)) as caught:
        await database.run(lambda connection: connection.execute(statement, {"secret": SECRET}))
    shown = "".join(traceback.format_exception(caught.value))
    assert "nowhere" in shown
    assert SECRET not in shown


async def _use(client: httpx2.AsyncClient) -> list[str]:
    """Handle secrets in every way there is; what must not be in the log."""

    async def log_in(username: str, password: str, request_id: str) -> JSON:
        body = {"username": username, "password": password}
        headers = {"x-request-id": request_id}
        answer: JSON = (await client.post("/auth/login", json=body, headers=headers)).json()
        return answer

    await log_in("admin", WRONG, "req-wrong")
    await log_in(WRONG, WRONG, "req-unknown")
    pair = await log_in("admin", ADMIN_PASSWORD, "req-right")
    client.headers["authorization"] = f"Bearer {pair['access_token']}"
    key = (await client.post("/auth/keys", json={"name": "a key"})).json()["api_key"]
    user = {"username": "somebody", "password": SECRET}
    assert (await client.post("/users", json=user)).status_code == 201
    assert (await client.post("/users", json=user)).status_code == 409
    await client.post("/users", content=f'{{"username": "x", "password": "{SECRET}"')
    await client.post("/users", json={"username": SECRET, "password": SECRET, "roles": [SECRET]})
    again = (
        await client.post("/auth/refresh", json={"refresh_token": pair["refresh_token"]})
    ).json()
    await client.post("/auth/refresh", json={"refresh_token": pair["refresh_token"]})
    await client.get("/tasks", headers={"x-api-key": f"{key}x"})
    return [WRONG, ADMIN_PASSWORD, SECRET, key, *_tokens(pair), *_tokens(again)]


def _tokens(pair: JSON) -> tuple[str, str]:
    return pair["access_token"], pair["refresh_token"]
