"""What holds for every model server, however it behaves."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sutazai import clock
from sutazai.database import Database
from sutazai.errors import SutazaiError
from sutazai.llm import store
from sutazai.llm.forms import SchemaForm
from sutazai.llm.model import (
    Budget,
    BudgetExceeded,
    ModelFailed,
    ModelMissing,
    ModelUnavailable,
    Payer,
    Scope,
    UnusableAnswer,
)
from sutazai.llm.prices import Price
from tests.api.server import ended, serving, settings_for, submit
from tests.features.llm.rig import HELLO, PATIENCE, asking
from tests.features.llm.test_prompts import result_of
from tests.scripted_model import Break, Raw, Refuse, Say, ScriptedModel
from tests.unit.builtin_agents.lent import Cache

FORM: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}


def in_turn(*answers: Say | Refuse | Break | Raw) -> Any:
    """One after the other; the last for ever."""
    rest = list(answers)
    return lambda body: rest.pop(0) if len(rest) > 1 else rest[0]


async def until(condition: Callable[[], bool]) -> None:
    """Ask again and again: what is waited for is another thread's, or many tasks'."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.01)  # asks again


async def test_a_call_is_booked_with_the_servers_own_counts(database: Database) -> None:
    with ScriptedModel(in_turn(Say("hello", (11, 7)))) as server:
        prices = {"scripted": Price(input=1.0, output=10.0)}
        async with asking(database, server.url, prices=prices) as rig:
            model = rig.lent()
            assert await model.ask(HELLO, max_tokens=50, stream=True) == "hello"
            report = model.report()
            assert report is not None
            told = (report["name"], report["provider"], report["input_tokens"], report["tokens"])
            assert told == ("scripted", "openai", 11, 18)
            assert report["cost"] == pytest.approx(81e-6)
            assert "tokens_estimated" not in report
            for spent in (await rig.accounts.today(), await rig.accounts.of_task("task-1")):
                assert (spent.calls, spent.input_tokens, spent.output_tokens) == (1, 11, 7)
                assert spent.cost == pytest.approx(81e-6)
            assert rig.shown == [(1, "hello")]


async def test_a_model_elsewhere_without_a_price_costs_nobody_knows_what(
    database: Database,
) -> None:
    with ScriptedModel(in_turn(Say("hello"))) as server:
        async with asking(database, server.url, is_local=False) as rig:
            model = rig.lent()
            await model.ask(HELLO, max_tokens=5)
            report = model.report()
            assert report is not None
            assert report["cost"] is None
            assert (await rig.accounts.today()).cost is None


@pytest.mark.parametrize("trouble", [Refuse(503), Refuse(429), Refuse(500), Break("hel")])
async def test_trouble_that_passes_is_tried_again(
    database: Database, trouble: Refuse | Break
) -> None:
    with ScriptedModel(in_turn(trouble, Say("hello"))) as server:
        async with asking(database, server.url, retries=2) as rig:
            assert await rig.lent().ask(HELLO, max_tokens=5, stream=True) == "hello"
            assert len(server.asked) == 2
            # Who listens can tell the second attempt from what the first had said.
            assert rig.shown[-1] == (2, "hello")


async def test_a_refusal_for_good_is_not_tried_again(database: Database) -> None:
    with ScriptedModel(in_turn(Refuse(400, "too long"))) as server:
        async with asking(database, server.url, retries=5) as rig:
            with pytest.raises(ModelFailed, match="too long"):
                await rig.lent().ask(HELLO, max_tokens=5)
            assert len(server.asked) == 1
            assert (await rig.accounts.today()).calls == 0


async def test_a_server_that_hangs_is_given_up(database: Database) -> None:
    gate = threading.Event()
    with ScriptedModel(in_turn(Say("late", wait=gate))) as server:
        async with asking(database, server.url, seconds=0.3) as rig:
            with pytest.raises(ModelFailed, match="SUTAZAI_LLM_TIMEOUT_SECONDS"):
                await rig.lent().ask(HELLO, max_tokens=5)
        gate.set()


async def test_a_server_that_never_stops_talking_is_cut_off(database: Database) -> None:
    with ScriptedModel(in_turn(Say("x" * 100_000))) as server:
        async with asking(database, server.url) as rig:
            with pytest.raises(ModelFailed, match="far more than it was asked for"):
                await rig.lent().ask(HELLO, max_tokens=5)
            # What had come is booked, if only by estimate.
            assert (await rig.accounts.today()).output_tokens > 0


