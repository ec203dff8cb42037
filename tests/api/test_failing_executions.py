"""An execution of which a step has failed: what has not begun ends, what runs is kept."""

import itertools
from collections.abc import AsyncIterator

import pytest

from tests.api.agents import Obedient
from tests.api.server import Server, error_of, reached
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
from tests.features.outside.joining import Joined, events_about, join

_NUMBERS = itertools.count(1)


async def absent(server: Server) -> Joined:
    """An agent that has joined, with a type of its own, and never asks for work by itself."""
    return await join(server, f"absent-{next(_NUMBERS)}", max_capacity=4)


@pytest.fixture(autouse=True)
async def nobody_stays_absent(server: Server) -> AsyncIterator[None]:
    """An agent that is offline makes the server that tests share look ill."""
    yield
    for agent in (await server.admin.get("/agents", params={"limit": 100})).json()["agents"]:
        if agent["agent_id"].startswith("absent-"):
            gone = await server.admin.delete(f"/agents/{agent['agent_id']}")
            assert gone.status_code == 204, gone.text


async def retried(server: Server, execution_id: str) -> None:
    answer = await server.developer.post(f"/executions/{execution_id}/retry")
    assert answer.status_code == 202, answer.text


async def test_what_waits_for_an_agent_or_a_person_ends_with_it_and_is_kept_for_a_retry(
    server: Server, obedient: Obedient
) -> None:
    agent = await absent(server)
    execution_id = await begun(
        server.developer,
        step("done"),
        step("waits", type=agent.type),
        {"step_id": "asks", "type": "approval"},
        obey("fails", "crash once", "done", retry={"max_attempts": 1}),
        step("after", "waits", "asks", "fails"),
    )
    ended = await over(server.developer, execution_id)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "INTERNAL_ERROR")
    assert statuses(ended) == {
        "done": "completed",
        "waits": "cancelled",
        "asks": "cancelled",
        "fails": "failed",
        "after": "cancelled",
    }
    waits = by_step(ended)["waits"]
    assert (await server.developer.get(f"/tasks/{waits['task_id']}")).json()["status"] == (
        "cancelled"
    )
    assert await agent.claim() == []
    told = await events_about(server, execution_id=execution_id, step_id="waits")
    assert told == ["workflow.step", "workflow.step"]
    late = await server.developer.post(
        f"/executions/{execution_id}/steps/asks/approve", json={"approved": True}
    )
    error_of(late, 409, "CONFLICT")
    assert len(await events_about(server, execution_id=execution_id, step_id="asks")) == 2


async def test_a_retry_takes_up_what_was_cancelled_and_keeps_what_was_done(
    server: Server, obedient: Obedient
) -> None:
    agent = await absent(server)
    execution_id = await begun(
        server.developer,
        step("done"),
        step("waits", type=agent.type),
        {"step_id": "asks", "type": "approval"},
        step("fails", "done", input={"x": "input.x"}),
        step("after", "waits", "asks"),
    )
    failed = await over(server.developer, execution_id)
    assert statuses(failed)["waits"] == "cancelled"
    # It still cannot do `fails`; what waits beside it is begun anew, and cancelled once more.
    await retried(server, execution_id)
    again = await over(server.developer, execution_id)
    assert by_step(again)["done"] == by_step(failed)["done"]
    assert by_step(again)["waits"]["task_id"] != by_step(failed)["waits"]["task_id"]
    assert statuses(again) == statuses(failed)


async def test_what_runs_when_a_step_fails_is_finished_and_its_output_kept(
    server: Server, obedient: Obedient
) -> None:
    agent = await absent(server)
    other = await absent(server)
    execution_id = await begun(
        server.developer,
        step("runs", type=agent.type),
        step("fails", type=other.type, on_failure={"compensate": "undo"}),
        step("next", "runs"),
        step("undo", type=other.type),
    )
    runs = await agent.claim_one(wait=20)
    fails = await other.claim_one(wait=20)
    await other.report(fails, "fail", error={"code": "BROKEN", "message": "no"})
    shown = (await server.developer.get(f"/executions/{execution_id}")).json()
    assert shown["status"] == "running"
    assert statuses(shown) == {
        "runs": "running",
        "fails": "failed",
        "next": "pending",
        "undo": "running",
    }
    assert (await agent.report(runs, "complete", result={"n": 1})).status_code == 200
    # The compensation waits for its agent, however long that takes.
    shown = (await server.developer.get(f"/executions/{execution_id}")).json()
    assert (shown["status"], statuses(shown)["undo"]) == ("running", "running")
    undo = await other.claim_one(wait=20)
    await other.report(undo, "complete", result={"undone": True})
    ended = await over(server.developer, execution_id)
    assert statuses(ended) == {
        "runs": "completed",
        "fails": "failed",
        "next": "cancelled",
        "undo": "completed",
    }
    assert by_step(ended)["runs"]["output"] == {"n": 1}
    assert ended["error"]["code"] == "BROKEN"


