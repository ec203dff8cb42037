"""Executions: what each kind of step does, and what a user can do to a whole one."""

import asyncio
import uuid
from collections import Counter
from itertools import pairwise

import pytest

from tests.api.agents import Obedient
from tests.api.server import PATIENCE, Server, error_of, wrong_fields
from tests.api.workflows import (
    begun,
    by_step,
    created,
    executed,
    obey,
    over,
    statuses,
    step,
    step_reached,
)


async def test_outputs_feed_later_steps_by_expression(server: Server) -> None:
    execution_id = await begun(
        server.developer,
        step("first", metadata={"found": [{"file": "a.py"}, {"file": "b.py"}]}),
        step(
            "second",
            "first",
            config={"mode": "fast"},
            input={"files": "steps.first.output.found[].file", "branch": "input.branch"},
        ),
        branch="main",
    )
    ended = await over(server.developer, execution_id)
    assert by_step(ended)["second"]["output"] == {
        "branch": "main",
        "mode": "fast",
        "files": ["a.py", "b.py"],
    }


async def test_a_missing_path_fails_the_step_and_is_named(server: Server) -> None:
    execution_id = await begun(
        server.developer,
        step("a"),
        step("b", "a", input={"x": "steps.a.output.nowhere"}),
        step("c", "b"),
        branch="main",
    )
    ended = await over(server.developer, execution_id)
    assert statuses(ended) == {"a": "completed", "b": "failed", "c": "cancelled"}
    assert "'steps.a.output.nowhere'; there is branch" in by_step(ended)["b"]["error"]["message"]
    assert ended["error"]["message"].startswith("The step 'b' failed: input.x: ")
    assert ended["status"] == "failed"
    assert ended["failed_at"]


async def test_a_step_whose_condition_does_not_hold_is_skipped(server: Server) -> None:
    workflow_id = await created(
        server.developer,
        step("a"),
        step("b", "a", when="input.thorough || `false`"),
        step("c", "b"),
    )
    ended = await over(server.developer, await executed(server.developer, workflow_id))
    assert statuses(ended) == {"a": "completed", "b": "skipped", "c": "completed"}
    assert (ended["status"], ended["steps_completed"]) == ("completed", 3)
    ended = await over(
        server.developer, await executed(server.developer, workflow_id, thorough=True)
    )
    assert set(statuses(ended).values()) == {"completed"}


async def test_a_step_is_done_for_each_item_so_many_at_once(server: Server) -> None:
    execution_id = await begun(
        server.developer,
        step(
            "each",
            metadata={},
            for_each={"items": "input.files", "concurrency": 2},
            input={"file": "item", "number": "index"},
        ),
        step("all", "each", metadata={}, input={"files": "steps.each.output[].file"}),
        step("none", metadata={}, for_each={"items": "input.nothing"}),
        files=["a", "b", "c", "d", "e"],
        nothing=[],
    )
    ended = await over(server.developer, execution_id)
    steps = by_step(ended)
    assert [one["output"] for one in steps["each"]["items"]] == [
        {"file": name, "number": number} for number, name in enumerate("abcde")
    ]
    assert len({one["task_id"] for one in steps["each"]["items"]}) == 5
    assert steps["all"]["output"] == {"files": ["a", "b", "c", "d", "e"]}
    assert (steps["none"]["status"], steps["none"]["output"]) == ("completed", [])
    # Never three at once: the third began after one of the first two had ended.
    items = steps["each"]["items"]
    for number, one in enumerate(items[2:], 2):
        assert sum(other["ended_at"] <= one["started_at"] for other in items[:number]) >= number - 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("input.many", "100000 items; 10000 are the most"),
        ("input.many[].[@, @, @, @][]", "takes too long"),
        ("input.word", "a str, not a list"),
    ],
)
async def test_a_list_that_is_too_long_or_none_is_refused(
    server: Server, text: str, said: str
) -> None:
    each = step("each", for_each={"items": text})
    execution_id = await begun(server.developer, each, many=[0] * 100_000, word="abc")
    ended = await over(server.developer, execution_id)
    message = by_step(ended)["each"]["error"]["message"]
    assert said in message
    assert ended["status"] == "failed"


async def test_items_whose_expressions_are_too_much_work_together_are_refused(
    server: Server,
) -> None:
    costly = "input.many[*].[@][]"  # alone it is no trouble
    each = step("each", metadata={}, for_each={"items": "input.many"}, input={"all": costly})
    execution_id = await begun(server.developer, each, many=list(range(4_000)))
    ended = await over(server.developer, execution_id)
    assert ended["status"] == "failed"
    assert "lower for_each.concurrency" in by_step(ended)["each"]["error"]["message"]