async def test_a_server_that_goes_away_is_noticed_at_the_call(database: Database) -> None:
    server = ScriptedModel(in_turn(Say("hello")))
    async with asking(database, server.url) as rig:
        assert rig.models.reach.health == "healthy"
        with server:
            pass
        with pytest.raises(ModelUnavailable):
            await rig.lent().ask(HELLO, max_tokens=5)
        assert not rig.models.reach.is_available
        assert rig.models.reach.health == "unhealthy"
        with pytest.raises(ModelUnavailable, match="SUTAZAI_LLM_URL"):
            await rig.lent().ask(HELLO, max_tokens=5)


async def test_the_model_is_chosen_by_configuration_then_settings_then_name(
    database: Database,
) -> None:
    with ScriptedModel(in_turn(Say("hello")), "nomic-embed", "b:latest", "c") as server:
        async with asking(database, server.url) as rig:
            await rig.lent(model="c").ask(HELLO, max_tokens=5)
            await rig.lent(model="b").ask(HELLO, max_tokens=5)
            await rig.lent().ask(HELLO, max_tokens=5)
            assert [body["model"] for body in server.asked] == ["c", "b:latest", "b:latest"]
            with pytest.raises(ModelMissing, match="has no 'd', only: nomic-embed, b:latest, c"):
                await rig.lent(model="d").ask(HELLO, max_tokens=5)
        async with asking(database, server.url, default_model="c", fallback_model="b") as rig:
            await rig.lent().ask(HELLO, max_tokens=5)
            await rig.lent(model="d").ask(HELLO, max_tokens=5)
            assert [body["model"] for body in server.asked[3:]] == ["c", "b"]


async def test_another_model_steps_in_where_one_fails_for_good(database: Database) -> None:
    def script(body: dict[str, Any]) -> Say | Refuse:
        return Say("hello") if body["model"] == "b" else Refuse(400)

    with ScriptedModel(script, "a", "b") as server:
        async with asking(database, server.url, fallback_model="b") as rig:
            model = rig.lent(model="a")
            assert await model.ask(HELLO, max_tokens=5) == "hello"
            report = model.report()
            assert report is not None
            assert report["name"] == "b"


async def test_settings_of_the_agent_reach_the_model(database: Database) -> None:
    with ScriptedModel(in_turn(Say("not it"))) as server:
        async with asking(database, server.url) as rig:
            await rig.lent(temperature=1.25).ask(HELLO, max_tokens=77)
            assert (server.asked[0]["temperature"], server.asked[0]["max_tokens"]) == (1.25, 77)
            with pytest.raises(UnusableAnswer, match="in 4 attempts"):
                await rig.lent(max_iterations=4).ask_for(HELLO, SchemaForm(FORM), max_tokens=5)
            assert len(server.asked) == 5


async def test_an_answer_of_the_wrong_form_is_sent_back_with_the_reason(
    database: Database,
) -> None:
    script = in_turn(Say('{"n": "one"}'), Say('Sure!\n```json\n{"n": 1}\n```'))
    with ScriptedModel(script) as server:
        async with asking(database, server.url) as rig:
            model = rig.lent(max_iterations=3)
            assert await model.ask_for(HELLO, SchemaForm(FORM), max_tokens=50) == {"n": 1}
            assert server.asked[0]["response_format"]["json_schema"]["schema"]["required"] == ["n"]
            again = server.asked[1]["messages"]
            assert again[-2] == {"role": "assistant", "content": '{"n": "one"}'}
            assert "is not of type 'integer'" in again[-1]["content"]


async def test_a_server_without_schemas_is_told_in_words(database: Database) -> None:
    def script(body: dict[str, Any]) -> Say | Refuse:
        return Refuse(400, "response_format") if "response_format" in body else Say('{"n": 1}')

    with ScriptedModel(script) as server:
        async with asking(database, server.url) as rig:
            for _ in range(2):
                value = await rig.lent().ask_for(HELLO, SchemaForm(FORM), max_tokens=50)
                assert value == {"n": 1}
            assert '"required":["n"]' in server.asked[1]["messages"][0]["content"]
            # It need not refuse twice.
            assert len(server.asked) == 3


