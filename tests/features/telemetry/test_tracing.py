"""Traces over HTTP: from a request through its job to the agent and the analysis."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sutazai.telemetry.tracing import Attempt, Tracing, span, traceparent_of
from tests.api.agents import Obedient
from tests.api.server import PATIENCE, Server, ended, serving, settings_for
from tests.features.callbacks.receiver import receiving
from tests.features.outside.joining import join

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Traced(NamedTuple):
    server: Server
    exporter: InMemorySpanExporter

    def of_trace(self) -> Sequence[ReadableSpan]:
        """The spans of the trace that the test began."""
        return [one for one in self.exporter.get_finished_spans() if trace_of(one) == TRACE]

    def named(self, name: str) -> ReadableSpan:
        (found,) = [one for one in self.of_trace() if one.name == name]
        return found


@pytest.fixture
async def traced(database_url: str | None, data_dir: Path, tmp_path: Path) -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    tracing = Tracing(processor=SimpleSpanProcessor(exporter), version="1")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    settings = settings_for(data_dir, database_url, workspace, callback_allow="127.0.0.0/8")
    async with serving(settings, extra_agents=[Obedient()], roles=[], tracing=tracing) as server:
        yield Traced(server, exporter)
    await tracing.close()


def trace_of(one: ReadableSpan) -> str:
    assert one.context is not None
    return f"{one.context.trace_id:032x}"


def id_of(one: ReadableSpan) -> int:
    assert one.context is not None
    return int(one.context.span_id)


def parent_of(one: ReadableSpan) -> int:
    assert one.parent is not None
    return one.parent.span_id


async def run(traced: Traced, **body: object) -> str:
    """A task submitted as part of the trace, once it has ended; its status."""
    admin = traced.server.admin
    answer = await admin.post(
        "/tasks", json={"description": "a test", **body}, headers={"traceparent": PARENT}
    )
    assert answer.status_code == 201, answer.text
    status: str = (await ended(admin, answer.json()["task_id"]))["status"]
    return status


async def test_a_trace_leads_from_the_request_to_the_analysis(traced: Traced) -> None:
    code = {"code": "import pickle\npickle.loads(input())\n"}
    assert await run(traced, type="code_review", metadata=code) == "completed"
    request = traced.named("POST /api/v1/tasks")
    created = traced.named("create code_review")
    process = traced.named("process task")
    agent = traced.named("invoke_agent code-reviewer-01")
    analysis = traced.named("analysis review")
    assert parent_of(request) == 0xB7AD6B7169203331
    assert parent_of(created) == id_of(request)
    assert parent_of(process) == id_of(created)
    assert parent_of(agent) == id_of(process)
    assert parent_of(analysis) == id_of(agent)
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 201
    assert request.attributes["http.route"] == "/api/v1/tasks"
    assert process.attributes is not None
    assert process.attributes["sutazai.job.attempt"] == 1
    assert process.links == ()


async def test_a_callback_carries_the_trace_on(traced: Traced) -> None:
    async with receiving() as receiver:
        assert await run(traced, type="ping", callback_url=receiver.url()) == "completed"
        [received] = await receiver.until_received(1)
    async with asyncio.timeout(PATIENCE):
        while True:
            if any(one.name == "process callback" for one in traced.of_trace()):
                break
            await asyncio.sleep(0.01)  # the span ends a moment after the answer
    delivery = traced.named("process callback")
    assert parent_of(delivery) == id_of(traced.named("create ping"))
    assert received.headers["traceparent"] == f"00-{TRACE}-{id_of(delivery):016x}-01"


async def test_a_retry_points_to_the_attempt_before(traced: Traced) -> None:
    assert await run(traced, type="obey", metadata={"do": "crash once"}) == "completed"
    attempts = [one for one in traced.of_trace() if one.name == "process task"]
    first, second = sorted(attempts, key=lambda one: one.start_time or 0)
    assert parent_of(first) == parent_of(second) == id_of(traced.named("create obey"))
    assert first.links == ()
    assert [link.context.span_id for link in second.links] == [id_of(first)]
    assert [f"{link.context.trace_id:032x}" for link in second.links] == [TRACE]
    assert not first.status.is_ok
    assert second.status.is_unset


async def test_a_trace_leads_on_into_agents_from_outside(traced: Traced) -> None:
    agent = await join(traced.server, "traced-01")
    admin = traced.server.admin
    answer = await admin.post(
        "/tasks",
        json={"type": agent.type, "description": "a test"},
        headers={"traceparent": PARENT},
    )
    first = await agent.claim_one(wait=20)
    failure = {"code": "OUT_OF_DISK", "message": "It is full.", "retryable": True}
    await agent.report(first, "fail", error=failure)
    second = await agent.claim_one(wait=20)
    await agent.report(second, "complete", result={})
    assert (await ended(admin, answer.json()["task_id"]))["status"] == "completed"
    before, after = sorted(
        (one for one in traced.of_trace() if one.name == "process task"),
        key=lambda one: one.start_time or 0,
    )
    for assignment, one in ((first, before), (second, after)):
        # What the agent puts below this hangs below the attempt's span.
        assert assignment["traceparent"] == f"00-{TRACE}-{id_of(one):016x}-01"
        assert parent_of(one) == id_of(traced.named(f"create {agent.type}"))
        assert one.attributes is not None
        assert one.attributes["gen_ai.agent.name"] == "traced-01"
        assert (one.end_time or 0) >= (one.start_time or 0) > 0
    assert before.attributes is not None
    assert before.attributes["error.type"] == "OUT_OF_DISK"
    assert after.status.is_unset
    assert [link.context.span_id for link in after.links] == [id_of(before)]


async def test_an_attempt_that_nobody_ends_in_time_has_a_span_too(traced: Traced) -> None:
    agent = await join(traced.server, "traced-02")
    answer = await traced.server.admin.post(
        "/tasks",
        json={"type": agent.type, "description": "a test", "timeout_seconds": 0.2},
        headers={"traceparent": PARENT},
    )
    given = await agent.claim_one(wait=20)
    over = await ended(traced.server.admin, answer.json()["task_id"])
    assert over["error"]["code"] == "TASK_TIMEOUT"
    async with asyncio.timeout(PATIENCE):
        while True:
            found = [one for one in traced.of_trace() if one.name == "process task"]
            if found:
                break
            await asyncio.sleep(0.01)  # asks again; it is written once the end is kept
    (one,) = found
    assert given["traceparent"] == f"00-{TRACE}-{id_of(one):016x}-01"
    assert parent_of(one) == id_of(traced.named(f"create {agent.type}"))
    assert one.attributes is not None
    assert one.attributes["error.type"] == "TASK_TIMEOUT"
    assert one.attributes["gen_ai.agent.name"] == "traced-02"
    assert (one.end_time or 0) - (one.start_time or 0) >= 200_000_000  # ns


async def test_no_message_of_an_error_is_in_a_trace(traced: Traced) -> None:
    body = {"do": "crash"}
    assert await run(traced, type="obey", metadata=body, max_attempts=1) == "failed"
    spans = traced.of_trace()
    assert any(one.attributes and one.attributes.get("error.type") for one in spans)
    assert "a secret of the inside" not in "".join(one.to_json() for one in spans)


@pytest.mark.parametrize(
    "given", ["", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "x" * 5000, "\xff\xfe", "00-1-2-3"]
)
async def test_a_wrong_traceparent_begins_a_trace_of_our_own(traced: Traced, given: str) -> None:
    traced.exporter.clear()
    headers = [(b"traceparent", given.encode("latin-1"))]
    answer = await traced.server.anonymous.get("/health", headers=headers)
    assert answer.status_code == 200
    (request,) = [one for one in traced.exporter.get_finished_spans() if "health" in one.name]
    assert request.parent is None


async def test_a_provider_for_the_whole_process_gets_nothing_of_ours(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    of_the_process = TracerProvider()
    of_the_process.add_span_processor(SimpleSpanProcessor(exporter))
    # As set_tracer_provider does, which a process can do only once.
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", of_the_process)
    assert await run(traced, type="ping") == "completed"
    assert traced.of_trace()
    assert exporter.get_finished_spans() == ()


def test_an_attempt_is_known_by_the_same_id_everywhere() -> None:
    third = Attempt("task-1", 3)
    assert third.before is not None
    assert third.before.span_id == Attempt("task-1", 1).span_id != third.span_id
    assert Attempt("task-1", 1).before is None


def test_nothing_is_made_where_there_is_no_tracing() -> None:
    with span(None, "anything") as current:
        assert traceparent_of(current) is None