@pytest.mark.parametrize("how", ["given back", "to be tried again"])
async def test_an_attempt_that_ends_after_a_step_has_failed_is_not_followed_by_another(
    server: Server, how: str
) -> None:
    agent, other = await absent(server), await absent(server)
    execution_id = await begun(
        server.developer,
        step("runs", type=agent.type, on_failure="continue"),
        step("fails", type=other.type),
        step("after", "runs"),
    )
    runs = await agent.claim_one(wait=20)
    error = {"code": "BROKEN", "message": "no"}
    await other.report(await other.claim_one(wait=20), "fail", error=error)
    if how == "given back":
        answer = await agent.report(runs, "release")
    else:
        answer = await agent.report(runs, "fail", error={**error, "retryable": True})
    assert answer.status_code == 200, answer.text
    ended = await over(server.developer, execution_id)
    assert (ended["status"], statuses(ended)["runs"]) == ("failed", "cancelled")
    task_id = by_step(ended)["runs"]["task_id"]
    assert (await reached(server.developer, task_id, "cancelled"))["attempt"] == 1
    # Tried again: although it may fail, it was not taken for a failure.
    await retried(server, execution_id)
    for one in (agent, other):
        await one.report(await one.claim_one(wait=20), "complete", result={})
    ended = await over(server.developer, execution_id)
    assert set(statuses(ended).values()) == {"completed"}


async def test_while_nothing_has_failed_a_lost_attempt_is_followed_by_another(
    server: Server,
) -> None:
    agent = await absent(server)
    execution_id = await begun(server.developer, step("runs", type=agent.type))
    await agent.report(await agent.claim_one(wait=20), "release")
    await agent.report(await agent.claim_one(wait=20), "complete", result={})
    assert (await over(server.developer, execution_id))["status"] == "completed"


async def test_items_that_have_not_begun_end_when_one_fails(server: Server) -> None:
    agent = await absent(server)
    each = step(
        "each",
        type=agent.type,
        metadata={},
        for_each={"items": "input.all", "concurrency": 4},
        input={"n": "item"},
    )
    execution_id = await begun(server.developer, each, all=[0, 1, 2, 3, 4, 5])
    first, second = await agent.claim(wait=20, limit=2)
    await agent.report(first, "fail", error={"code": "BROKEN", "message": "no"})
    shown = (await server.developer.get(f"/executions/{execution_id}")).json()
    items = [one["status"] for one in by_step(shown)["each"]["items"]]
    assert items == ["failed", "running", "cancelled", "cancelled", "cancelled", "cancelled"]
    await agent.report(second, "complete", result={"n": 1})
    ended = await over(server.developer, execution_id)
    assert by_step(ended)["each"]["error"]["message"] == "1 of 6 items failed."
    await retried(server, execution_id)
    for wanted in (0, 2, 3, 4, 5):
        given = await agent.claim_one(wait=20)
        assert given["metadata"] == {"n": wanted}
        await agent.report(given, "complete", result={"n": wanted})
    ended = await over(server.developer, execution_id)
    assert ended["status"] == "completed"
    assert [one["output"]["n"] for one in by_step(ended)["each"]["items"]] == [0, 1, 2, 3, 4, 5]


async def test_a_step_of_items_ends_as_cancelled_when_another_step_has_failed(
    server: Server, obedient: Obedient
) -> None:
    agent = await absent(server)
    each = step(
        "each",
        type=agent.type,
        metadata={},
        for_each={"items": "input.all", "concurrency": 3},
        input={"n": "item"},
        on_failure="continue",
    )
    fails = obey("fails", "wait")
    execution_id = await begun(server.developer, each, fails, all=[0, 1, 2, 3])
    first, second = await agent.claim(wait=20, limit=2)
    shown = await step_reached(server.developer, execution_id, "fails", "running")
    # One that fails does not end this step.
    await agent.report(first, "fail", error={"code": "BROKEN", "message": "no"})
    await server.developer.delete(f"/tasks/{by_step(shown)['fails']['task_id']}")
    shown = (await server.developer.get(f"/executions/{execution_id}")).json()
    assert shown["status"] == "running"
    items = [one["status"] for one in by_step(shown)["each"]["items"]]
    assert items == ["failed", "running", "cancelled", "cancelled"]
    await agent.report(second, "complete", result={"n": 1})
    ended = await over(server.developer, execution_id)
    assert statuses(ended) == {"each": "cancelled", "fails": "failed"}
    obedient.gate.set()
    await retried(server, execution_id)
    for wanted in (0, 2, 3):
        given = await agent.claim_one(wait=20)
        assert given["metadata"] == {"n": wanted}
        await agent.report(given, "complete", result={"n": wanted})
    assert (await over(server.developer, execution_id))["status"] == "completed"