async def test_equal_questions_are_asked_once(database: Database) -> None:
    with ScriptedModel(in_turn(Say("hello"))) as server:
        async with asking(database, server.url) as rig:
            cache = Cache()
            for _ in range(2):
                model = rig.lent(cache=cache)
                assert await model.ask(HELLO, max_tokens=5) == "hello"
            report = model.report()
            assert report is not None
            assert (report["calls"], report["cached_calls"], report["tokens"]) == (0, 1, 0)
            await rig.lent(cache=cache, temperature=0.5).ask(HELLO, max_tokens=5)
            await rig.lent(cache=cache).ask(HELLO, max_tokens=5, fresh=True)
            assert len(server.asked) == 3


async def test_a_wrong_answer_is_not_kept(database: Database) -> None:
    script = in_turn(Say("no"), Say("no"), Say("no"), Say('{"n": 1}'))
    with ScriptedModel(script) as server:
        async with asking(database, server.url) as rig:
            cache = Cache()
            with pytest.raises(UnusableAnswer):
                await rig.lent(cache=cache, max_iterations=3).ask_for(
                    HELLO, SchemaForm(FORM), max_tokens=5
                )
            assert len(server.asked) == 3
            for _ in range(2):
                model = rig.lent(cache=cache, max_iterations=3)
                assert await model.ask_for(HELLO, SchemaForm(FORM), max_tokens=5) == {"n": 1}
            assert len(server.asked) == 4


async def test_no_more_calls_at_a_time_than_allowed(database: Database) -> None:
    gate = threading.Event()
    with ScriptedModel(in_turn(Say("hello", wait=gate))) as server:
        async with asking(database, server.url, concurrency=2) as rig:
            calls = [asyncio.create_task(rig.lent().ask(HELLO, max_tokens=5)) for _ in range(5)]
            await until(lambda: len(server.asked) == 2)
            assert len(server.asked) == 2
            gate.set()
            assert await asyncio.gather(*calls) == ["hello"] * 5


async def test_anthropic_is_asked_in_its_own_way(database: Database) -> None:
    with ScriptedModel(in_turn(Say("bonjour", (5, 3))), "claude-x", key="the-key") as server:
        async with asking(database, server.url, provider="anthropic", key="the-key") as rig:
            model = rig.lent()
            assert await model.ask(HELLO, max_tokens=50, stream=True) == "bonjour"
            # Its models are asked for every ten seconds, too.
            assert any(path.startswith("/v1/messages") for path in server.paths)
            assert server.headers[-1]["authorization"] == "Bearer the-key"
            report = model.report()
            assert report is not None
            assert (report["provider"], report["tokens"]) == ("anthropic", 8)


async def test_the_library_adds_no_headers_of_its_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, "somebody-elses")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with ScriptedModel(in_turn(Say("hello"))) as server:
        async with asking(database, server.url) as rig:
            await rig.lent().ask(HELLO, max_tokens=5)
        sent = {name.lower() for name in server.headers[-1]}
        assert not {name for name in sent if name.startswith(("x-stainless", "openai-"))}
        assert server.headers[-1]["user-agent"] == "sutazai"
        assert "somebody-elses" not in str(server.headers)


