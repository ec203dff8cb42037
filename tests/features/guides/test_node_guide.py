"""The guide to agents in Node over Redis does what it says: its own blocks are run."""

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.api.server import Server, ended, serving, settings_for, submit
from tests.valkey import ValkeyServer

pytestmark = pytest.mark.anyio

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "agent-node-redis.md"
_BLOCK = re.compile(r"^```(\S*)[ ]?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PATIENCE = 120


def block(language: str, containing: str) -> str:
    """The one block of the guide that is in a language and has a text in it."""
    (found,) = (
        match[3]
        for match in _BLOCK.finditer(GUIDE.read_text("utf-8"))
        if match[1] == language and containing in match[3]
    )
    return found


def body_of(command: str) -> str:
    """What a curl line of the guide sends."""
    match = re.search(r"-d '(.*?)'\s*$", command, re.DOTALL)
    assert match is not None
    return match[1]


@asynccontextmanager
async def agent(folder: Path, url: str) -> AsyncIterator[None]:
    """Node with the guide's agent, ready when it says so."""
    (folder / "agent.mjs").write_text(block("js", "createClient"), "utf-8")
    installing = ["sh", "-ec", block("sh", "npm install")]
    await asyncio.to_thread(
        subprocess.run, installing, cwd=folder, check=True, timeout=_PATIENCE, capture_output=True
    )
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-ec",
        f"exec {block('sh', 'node agent.mjs')}",
        cwd=folder,
        env={**os.environ, "REDIS_URL": url},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_PATIENCE):
            assert b"listens" in await process.stdout.readline()
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def registered(server: Server) -> None:
    said = body_of(block("sh", "/api/v1/agents"))
    answer = await server.admin.post(
        "/agents", content=said, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 201, answer.text


async def test_the_guides_agent_works(tmp_path: Path, valkey: ValkeyServer) -> None:
    folder, data_dir = tmp_path / "agent", tmp_path / "data"
    folder.mkdir()
    data_dir.mkdir(mode=0o700)
    settings = settings_for(data_dir, None, tmp_path, redis_url=valkey.url)
    async with serving(settings, roles=[]) as server:
        await registered(server)
        async with agent(folder, valkey.url):
            answer = await server.admin.post(
                "/tasks",
                content=body_of(block("sh", "/api/v1/tasks")),
                headers={"content-type": "application/json"},
            )
            task = answer.json()
            over = await ended(server.admin, task["task_id"])
            assert over["status"] == "completed"
            result = (await server.admin.get(f"/tasks/{task['task_id']}/result")).json()
            assert result["result"] == {"words": 3}
            wrong = await submit(server.admin, "word_count")
            over = await ended(server.admin, wrong["task_id"])
            assert over["error"] == {
                "code": "VALIDATION_ERROR",
                "message": "metadata.text must be a text.",
            }