async def test_workflows_below_begin_nothing_more_either(
    server: Server, obedient: Obedient
) -> None:
    agent = await absent(server)
    busy = await created(
        server.developer, step("runs", type=agent.type), step("next", "runs", type=agent.type)
    )
    idle = await created(
        server.developer,
        step("first"),
        {"step_id": "asks", "type": "approval", "depends_on": ["first"]},
    )
    deep = await created(server.developer, step("down", type="workflow", workflow_id=idle))
    above = await created(
        server.developer,
        step("busy", type="workflow", workflow_id=busy),
        step("deep", type="workflow", workflow_id=deep),
        obey("fails", "wait"),
    )
    execution_id = await executed(server.developer, above)
    runs = await agent.claim_one(wait=20)
    shown = await step_reached(server.developer, execution_id, "fails", "running")
    below = (
        await server.developer.get(f"/executions/{by_step(shown)['deep']['execution_id']}")
    ).json()
    lowest = by_step(below)["down"]["execution_id"]
    await step_reached(server.developer, lowest, "asks", "waiting")
    await server.developer.delete(f"/tasks/{by_step(shown)['fails']['task_id']}")
    shown = (await server.developer.get(f"/executions/{execution_id}")).json()
    assert shown["status"] == "running"
    assert statuses(shown) == {"busy": "running", "deep": "cancelled", "fails": "failed"}
    assert (await over(server.developer, lowest))["status"] == "cancelled"
    await agent.report(runs, "complete", result={"n": 1})
    ended = await over(server.developer, execution_id)
    assert ended["status"] == "failed"
    assert statuses(ended) == {"busy": "cancelled", "deep": "cancelled", "fails": "failed"}
    child = await over(server.developer, by_step(ended)["busy"]["execution_id"])
    assert child["status"] == "cancelled"
    assert statuses(child) == {"runs": "completed", "next": "cancelled"}
    obedient.gate.set()
    await retried(server, execution_id)
    await agent.report(await agent.claim_one(wait=20), "complete", result={"n": 2})
    await step_reached(server.developer, lowest, "asks", "waiting")
    approved = await server.developer.post(
        f"/executions/{lowest}/steps/asks/approve", json={"approved": True}
    )
    assert approved.status_code == 200, approved.text
    ended = await over(server.developer, execution_id)
    assert ended["status"] == "completed"
    assert by_step(ended)["busy"]["output"] == {"runs": {"n": 1}, "next": {"n": 2}}


async def test_a_compensation_below_is_finished_though_all_above_has_failed(
    server: Server, obedient: Obedient
) -> None:
    agent = await absent(server)
    undoing = await created(server.developer, step("undo", type=agent.type), step("then", "undo"))
    below = await created(
        server.developer,
        obey("bad", "fail", on_failure={"compensate": "undo"}),
        step("undo", type="workflow", workflow_id=undoing),
    )
    above = await created(
        server.developer,
        step("below", type="workflow", workflow_id=below),
        {"step_id": "asks", "type": "approval"},
    )
    execution_id = await executed(server.developer, above)
    undo = await agent.claim_one(wait=20)
    refused = await server.developer.post(
        f"/executions/{execution_id}/steps/asks/approve", json={"approved": False}
    )
    assert refused.json()["status"] == "running"
    # Given back, the compensation is taken up again, and what follows in it is done, too.
    await agent.report(undo, "release")
    await agent.report(await agent.claim_one(wait=20), "complete", result={})
    ended = await over(server.developer, execution_id)
    child = await over(server.developer, by_step(ended)["below"]["execution_id"])
    assert statuses(child) == {"bad": "failed", "undo": "completed"}
    assert (ended["status"], child["status"]) == ("failed", "failed")


async def test_a_paused_execution_fails_without_what_has_not_begun(server: Server) -> None:
    agent = await absent(server)
    execution_id = await begun(
        server.developer,
        step("waits", type=agent.type),
        {"step_id": "asks", "type": "approval"},
    )
    await server.developer.post(f"/executions/{execution_id}/pause")
    refused = await server.developer.post(
        f"/executions/{execution_id}/steps/asks/approve", json={"approved": False}
    )
    assert refused.json()["status"] == "failed"
    ended = await over(server.developer, execution_id)
    assert statuses(ended) == {"waits": "cancelled", "asks": "failed"}