class TestBudgets:
    """Reserved before, settled after."""

    @pytest.mark.parametrize("scope", list(Scope))
    async def test_what_is_spent_is_spent(self, database: Database, scope: Scope) -> None:
        with ScriptedModel(in_turn(Say("hello", (100, 20)))) as server:
            budgets = {scope: Budget(tokens=200)}
            async with asking(database, server.url, budgets=budgets) as rig:
                model = rig.lent()
                await model.ask(HELLO, max_tokens=50)
                with pytest.raises(BudgetExceeded, match=r"budget_exceeded.*200 tokens"):
                    await model.ask(HELLO, max_tokens=150)
                report = model.report()
                assert report is not None
                assert report["budget_exceeded"] == scope
                assert len(server.asked) == 1
                # What was set aside was given back.
                await model.ask(HELLO, max_tokens=10)

    async def test_budgets_are_kept_apart(self, database: Database) -> None:
        with ScriptedModel(in_turn(Say("hello", (100, 20)))) as server:
            budgets = {Scope.USER: Budget(tokens=130)}
            async with asking(database, server.url, budgets=budgets) as rig:
                await rig.lent().ask(HELLO, max_tokens=50)
                with pytest.raises(BudgetExceeded):
                    await rig.lent().ask(HELLO, max_tokens=50)
                other = Payer("task-2", "agent-1", "user-2")
                await rig.lent(payer=other).ask(HELLO, max_tokens=50)

    async def test_money_is_a_budget_too_and_needs_a_price(self, database: Database) -> None:
        with ScriptedModel(in_turn(Say("hello", (100, 20)))) as server:
            budgets = {Scope.DAY: Budget(cost=0.001)}
            async with asking(database, server.url, budgets=budgets, is_local=False) as rig:
                with pytest.raises(ModelUnavailable, match="SUTAZAI_LLM_PRICES"):
                    await rig.lent().ask(HELLO, max_tokens=50)
            price = {"*": Price(input=1.0, output=5.0)}
            async with asking(
                database, server.url, budgets=budgets, prices=price, is_local=False
            ) as rig:
                await rig.lent().ask(HELLO, max_tokens=50)
                with pytest.raises(BudgetExceeded, match=r"0\.001 USD"):
                    await rig.lent().ask(HELLO, max_tokens=500)

    async def test_two_workers_cannot_overdraw_together(self, database: Database) -> None:
        gate = threading.Event()
        with ScriptedModel(in_turn(Say("hello", (10, 10), wait=gate))) as server:
            budgets = {Scope.DAY: Budget(tokens=250)}
            async with (
                asking(database, server.url, budgets=budgets, concurrency=20) as one,
                asking(database, server.url, budgets=budgets, concurrency=20) as other,
            ):
                calls = [
                    asyncio.create_task(rig.lent().ask(HELLO, max_tokens=50))
                    for rig in (one, other) * 5
                ]
                # Each may come to some 80 tokens, so three have room at the same time.
                await until(lambda: sum(call.done() for call in calls) == 7)
                gate.set()
                ends = await asyncio.gather(*calls, return_exceptions=True)
                refused = [end for end in ends if isinstance(end, BudgetExceeded)]
                assert len(refused) == 7
                assert ends.count("hello") == 3
                assert (await one.accounts.today()).calls == 3
                # Nothing is left set aside: a call that needs nearly all of the rest is allowed.
                await one.lent().ask(HELLO, max_tokens=150)

    async def test_what_a_dead_process_set_aside_comes_back(self, database: Database) -> None:
        budgets = {Scope.DAY: Budget(tokens=500)}
        now = clock.now()
        lost = store.Reservation(
            "llm-lost", Payer("t", "a", "u"), store.day_of(now), 450, 0.0, now - 1
        )
        refusing = await database.run(
            partial(store.reserve, wanted=lost, budgets=budgets, now=now - clock.SECOND)
        )
        assert refusing is None
        with ScriptedModel(in_turn(Say("hello", (10, 10)))) as server:
            async with asking(database, server.url, budgets=budgets) as rig:
                await rig.lent().ask(HELLO, max_tokens=100)
        assert await database.read(store.reserved) == 0


async def test_exchanges_are_recorded_without_secrets_and_answer_again(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    record = tmp_path / "exchanges.jsonl"
    secret = "sk-abcdefghijklmnop1234"
    metadata = {"prompt": "Say hi. password=hunter22", "text": f"Authorization: Bearer {secret}"}
    with ScriptedModel(in_turn(Say(f"hi {secret}"))) as server:
        settings = settings_for(
            data_dir,
            database_url,
            tmp_path,
            llm_url=server.url,
            llm_api_key="the-servers-key",
            llm_record=record,
        )
        async with serving(settings, roles=["user"]) as running:
            task = await submit(running.user, "llm_prompt", metadata=metadata)
            assert (await result_of(running.user, task["task_id"]))["output"] == f"hi {secret}"
    written = record.read_text()
    assert record.stat().st_mode & 0o077 == 0
    assert not [one for one in (secret, "hunter22", "the-servers-key") if one in written]

    settings = settings_for(data_dir, database_url, tmp_path, llm_replay=record)
    async with serving(settings, roles=[]) as running:
        task = await submit(running.admin, "llm_prompt", metadata=metadata)
        again = await result_of(running.admin, task["task_id"])
        assert again["output"] == "hi ***"
        assert again["model"]["provider"] == "replay"
        other = await submit(running.admin, "llm_prompt", metadata={"prompt": "Anything else?"})
        await ended(running.admin, other["task_id"])
        answer = (await running.admin.get(f"/tasks/{other['task_id']}/result")).json()
        assert "has no answer to this question" in answer["error"]["message"]


async def test_a_recording_that_is_none_is_told_at_the_start(
    data_dir: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text("{}\n")
    for path in (wrong, tmp_path / "nowhere"):
        settings = settings_for(data_dir, None, tmp_path, llm_replay=path)
        with pytest.raises(SutazaiError, match="SUTAZAI_LLM_REPLAY"):
            async with serving(settings, roles=[]):
                pass
