"""Model servers that answer with what no model says: nothing of it gets any further."""

import asyncio
import gzip
import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sutazai.analysis.globs import InputError
from sutazai.builtin_agents.text_input import schema_of
from sutazai.database import Database
from sutazai.llm import store
from sutazai.llm.forms import SchemaForm, StructForm
from sutazai.llm.model import Budget, BudgetExceeded, ModelFailed, ModelProblem, Payer, Scope
from tests.api.server import ended, serving, settings_for, submit
from tests.features.llm.rig import HELLO, asking
from tests.features.llm.test_asking import FORM, in_turn, until
from tests.features.llm.test_prompts import result_of
from tests.scripted_model import Break, Raw, Refuse, Say, ScriptedModel

KEY = "a-key-like-no-other-0815"
HEAD = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}


def frame(**more: Any) -> bytes:
    """A part of a stream as OpenAI has it."""
    return f"data: {json.dumps({**HEAD, **more})}\n\n".encode()


def piece(**delta: Any) -> bytes:
    """A part of an answer."""
    return frame(choices=[{"index": 0, "delta": delta, "finish_reason": None}])


class Numbered(msgspec.Struct):
    """A form."""

    n: int


END = frame(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])


@pytest.mark.parametrize(
    "body",
    [
        b"data: [1, 2]\n\n",
        b"data: {not json\n\n",
        frame(created="x", choices=[{"index": "a", "delta": {"content": {"a": 1}}}]),
        frame(choices=None),
        bytes(range(256)),
        b"<html>It works!</html>",
        b"",
    ],
)
async def test_nonsense_is_a_failure_that_says_whose(database: Database, body: bytes) -> None:
    budgets = {Scope.DAY: Budget(tokens=10_000)}
    with ScriptedModel(in_turn(Raw(body))) as server:
        async with asking(database, server.url, budgets=budgets) as rig:
            with pytest.raises(ModelProblem, match=server.url):
                await rig.lent().ask(HELLO, max_tokens=100)
    assert await database.read(store.reserved) == 0


@pytest.mark.parametrize("given", [10**30, 2**62])
async def test_a_count_that_cannot_be_is_none(database: Database, given: int) -> None:
    with ScriptedModel(in_turn(Say("hi", usage=(given, given)), Say("ho"))) as server:
        budgets = {Scope.USER: Budget(tokens=10_000)}
        async with asking(database, server.url, budgets=budgets) as rig:
            lent = rig.lent()
            assert await lent.ask(HELLO, max_tokens=100) == "hi"
            assert (lent.report() or {})["tokens_estimated"] is True
            assert (lent.report() or {})["tokens"] < 200
            assert await rig.lent().ask(HELLO, max_tokens=100) == "ho"


async def test_half_a_character_is_none(database: Database) -> None:
    with ScriptedModel(in_turn(Say("a \ud83d b", usage=None))) as server:
        async with asking(database, server.url) as rig:
            assert await rig.lent().ask(HELLO, max_tokens=100, stream=True) == "a ? b"
            assert "".join(text for _, text in rig.shown) == "a ? b"


async def test_a_server_that_thinks_without_end_is_cut_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sutazai.adapters.only_to._MOST_BYTES", 100_000)
    thoughts = Raw(piece(reasoning_content="m" * 1_000) * 200 + piece(content="hi") + END)
    with ScriptedModel(in_turn(thoughts, Say("hi"))) as server:
        async with asking(database, server.url) as rig:
            with pytest.raises(ModelFailed, match="answer has no end"):
                await rig.lent().ask(HELLO, max_tokens=100)


async def test_an_answer_that_is_packed_is_not_unpacked(database: Database) -> None:
    packed = Raw(gzip.compress(piece(content="hi") + END), encoding="gzip")
    with ScriptedModel(in_turn(packed)) as server:
        async with asking(database, server.url) as rig:
            with pytest.raises(ModelProblem):
                await rig.lent().ask(HELLO, max_tokens=100)
        asked = [name.lower() for name in server.headers[-1]]
        assert (
            server.headers[-1][[*server.headers[-1]][asked.index("accept-encoding")]] == "identity"
        )


@pytest.mark.parametrize(
    "answer",
    [
        Refuse(500, f"who \x00 is Bearer {KEY}?"),
        Refuse(400, f"no account for {KEY}"),
        Raw(b'data: {"error": {"message": "no account for ' + KEY.encode() + b'"}}\n\n'),
    ],
)
async def test_a_key_that_a_server_repeats_goes_nowhere(
    database_url: str | None, data_dir: Path, tmp_path: Path, answer: Refuse | Raw
) -> None:
    record = tmp_path / "exchanges.jsonl"
    with ScriptedModel(in_turn(answer)) as server:
        settings = settings_for(
            data_dir,
            database_url,
            tmp_path,
            llm_url=server.url,
            llm_api_key=KEY,
            llm_retries=0,
            llm_record=record,
        )
        async with serving(settings, roles=["user"]) as running:
            task = await submit(running.user, "llm_prompt", metadata={"prompt": "Say hi."})
            await ended(running.user, task["task_id"])
            told = (await running.user.get(f"/tasks/{task['task_id']}/result")).text
    assert server.url in told
    assert KEY not in told
    assert KEY not in record.read_text()