async def test_items_that_fail_fail_their_step_and_a_retry_does_only_those(
    server: Server, obedient: Obedient
) -> None:
    each = step(
        "each",
        type="obey",
        metadata={},
        for_each={"items": "input.what", "concurrency": 1},
        input={"do": "item"},
    )
    what = ["answer", "answer", "fail", "answer"]
    execution_id = await begun(server.developer, each, what=what)
    ended = await over(server.developer, execution_id)
    items = by_step(ended)["each"]["items"]
    assert [one["status"] for one in items] == ["completed", "completed", "failed", "cancelled"]
    assert by_step(ended)["each"]["error"]["message"] == "1 of 4 items failed."
    again = await server.developer.post(f"/executions/{execution_id}/retry")
    assert again.status_code == 202, again.text
    ended = await over(server.developer, execution_id)
    after = by_step(ended)["each"]["items"]
    assert [one["task_id"] for one in after[:2]] == [one["task_id"] for one in items[:2]]
    assert after[2]["task_id"] != items[2]["task_id"]
    assert len(obedient.order) == 4


async def test_with_continue_every_item_and_every_step_is_done(server: Server) -> None:
    each = step(
        "each",
        type="obey",
        metadata={},
        for_each={"items": "input.what"},
        input={"do": "item"},
        on_failure="continue",
    )
    execution_id = await begun(
        server.developer,
        each,
        step("after", "each", metadata={}, input={"was": "steps.each.status"}),
        what=["fail", "answer", "fail"],
    )
    ended = await over(server.developer, execution_id)
    assert statuses(ended) == {"each": "failed", "after": "completed"}
    items = by_step(ended)["each"]["items"]
    assert [one["status"] for one in items] == ["failed", "completed", "failed"]
    assert by_step(ended)["after"]["output"] == {"was": "failed"}
    assert ended["status"] == "completed"


async def test_a_failed_step_is_compensated_for_before_the_execution_fails(
    server: Server,
) -> None:
    execution_id = await begun(
        server.developer,
        obey("bad", "fail", on_failure={"compensate": "undo"}),
        step("undo", metadata={}, input={"why": "steps.bad.[status, error.message]"}),
        step("never", "bad"),
    )
    ended = await over(server.developer, execution_id)
    assert statuses(ended) == {"bad": "failed", "undo": "completed", "never": "cancelled"}
    assert by_step(ended)["undo"]["output"] == {"why": ["failed", "It cannot be done."]}
    assert (ended["status"], ended["error"]["code"]) == ("failed", "VALIDATION_ERROR")
    good = await begun(server.developer, step("a", on_failure={"compensate": "undo"}), step("undo"))
    ended = await over(server.developer, good)
    assert statuses(ended) == {"a": "completed", "undo": "skipped"}
    assert ended["status"] == "completed"


async def test_a_step_is_tried_as_often_and_as_long_as_it_says(server: Server) -> None:
    execution_id = await begun(
        server.developer,
        obey("tried", "crash once", retry={"max_attempts": 2}),
        obey("slow", "hang", timeout_seconds=0.2, retry={"max_attempts": 1}, on_failure="continue"),
    )
    ended = await over(server.developer, execution_id)
    steps = by_step(ended)
    assert steps["tried"]["output"]["attempt"] == 2
    assert steps["slow"]["error"]["code"] == "TASK_TIMEOUT"


async def test_a_retry_keeps_what_is_finished(server: Server, obedient: Obedient) -> None:
    execution_id = await begun(
        server.developer, step("a"), obey("b", "fail", "d"), step("c", "b"), step("d", "a")
    )
    failed = await over(server.developer, execution_id)
    assert statuses(failed) == {
        "a": "completed",
        "b": "failed",
        "c": "cancelled",
        "d": "completed",
    }
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    for _ in range(2):
        answer = await server.developer.post(f"/executions/{execution_id}/retry", headers=headers)
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
    ended = await over(server.developer, execution_id)
    for kept in "ad":
        assert by_step(ended)[kept] == by_step(failed)[kept]
    assert by_step(ended)["b"]["task_id"] != by_step(failed)["b"]["task_id"]
    assert len(obedient.order) == 2
    done = await begun(server.developer, step("a"))
    await over(server.developer, done)
    error_of(await server.developer.post(f"/executions/{done}/retry"), 409, "CONFLICT")


async def test_cancelling_ends_the_tasks_and_nothing_begins_any_more(
    server: Server, obedient: Obedient
) -> None:
    execution_id = await begun(server.developer, obey("a", "hang"), step("b", "a"))
    async with asyncio.timeout(PATIENCE):
        await obedient.running.wait()
    answer = await server.developer.delete(f"/executions/{execution_id}")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    again = await server.developer.delete(f"/executions/{execution_id}")
    assert again.json() == answer.json()
    shown = await over(server.developer, execution_id)
    assert statuses(shown) == {"a": "cancelled", "b": "cancelled"}
    task = (await server.developer.get(f"/tasks/{by_step(shown)['a']['task_id']}")).json()
    assert task["status"] == "cancelled"
    for verb in ("pause", "resume"):
        answer = await server.developer.post(f"/executions/{execution_id}/{verb}")
        error_of(answer, 409, "CONFLICT")
    assert (await server.developer.post(f"/executions/{execution_id}/retry")).status_code == 202
    await server.developer.delete(f"/executions/{execution_id}")


