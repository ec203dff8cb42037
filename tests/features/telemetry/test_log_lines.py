"""The log of a server as users start it: what its lines tell, and in which format."""

import json
from pathlib import Path

import httpx2
import pytest

from tests.api.process import started
from tests.api.server import ADMIN_PASSWORD, PATIENCE, ended, log_in, submit


@pytest.mark.parametrize("log_format", ["json", "text"])
async def test_every_request_has_a_line(tmp_path: Path, log_format: str) -> None:
    data_dir, workspace = tmp_path / "process", tmp_path / "workspace"
    workspace.mkdir()
    settings = {"SUTAZAI_LOG_LEVEL": "INFO", "SUTAZAI_LOG_FORMAT": log_format}
    with started(data_dir, workspace, **settings) as url:
        async with httpx2.AsyncClient(
            base_url=f"{url}/api/v1", timeout=PATIENCE, trust_env=False
        ) as client:
            token = await log_in(client, "admin", ADMIN_PASSWORD)
            client.headers["authorization"] = f"Bearer {token}"
            client.headers["x-request-id"] = "req-of-the-test"
            task = await submit(client)
            await ended(client, task["task_id"])
            await client.get("/tasks", params={"tag": "not-to-be-logged"})
            await client.get("/nowhere")
    text = (tmp_path / "process.log").read_text("utf-8")
    assert token not in text
    assert ADMIN_PASSWORD not in text
    assert "not-to-be-logged" not in text
    assert text.count("http.request") >= 5
    assert "req-of-the-test" in text
    if log_format == "json":
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        by_route = {line["route"]: line for line in lines if line["event"] == "http.request"}
        submitted = by_route["/api/v1/tasks"]
        assert by_route["unmatched"]["status"] == 404
        assert submitted["request_id"] == "req-of-the-test"
        assert submitted["address"] == "127.0.0.1"
        assert submitted["seconds"] > 0
        assert f"/api/v1/tasks/{task['task_id']}" == by_route["/api/v1/tasks/{task_id}"]["path"]