async def test_a_server_says_how_long_to_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float | None] = []

    def pause(attempt: int, wanted: float | None) -> float:
        pauses.append(wanted)
        return 0.0

    monkeypatch.setattr("sutazai.llm.service._pause", pause)
    with ScriptedModel(in_turn(Refuse(429, retry_after=7), Refuse(503), Say("hi"))) as server:
        async with asking(database, server.url, retries=2) as rig:
            assert await rig.lent().ask(HELLO, max_tokens=100) == "hi"
    assert pauses == [7.0, None]


async def test_a_refusal_of_something_else_is_no_refusal_of_schemas(database: Database) -> None:
    form = SchemaForm(FORM)
    too_long = Refuse(400, "the prompt is too long")
    with ScriptedModel(in_turn(too_long, too_long, Say('{"n": 1}'))) as server:
        async with asking(database, server.url) as rig:
            with pytest.raises(ModelFailed):
                await rig.lent().ask_for(HELLO, form, max_tokens=100)
            assert await rig.lent().ask_for(HELLO, form, max_tokens=100) == {"n": 1}
        assert "response_format" in server.asked[-1]


async def test_every_attempt_is_set_aside_and_booked(database: Database) -> None:
    budgets = {Scope.USER: Budget(tokens=1_000)}
    with ScriptedModel(in_turn(Break("n" * 2_400), Say("hi"))) as server:
        async with asking(database, server.url, retries=1, budgets=budgets) as rig:
            lent = rig.lent()
            with pytest.raises(BudgetExceeded):
                await lent.ask(HELLO, max_tokens=900)
            assert len(server.asked) == 1
            assert (lent.report() or {})["output_tokens"] >= 800
    assert await database.read(store.reserved) == 0


async def test_who_waits_for_a_place_has_nothing_set_aside(database: Database) -> None:
    held = threading.Event()
    budgets = {Scope.DAY: Budget(tokens=100_000)}
    with ScriptedModel(lambda body: Say("hi", wait=held)) as server:
        async with asking(database, server.url, budgets=budgets, concurrency=1) as rig:
            asked = [
                asyncio.create_task(
                    rig.lent(payer=Payer(f"task-{at}", "agent", "user")).ask(HELLO, max_tokens=100)
                )
                for at in range(3)
            ]
            try:
                await until(lambda: len(server.asked) == 1)
                one = await database.read(store.reserved)
                assert 0 < one < 200
            finally:
                held.set()
            assert await asyncio.gather(*asked) == ["hi"] * 3
    assert await database.read(store.reserved) == 0


async def test_an_answer_with_a_character_that_no_text_has_is_kept(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    with ScriptedModel(in_turn(Say("a\x00b\ud83d"))) as server:
        settings = settings_for(data_dir, database_url, tmp_path, llm_url=server.url)
        async with serving(settings, roles=["user"]) as running:
            task = await submit(running.user, "llm_prompt", metadata={"prompt": "Say hi."})
            output = (await result_of(running.user, task["task_id"]))["output"]
            assert output.startswith("a")
            events = (await running.user.get("/events?limit=100")).json()["events"]
            shown = [one["data"]["text"] for one in events if one["event_type"] == "task.output"]
            assert "".join(shown) == output


LAUGHS = {
    f"a{at}": {"allOf": [{"$ref": f"#/$defs/a{at - 1}"}] * 2} if at else {"type": "integer"}
    for at in range(60)
}


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"$defs": LAUGHS, "properties": {"n": {"$ref": "#/$defs/a59"}}}, '{"n": 1}'),
        ({"allOf": [{"$ref": "#"}]}, '{"n": 1}'),
        ({}, '{"n": ' * 100_000 + "1" + "}" * 100_000),
    ],
)
def test_checking_an_answer_comes_to_an_end(schema: dict[str, Any], answer: str) -> None:
    with pytest.raises(ValueError, match=r"too often|nested|recursion"):
        SchemaForm({"type": "object", **schema}).read(answer)


def test_an_answer_that_is_nested_without_end_is_none() -> None:
    with pytest.raises(ValueError, match="recursion"):
        StructForm(Numbered).read('{"n": 1, "more": ' + "[" * 100_000 + "]" * 100_000 + "}")


@pytest.mark.parametrize("keyword", ["pattern", "patternProperties"])
def test_a_schema_with_expressions_is_refused(keyword: str) -> None:
    wanted = {keyword: "^(a+)+$" if keyword == "pattern" else {"^(a+)+$": {}}}
    schema = {"type": "object", "properties": {"pattern": {"type": "string"}}}
    with pytest.raises(InputError, match="may not use `pattern`"):
        schema_of({"schema": {**schema, "properties": {"n": wanted}}})
    assert schema_of({"schema": schema}) == schema