async def test_a_step_fails_when_its_task_is_cancelled(server: Server, obedient: Obedient) -> None:
    execution_id = await begun(server.developer, obey("a", "hang"))
    async with asyncio.timeout(PATIENCE):
        await obedient.running.wait()
    task_id = by_step((await server.developer.get(f"/executions/{execution_id}")).json())["a"][
        "task_id"
    ]
    assert (await server.developer.delete(f"/tasks/{task_id}")).status_code == 200
    ended = await over(server.developer, execution_id)
    assert "was cancelled" in ended["error"]["message"]


async def test_nothing_begins_while_an_execution_is_paused(
    server: Server, obedient: Obedient
) -> None:
    each = step("each", metadata={}, for_each={"items": "input.l", "concurrency": 1})
    execution_id = await begun(
        server.developer,
        obey("a", "wait"),
        step("b", "a"),
        {**each, "type": "obey", "input": {"do": "item"}},
        l=["wait", "answer"],
    )
    async with asyncio.timeout(PATIENCE):
        await obedient.running.wait()
    for _ in range(2):
        answer = await server.developer.post(f"/executions/{execution_id}/pause")
        assert (answer.status_code, answer.json()["status"]) == (200, "paused")
    obedient.gate.set()
    paused = await step_reached(server.developer, execution_id, "a", "completed")
    assert (paused["status"], statuses(paused)["b"]) == ("paused", "pending")
    async with asyncio.timeout(PATIENCE):
        while by_step(paused)["each"]["items"][0]["status"] != "completed":
            paused = (await server.developer.get(f"/executions/{execution_id}")).json()
    assert [one["status"] for one in by_step(paused)["each"]["items"]] == ["completed", "pending"]
    answer = await server.developer.post(f"/executions/{execution_id}/resume")
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    ended = await over(server.developer, execution_id)
    assert set(statuses(ended).values()) == {"completed"}


@pytest.mark.parametrize("approved", [True, False])
async def test_a_step_waits_for_a_person(server: Server, approved: bool) -> None:
    execution_id = await begun(
        server.developer,
        step("ask", type="approval"),
        step("go", "ask", metadata={}, input={"said": "steps.ask.output.comment"}),
    )
    await step_reached(server.developer, execution_id, "ask", "waiting")
    path = f"/executions/{execution_id}/steps/ask/approve"
    for wrong in ("go", "nothing"):
        answer = await server.developer.post(
            f"/executions/{execution_id}/steps/{wrong}/approve", json={"approved": True}
        )
        error_of(answer, 404, "NOT_FOUND")
    # Nobody approves by saying nothing.
    for nothing in (None, {}, {"comment": "fine"}):
        wrong_fields(await server.developer.post(path, json=nothing))
    body = {"approved": approved, "comment": "as discussed"}
    answer = await server.developer.post(path, json=body)
    assert answer.status_code == 200, answer.text
    ended = await over(server.developer, execution_id)
    if approved:
        assert by_step(ended)["ask"]["output"]["approved"] is True
        assert by_step(ended)["go"]["output"] == {"said": "as discussed"}
    else:
        assert statuses(ended) == {"ask": "failed", "go": "cancelled"}
        assert "as discussed" in ended["error"]["message"]
    error_of(await server.developer.post(path, json=body), 409, "CONFLICT")


async def test_an_approval_that_nobody_gives_expires(server: Server) -> None:
    ask = step("ask", type="approval", timeout_seconds=0.1)
    ended = await over(server.developer, await begun(server.developer, ask))
    assert (ended["status"], ended["error"]["code"]) == ("failed", "TASK_TIMEOUT")


async def test_wide_and_deep_graphs_do_every_step_once(server: Server) -> None:
    layers = [[f"l{layer}-{n}" for n in range(6)] for layer in range(4)]
    steps = [step(name) for name in layers[0]]
    for above, below in pairwise(layers):
        steps += [step(name, *above) for name in below]
    execution_id = await begun(server.developer, *steps, step("alone"))
    ended = await over(server.developer, execution_id)
    assert Counter(statuses(ended).values()) == {"completed": 25}
    assert len({one["task_id"] for one in ended["steps"]}) == 25
    listed = await server.developer.get("/tasks", params={"tag": execution_id})
    assert listed.json()["total"] == 25
