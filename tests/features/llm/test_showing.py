"""What is seen of a model at work: spans by OpenTelemetry's conventions, and output as it comes."""

import io
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from rich.console import Console

from sutazai.cli.findings_view import print_issues, print_summary
from sutazai.cli.model_view import contribution
from sutazai.telemetry.tracing import Tracing
from tests.api.server import ended, serving, settings_for, submit
from tests.features.llm.on_facts import CONFIRMED, each, saying
from tests.features.llm.test_prompts import healthy, result_of
from tests.scripted_model import Refuse, Say, ScriptedModel

KIB_64 = 65_536


async def test_a_call_is_a_span_by_the_conventions_for_generative_ai(
    data_dir: Path, tmp_path: Path
) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(processor=SimpleSpanProcessor(exporter), version="1")
    answers: list[Say | Refuse] = [Say("hi", (31, 7)), Refuse(400, "a secret of the prompt")]
    with ScriptedModel(lambda body: answers.pop(0)) as model:
        settings = settings_for(data_dir, None, tmp_path, llm_url=model.url)
        async with serving(settings, roles=["user"], tracing=tracing) as server:
            await healthy(server)
            for prompt in ("Say a word that is in no span.", "Say it anew: in no span."):
                metadata = {"prompt": prompt, "max_tokens": 20}
                task = await submit(server.user, "llm_prompt", metadata=metadata)
                await ended(server.user, task["task_id"])
    await tracing.close()
    spans = exporter.get_finished_spans()
    first, second = [one for one in spans if one.name == "chat scripted"]
    agents = {one.context.span_id: one for one in spans if one.context and "agent" in one.name}
    asked: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.agent.name": "text-assistant-01",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.max_tokens": 20,
    }
    for one in (first, second):
        assert one.kind is SpanKind.CLIENT
        assert one.parent is not None
        assert agents[one.parent.span_id].name == "invoke_agent text-assistant-01"
        assert one.attributes is not None
        assert asked.items() <= dict(one.attributes).items()
        assert isinstance(one.attributes["gen_ai.request.temperature"], float)
    assert first.attributes is not None
    assert second.attributes is not None
    assert first.attributes["gen_ai.usage.input_tokens"] == 31
    assert first.attributes["gen_ai.usage.output_tokens"] == 7
    assert first.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert first.status.is_unset
    assert second.attributes["error.type"] == "ModelFailed"
    assert not second.status.is_ok
    assert "gen_ai.usage.output_tokens" not in second.attributes
    # Neither prompts nor answers leave by this door.
    assert "in no span" not in str([dict(one.attributes or {}) for one in spans])
    assert "a secret" not in str([dict(one.attributes or {}) for one in spans])


@pytest.mark.parametrize("length", [KIB_64, KIB_64 + 1, 100_000])
async def test_64_kib_of_an_answer_are_shown_as_it_comes(
    database_url: str | None, data_dir: Path, tmp_path: Path, length: int
) -> None:
    said = "".join(f"{number:06d} " for number in range(length))[:length]
    with ScriptedModel(lambda body: Say(said)) as model:
        settings = settings_for(data_dir, database_url, tmp_path, llm_url=model.url)
        async with serving(settings, roles=["user"]) as server:
            await healthy(server)
            metadata = {"prompt": "Say much.", "max_tokens": 32_768}
            task = await submit(server.user, "llm_prompt", metadata=metadata)
            result = await result_of(server.user, task["task_id"])
            events = (await server.user.get("/events", params={"limit": 1000})).json()["events"]
    shown = [
        one["data"]
        for one in events
        if one["event_type"] == "task.output" and one["data"]["task_id"] == task["task_id"]
    ]
    assert "".join(one["text"] for one in shown) == said[:KIB_64]
    assert result["output"] == said
    at = 0
    for one in shown:
        assert one["offset"] == at
        at += len(one["text"])
    assert [one.get("truncated", False) for one in shown[:-1]] == [False] * (len(shown) - 1)
    assert shown[-1].get("truncated", False) is (length > KIB_64)


def issue(**more: Any) -> dict[str, Any]:
    return {
        "file": "/a.py",
        "line": 3,
        "column": 5,
        "severity": "high",
        "rule": "os-command",
        "cwe": 78,
        "confidence": "high",
        "code": "    os.system(host)",
        "description": "A command is made of what is given.",
        "suggestion": "Use a list.",
        **more,
    }


def test_what_is_the_models_is_marked_as_such_in_the_terminal() -> None:
    doubt = {
        "by": "model",
        **CONFIRMED,
        "verdict": "doubtful",
        "reason": "the host is\x1b[2J fixed",
    }
    fix = {"by": "model", "patch": "--- a/a.py\n+++ b/a.py\n+    run([host])\n", "proven": "tried"}
    result: dict[str, Any] = {
        "issues": [
            issue(assessment={"by": "model", **CONFIRMED}, fix=fix),
            issue(line=9, assessment=doubt),
            issue(line=12, by="model", rule="model-observation"),
        ],
        "metrics": {"files_cached": 0, "files_analyzed": 1, "lines_analyzed": 9, "time_taken": 1.0},
        "issues_truncated": False,
        "suppressed": 0,
        "unparsed": [],
        "skipped": [],
        "model": {"name": "small", "comments": 2, "fixes_proven": 1, "findings_added": 1},
    }
    screen = io.StringIO()
    console = Console(file=screen, width=100)
    print_issues(console, result["issues"], lambda file: file)
    print_summary(console, result, lambda file: file, where="here")
    text = screen.getvalue()
    assert "◆ The model confirms it (5/10): so" in text
    assert "◆ A fix by the model, tried:" in text
    assert "            +    run([host])\n" in text
    assert "◆ The model doubts it: the host is" in text
    assert "\x1b[2J" not in text
    assert "model-observation  CWE-78  found by the model" in text
    assert "Model small: 2 comments, 1 proven fix, 1 finding of its own" in text


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"name": "m", "calls": 1}, "m"),
        (
            {"name": "m", "comments": 0, "comments_dropped": 2},
            "m: nothing usable; not taken: 2 comments",
        ),
        (
            {"name": "m", "comments": 0, "problem": "busy"},
            "m: nothing usable; it ended early: busy",
        ),
        ({"comments": 0, "problem": None}, "not asked: nothing usable"),
        ({"name": "m", "comments": 1, "fixes_refused": 1}, "m: 1 comment; not taken: 1 fix"),
        (
            {
                "name": "m",
                "tests_added": 2,
                "proposals_dropped": 3,
                "lines_gained": 9,
                "branches_gained": 0,
                "mutants_gained": 1,
            },
            "m: 2 tests, which gain 9 lines, 1 mutant; not taken: 3 proposals",
        ),
        (
            {"name": "m", "comments": 0, "tests_added": 0, "proposals_dropped": 1},
            "m: nothing usable; not taken: 1 proposal",
        ),
    ],
)
def test_a_models_part_is_said_as_it_was(model: dict[str, Any], said: str) -> None:
    assert contribution(model) == said


async def test_a_served_review_counts_what_the_model_brought(
    data_dir: Path, tmp_path: Path
) -> None:
    with ScriptedModel(saying(candidate=each(**CONFIRMED))) as model:
        settings = settings_for(data_dir, None, tmp_path, llm_url=model.url)
        async with serving(settings, roles=["user"]) as server:
            await healthy(server)
            code = "import os\n\n\ndef run(host):\n    os.system('ping ' + host)\n"
            task = await submit(server.user, "security_analysis", metadata={"code": code})
            result = await result_of(server.user, task["task_id"])
    assert result["model"]["comments"] == len(result["issues"]) > 0
