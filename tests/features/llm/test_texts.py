"""`text-assistant-01`, through the whole server: without a model, and with one that appears."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.server import ended, reached, serving, settings_for, submit
from tests.features.llm.test_prompts import healthy, result_of
from tests.language_model import SmallModel
from tests.scripted_model import Say, ScriptedModel
from tests.unit.analysis.test_summaries import STORY

JSON = dict[str, Any]
SCHEMA: JSON = {
    "type": "object",
    "properties": {"year": {"type": "integer"}, "mountain": {"type": "string", "maxLength": 12}},
    "required": ["year", "mountain"],
    "additionalProperties": False,
}


async def test_a_summary_needs_no_model(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "story.md").write_text(f"# News\n\n{STORY}\n")
    settings = settings_for(data_dir, database_url, tmp_path)
    async with serving(settings, roles=["user"]) as server:
        for metadata in ({"text": STORY}, {"file": "story.md"}):
            task = await submit(server.user, "summarization", metadata=metadata)
            result = await result_of(server.user, task["task_id"])
            assert result["method"] == "extractive"
            assert result["model"] is None
            assert "The volcano erupted on Monday" in result["summary"]
            assert result["summary"] == " ".join(one["text"] for one in result["sentences"])
        nothing = await submit(server.user, "summarization", metadata={})
        await ended(server.user, nothing["task_id"])
        answer = (await server.user.get(f"/tasks/{nothing['task_id']}/result")).json()
        assert (
            answer["error"]["message"]
            == "Give the `text` to summarise, or name `files` that have it."
        )


async def test_what_needs_a_model_waits_for_one(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    settings = settings_for(data_dir, database_url, tmp_path)
    async with serving(settings, roles=["user"]) as server:
        prompt = await submit(server.user, "llm_prompt", metadata={"prompt": "Say hi."})
        pinned = await submit(
            server.user,
            "extraction",
            agent="text-assistant-01",
            metadata={"text": STORY, "schema": SCHEMA},
        )
        for task in (prompt, pinned):
            assert (task["status"], task["pending_reason"]) == ("pending", "no_model")
        # Nothing holds up what needs none, pinned to the same agent.
        easy = await submit(
            server.user, "summarization", agent="text-assistant-01", metadata={"text": STORY}
        )
        assert (await ended(server.user, easy["task_id"]))["status"] == "completed"
        for task in (prompt, pinned):
            assert (await reached(server.user, task["task_id"], "pending"))["pending_reason"]

    def script(body: JSON) -> Say:
        if "response_format" in body:
            return Say(json.dumps({"year": 1984, "mountain": "Etna"}))
        return Say("hi")

    with ScriptedModel(script) as model:
        settings = settings_for(data_dir, database_url, tmp_path, llm_url=model.url)
        async with serving(settings, roles=[]) as server:
            shown = await result_of(server.admin, prompt["task_id"])
            assert shown["output"] == "hi"
            shown = await result_of(server.admin, pinned["task_id"])
            assert shown["output"] == {"year": 1984, "mountain": "Etna"}
            assert shown["not_in_text"] == ["$.mountain"]


async def test_a_model_that_comes_while_the_server_runs_is_found(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    model = ScriptedModel(lambda body: Say("hi"))
    with model:
        url = model.url
    settings = settings_for(data_dir, database_url, tmp_path, llm_url=url)
    async with serving(settings, roles=["user"]) as server:
        task = await submit(server.user, "llm_prompt", metadata={"prompt": "Say hi."})
        assert task["pending_reason"] == "no_model"
        health = (await server.anonymous.get("/health")).json()
        assert (health["status"], health["services"]["ollama"]) == ("degraded", "unhealthy")
        with ScriptedModel(lambda body: Say("hi"), port=model.port):
            assert (await result_of(server.user, task["task_id"]))["output"] == "hi"


async def test_a_models_summary_is_held_against_the_text(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    said = "The volcano erupted and closed three airports. It killed 12 people."
    with ScriptedModel(lambda body: Say(said)) as model:
        settings = settings_for(data_dir, database_url, tmp_path, llm_url=model.url)
        async with serving(settings, roles=["user"]) as server:
            await healthy(server)
            task = await submit(server.user, "summarization", metadata={"text": STORY})
            result = await result_of(server.user, task["task_id"])
            assert result["method"] == "abstractive"
            assert result["summary"] == "The volcano erupted and closed three airports."
            assert [one["reason"] for one in result["dropped"]] == ["the source has no 12"]
            assert result["model"]["name"] == "scripted"


async def test_budgets_of_the_settings_end_a_task_with_what_was_spent(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    with ScriptedModel(lambda body: Say("no JSON", (40, 10))) as model:
        settings = settings_for(
            data_dir,
            database_url,
            tmp_path,
            llm_url=model.url,
            llm_budgets={"task": {"tokens": 260}},
        )
        async with serving(settings, roles=["user"]) as server:
            await healthy(server)
            metadata = {"text": "1984", "schema": SCHEMA, "max_tokens": 20}
            task = await submit(server.user, "extraction", metadata=metadata)
            await ended(server.user, task["task_id"])
            answer = (await server.user.get(f"/tasks/{task['task_id']}/result")).json()
            assert answer["status"] == "failed"
            assert answer["error"]["message"].startswith("budget_exceeded")
            spent = answer["result"]["model"]
            assert spent["budget_exceeded"] == "task"
            assert spent["tokens"] == 50 * len(model.asked) > 0
            text = (await server.admin.get("http://sutazai.test/metrics")).text
            assert 'sutazai_model_tokens_total{direction="output",model="scripted"}' in text


@pytest.mark.xdist_group("model")
async def test_a_real_model_keeps_to_a_schema(
    small_model: SmallModel, data_dir: Path, tmp_path: Path
) -> None:
    settings = settings_for(data_dir, None, tmp_path, llm_url=small_model.url)
    async with serving(settings, roles=["user"]) as server:
        await healthy(server)
        schema = {
            "type": "object",
            "properties": {"colour": {"enum": ["red", "blue"]}},
            "required": ["colour"],
            "additionalProperties": False,
        }
        metadata = {"text": "The car is red.", "schema": schema, "max_tokens": 30}
        task = await submit(server.user, "extraction", metadata=metadata)
        result = await result_of(server.user, task["task_id"])
        assert result["output"]["colour"] in ("red", "blue")
        assert result["model"]["output_tokens"] > 0


WRONG: list[tuple[str, JSON, str]] = [
    ("extraction", {"text": "a", "schema": {"type": "array"}}, "schema"),
    ("extraction", {"text": "a", "schema": {"type": "object", "properties": 3}}, "schema"),
    (
        "extraction",
        {"text": "a", "schema": {"type": "object", "$id": "http://evil.example/"}},
        "schema",
    ),
    (
        "extraction",
        {
            "text": "a",
            "schema": {"type": "object", "properties": {"a": {"$ref": "http://evil.example/s"}}},
        },
        "schema",
    ),
    ("extraction", {"schema": SCHEMA}, "text"),
    ("extraction", {"text": "a"}, "schema"),
    ("extraction", {"text": "", "schema": SCHEMA}, "text"),
    ("llm_prompt", {"prompt": "Say hi.", "max_tokens": 0}, "max_tokens"),
    ("llm_prompt", {"prompt": 3}, "prompt"),
    ("llm_prompt", {"system": " "}, "system"),
]


async def test_what_could_never_be_asked_is_refused_before_it_waits_for_a_model(
    data_dir: Path, tmp_path: Path
) -> None:
    settings = settings_for(data_dir, None, tmp_path)
    async with serving(settings, roles=["user"]) as server:
        for task_type, metadata, field in WRONG:
            for pinned in ({}, {"agent": "text-assistant-01"}):
                body = {"type": task_type, "description": "a", "metadata": metadata, **pinned}
                answer = await server.user.post("/tasks", json=body)
                assert answer.status_code == 422, (metadata, answer.text)
                (detail,) = answer.json()["error"]["details"]
                assert detail["field"] == f"metadata.{field}"
                assert f"`{field}`" in detail["message"]
        assert (await server.user.get("/tasks")).json()["total"] == 0
        fine = await submit(server.user, "llm_prompt", metadata={"prompt": "Say hi."})
        assert fine["pending_reason"] == "no_model"


async def test_a_workflow_is_refused_for_input_that_could_never_be_asked(
    data_dir: Path, tmp_path: Path
) -> None:
    settings = settings_for(data_dir, None, tmp_path)
    async with serving(settings, roles=["developer"]) as server:
        schema = {"type": "object"}

        async def made(metadata: JSON | None, **expressions: str) -> httpx2.Response:
            step = {"step_id": "a", "type": "extraction", "input": expressions}
            step |= {} if metadata is None else {"metadata": metadata}
            return await server.developer.post("/workflows", json={"name": "w", "steps": [step]})

        refused = await made({"text": "t"})
        assert refused.status_code == 422, refused.text
        assert refused.json()["error"]["details"][0]["field"] == "steps.0.metadata.schema"
        # What comes later is not known yet; what is there already is.
        assert (await made({"text": "t"}, schema="input.schema")).status_code == 201
        assert (await made({"max_tokens": 0}, text="input.t", schema="input.s")).status_code == 422

        late = (await made(None)).json()["workflow_id"]
        path = f"/workflows/{late}/execute"
        refused = await server.developer.post(path, json={"input": {"text": "t"}})
        assert refused.status_code == 422, refused.text
        assert refused.json()["error"]["details"][0]["field"] == "input.schema"
        given = {"input": {"text": "t", "schema": schema}}
        assert (await server.developer.post(path, json=given)).status_code == 202

        # What another step makes is looked at when the step begins, and not when a model comes.
        steps = [
            {"step_id": "a", "type": "ping", "metadata": {"text": ""}},
            {
                "step_id": "b",
                "type": "extraction",
                "depends_on": ["a"],
                "metadata": {"schema": schema},
                "input": {"text": "steps.a.output.text"},
            },
        ]
        made_of = await server.developer.post("/workflows", json={"name": "w", "steps": steps})
        assert made_of.status_code == 201, made_of.text
        path = f"/workflows/{made_of.json()['workflow_id']}/execute"
        begun = (await server.developer.post(path, json={})).json()["execution_id"]
        over = await server.developer.get(f"/executions/{begun}", params={"wait": 20})
        assert over.json()["status"] == "failed"
        assert "`text` must be a text" in over.json()["steps"][1]["error"]["message"]
