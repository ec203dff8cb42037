"""Prompts to a real, very small model, through the whole server."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.server import Server, ended, serving, settings_for, submit
from tests.language_model import MODEL, PATIENCE, OllamaFront, SmallModel

pytestmark = pytest.mark.xdist_group("model")

JSON = dict[str, Any]


async def result_of(client: httpx2.AsyncClient, task_id: str) -> JSON:
    await ended(client, task_id)
    answer = await client.get(f"/tasks/{task_id}/result")
    assert answer.status_code == 200, answer.text
    shown: JSON = answer.json()
    assert shown["status"] == "completed", shown
    result: JSON = shown["result"]
    return result


async def healthy(server: Server) -> None:
    """Wait for the first look at the model server."""
    reach = server.application.services.models.reach
    found = asyncio.Event()
    reach.on_change(found.set)
    if not reach.is_available:
        async with asyncio.timeout(PATIENCE):
            await found.wait()


async def test_a_prompt_is_answered_by_the_model_with_what_it_cost(
    small_model: SmallModel, database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    settings = settings_for(data_dir, database_url, tmp_path, llm_url=small_model.url)
    async with serving(settings, roles=["user"]) as server:
        await healthy(server)
        health = (await server.anonymous.get("/health")).json()
        assert health["services"]["ollama"] == "healthy"
        task = await submit(
            server.user, "llm_prompt", "a prompt", metadata={"prompt": "Say hi.", "max_tokens": 8}
        )
        result = await result_of(server.user, task["task_id"])
        assert isinstance(result["output"], str)
        assert result["output"].strip()
        model = result["model"]
        assert model["name"] == MODEL
        assert model["calls"] == 1
        assert model["input_tokens"] > 0
        assert 0 < model["output_tokens"] <= 8
        assert model["tokens"] == model["input_tokens"] + model["output_tokens"]
        assert model["cost"] == 0
        assert model["seconds"] > 0
        events = (await server.user.get("/events", params={"limit": 1000})).json()["events"]
        mine = [one for one in events if one["data"].get("task_id") == task["task_id"]]
        written = [one["data"]["text"] for one in mine if one["event_type"] == "task.output"]
        assert "".join(written) == result["output"]
        assert mine[-1]["event_type"] == "task.completed"


async def test_the_same_through_ollama(ollama: OllamaFront, data_dir: Path, tmp_path: Path) -> None:
    settings = settings_for(
        data_dir,
        None,
        tmp_path,
        llm_url=ollama.url,
        llm_provider="ollama",
        llm_model=ollama.model,
    )
    async with serving(settings, roles=["user"]) as server:
        await healthy(server)
        metadata = {"prompt": "Say hi.", "max_tokens": 8}
        task = await submit(server.user, "llm_prompt", "a prompt", metadata=metadata)
        result = await result_of(server.user, task["task_id"])
        assert result["model"]["name"] == ollama.model
        assert result["model"]["provider"] == "ollama"
        # That protocol counts no tokens while it streams, so they are reckoned, and it is said.
        assert result["model"]["tokens_estimated"] is True
        assert result["model"]["tokens"] > 0
