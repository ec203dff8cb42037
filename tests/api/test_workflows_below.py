"""Workflows that execute workflows: for a step, and for each item of one."""

import asyncio
from collections import Counter
from typing import Any

import sqlalchemy as sa

from tests.api.agents import Obedient
from tests.api.server import JSON, PATIENCE, Server, error_of
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


async def test_workflows_that_begin_together_have_one_budget_for_their_expressions(
    server: Server,
) -> None:
    costly = step("costly", metadata={}, input={"all": "input.many[*].[@][]"})
    below = await created(server.developer, costly)
    many = list(range(8_000))
    subs = [
        step(f"s{n}", type="workflow", workflow_id=below, on_failure="continue") for n in range(30)
    ]
    ended = await over(server.developer, await begun(server.developer, *subs, many=many))
    # One alone is no trouble; that each is bounded does not help who waits for all of them.
    counted = Counter(one["status"] for one in ended["steps"])
    assert counted["completed"] > 5
    assert counted["failed"] > 5
    failed = next(one for one in ended["steps"] if one["status"] == "failed")
    assert "begins together takes too long" in failed["error"]["message"]


async def test_a_workflow_executes_another(server: Server) -> None:
    below = await created(
        server.developer, step("x"), step("y", "x", metadata={}, input={"n": "input.n"})
    )
    execution_id = await begun(
        server.developer,
        step("sub", type="workflow", workflow_id=below, input={"n": "input.number"}),
        step("after", "sub", metadata={}, input={"n": "steps.sub.output.y.n"}),
        number=7,
    )
    ended = await over(server.developer, execution_id)
    assert by_step(ended)["after"]["output"] == {"n": 7}
    child_id = by_step(ended)["sub"]["execution_id"]
    child = await over(server.developer, child_id)
    assert child["parent_execution_id"] == execution_id
    assert child["input"] == {"number": 7, "n": 7}


async def test_a_workflow_is_executed_for_each_item(server: Server, obedient: Obedient) -> None:
    below = await created(
        server.developer,
        step("kept", metadata={}, input={"n": "input.n"}),
        obey("x", "", "kept", metadata={}, input={"do": "input.do"}),
    )
    each = step(
        "each",
        type="workflow",
        workflow_id=below,
        metadata={},
        for_each={"items": "input.what", "concurrency": 2},
        input={"do": "item", "n": "index"},
    )
    after = step("after", "each", metadata={}, input={"n": "steps.each.output[].kept.n"})
    what = ["wait", "hang", "answer"]
    execution_id = await begun(server.developer, each, after, what=what)
    path = f"/executions/{execution_id}"
    async with asyncio.timeout(PATIENCE):
        await obedient.running.wait()
    items = by_step((await server.developer.get(path)).json())["each"]["items"]
    assert [one["status"] for one in items] == ["running", "running", "pending"]
    # What is done to the whole is done to each.
    for verb, status in [("pause", "paused"), ("resume", "running")]:
        assert (await server.developer.post(f"{path}/{verb}")).json()["status"] == status
        for one in items[:2]:
            child = (await server.developer.get(f"/executions/{one['execution_id']}")).json()
            assert (child["status"], child["parent_execution_id"]) == (status, execution_id)
    await server.developer.delete(path)
    for one in items[:2]:
        assert (await over(server.developer, one["execution_id"]))["status"] == "cancelled"
    # Tried again, each goes on where it was, and no more at once than before.
    kept = [(await over(server.developer, one["execution_id"])) for one in items[:2]]
    again = await server.developer.post(f"{path}/retry")
    assert (again.status_code, again.json()["status"]) == (202, "running")
    shown = by_step((await server.developer.get(path)).json())["each"]["items"]
    assert [one.get("execution_id") for one in shown] == [one.get("execution_id") for one in items]
    assert [one["status"] for one in shown] == ["running", "running", "pending"]
    obedient.gate.set()
    second = shown[1]["execution_id"]
    running = await step_reached(server.developer, second, "x", "running")
    assert by_step(running)["kept"] == by_step(kept[1])["kept"]
    await server.developer.delete(f"/tasks/{by_step(running)['x']['task_id']}")
    ended = await over(server.developer, execution_id)
    items = by_step(ended)["each"]["items"]
    assert ended["status"] == "failed"
    assert (items[0]["status"], items[1]["status"]) == ("completed", "failed")
    assert items[1]["error"]["message"].startswith(f"The execution {second} ended as failed.")


async def test_what_workflows_of_items_put_out_is_their_steps_output(server: Server) -> None:
    lowest = await created(server.developer, step("n", metadata={}, input={"n": "input.n"}))
    below = await created(
        server.developer,
        step("sub", type="workflow", workflow_id=lowest),
        step("left", when="`false`"),
    )
    execution_id = await begun(
        server.developer,
        step(
            "each",
            type="workflow",
            workflow_id=below,
            metadata={},
            for_each={"items": "input.numbers", "concurrency": 2},
            input={"n": "item"},
        ),
        step("tasks", metadata={}, for_each={"items": "input.numbers"}, input={"n": "item"}),
        step("one", type="workflow", workflow_id=below, metadata={"n": 7}),
        step("none", type="workflow", workflow_id=below, for_each={"items": "input.nothing"}),
        step(
            "seen",
            "each",
            "tasks",
            "one",
            "none",
            metadata={},
            input={name: f"steps.{name}.output" for name in ("each", "tasks", "one", "none")},
        ),
        numbers=[1, 2, 3],
        nothing=[],
    )
    ended = await over(server.developer, execution_id)
    assert ended["status"] == "completed", ended
    steps = by_step(ended)
    outputs = [{"sub": {"n": {"n": n}}, "left": None} for n in (1, 2, 3)]
    assert steps["each"]["output"] == outputs
    assert [one["output"] for one in steps["each"]["items"]] == outputs
    assert steps["tasks"]["output"] == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert steps["one"]["output"] == {"sub": {"n": {"n": 7}}, "left": None}
    assert steps["none"]["output"] == []
    # It is what expressions see.
    seen = steps["seen"]["output"]
    assert seen == {name: steps[name]["output"] for name in ("each", "tasks", "one", "none")}


async def test_workflows_of_items_that_end_at_once_end_their_step(server: Server) -> None:
    wrong = step("x", metadata={}, when="input.n == `2`", input={"y": "input.nothing"})
    below = await created(server.developer, wrong)
    each = step(
        "each",
        type="workflow",
        workflow_id=below,
        metadata={},
        for_each={"items": "input.numbers", "concurrency": 1},
        input={"n": "item"},
    )
    workflow_id = await created(server.developer, each)
    ended = await over(server.developer, await executed(server.developer, workflow_id, numbers=[1]))
    assert ended["status"] == "completed"
    execution_id = await executed(server.developer, workflow_id, numbers=[1, 2, 3])
    ended = await over(server.developer, execution_id)
    items = by_step(ended)["each"]["items"]
    assert [one["status"] for one in items] == ["completed", "failed", "cancelled"]
    assert ended["error"]["message"] == "The step 'each' failed: 1 of 3 items failed."
    goes_on = await created(server.developer, {**each, "on_failure": "continue"})
    ended = await over(
        server.developer, await executed(server.developer, goes_on, numbers=[1, 2, 3])
    )
    items = by_step(ended)["each"]["items"]
    assert [one["status"] for one in items] == ["completed", "failed", "completed"]
    assert ended["status"] == "completed"


async def test_the_end_of_a_workflow_below_is_that_of_its_step(
    server: Server, obedient: Obedient
) -> None:
    below = await created(server.developer, obey("x", "hang"))
    execution_id = await begun(server.developer, step("sub", type="workflow", workflow_id=below))
    async with asyncio.timeout(PATIENCE):
        await obedient.running.wait()
    shown = (await server.developer.get(f"/executions/{execution_id}")).json()
    child_id = by_step(shown)["sub"]["execution_id"]
    for verb, status in [("pause", "paused"), ("resume", "running")]:
        answer = await server.developer.post(f"/executions/{execution_id}/{verb}")
        assert answer.json()["status"] == status
        child = (await server.developer.get(f"/executions/{child_id}")).json()
        assert child["status"] == status
    await server.developer.delete(f"/executions/{execution_id}")
    assert (await over(server.developer, child_id))["status"] == "cancelled"
    error_of(await server.developer.post(f"/executions/{child_id}/retry"), 409, "CONFLICT")
    # Below fails, and so above does.
    below = await created(server.developer, obey("x", "fail"))
    execution_id = await begun(server.developer, step("sub", type="workflow", workflow_id=below))
    ended = await over(server.developer, execution_id)
    assert "It cannot be done" in ended["error"]["message"]


async def test_a_retry_goes_down_to_what_failed_and_keeps_what_is_finished_there(
    server: Server,
) -> None:
    lowest = await created(
        server.developer, step("kept", metadata={}), step("ask", "kept", type="approval")
    )
    below = await created(
        server.developer,
        step("kept", metadata={}),
        step("sub", "kept", type="workflow", workflow_id=lowest),
    )
    above = await created(
        server.developer,
        step("sub", type="workflow", workflow_id=below),
        step("after", "sub", metadata={}, input={"found": "steps.sub.output"}),
    )
    execution_id = await executed(server.developer, above)

    async def at_the_bottom() -> tuple[str, list[str]]:
        """The lowest execution's id, once it asks, and the tasks of what is kept."""
        tasks, path = [], execution_id
        for _ in range(2):
            shown = await step_reached(server.developer, path, "sub", "running")
            tasks += [one["task_id"] for one in shown["steps"] if one["step_id"] == "kept"]
            path = by_step(shown)["sub"]["execution_id"]
        shown = await step_reached(server.developer, path, "ask", "waiting")
        return path, [*tasks, by_step(shown)["kept"]["task_id"]]

    before = await at_the_bottom()
    path = f"/executions/{before[0]}/steps/ask/approve"
    await server.developer.post(path, json={"approved": False})
    ended = await over(server.developer, execution_id)
    assert statuses(ended) == {"sub": "failed", "after": "cancelled"}
    # What is below may change, and even go: what is being executed keeps its version.
    for one in (above, below, lowest):
        assert (await server.developer.delete(f"/workflows/{one}")).status_code == 204
    retried = await server.developer.post(f"/executions/{execution_id}/retry")
    assert (retried.status_code, retried.json()["status"]) == (202, "running")
    assert await at_the_bottom() == before
    await server.developer.post(path, json={"approved": True})
    ended = await over(server.developer, execution_id)
    assert ended["status"] == "completed"
    found = by_step(ended)["after"]["output"]["found"]
    assert found["sub"]["ask"]["approved"] is True


async def test_a_retry_below_that_fails_at_once_fails_all_above(server: Server) -> None:
    below = await created(server.developer, step("x", metadata={}, input={"y": "input.nothing"}))
    execution_id = await begun(server.developer, step("sub", type="workflow", workflow_id=below))
    first = await over(server.developer, execution_id)
    answer = await server.developer.post(f"/executions/{execution_id}/retry")
    assert (answer.status_code, answer.json()["status"]) == (202, "failed")
    again = await over(server.developer, execution_id)
    assert again["error"] == first["error"]
    assert by_step(again)["sub"]["execution_id"] == by_step(first)["sub"]["execution_id"]


async def test_workflows_cannot_execute_each_other_for_ever(server: Server) -> None:
    def sub(workflow_id: str) -> JSON:
        return {"name": "sub", "steps": [step("s", type="workflow", workflow_id=workflow_id)]}

    first = await created(server.developer, step("a"))
    second = (await server.developer.post("/workflows", json=sub(first))).json()["workflow_id"]
    answer = await server.developer.put(f"/workflows/{first}", json=sub(second))
    error_of(answer, 422, "VALIDATION_ERROR")
    assert "execute itself" in answer.text
    top = second
    for _ in range(4):
        made = await server.developer.post("/workflows", json=sub(top))
        assert made.status_code == 201, made.text
        top = made.json()["workflow_id"]
    error_of(await server.developer.post("/workflows", json=sub(top)), 422, "VALIDATION_ERROR")
    answer = await server.developer.post("/workflows", json=sub("wf-nothing"))
    error_of(answer, 422, "VALIDATION_ERROR")


async def test_items_that_are_tried_again_later_hold_nobody_up_until_then(server: Server) -> None:
    below = await created(server.developer, step("ask", type="approval"))
    each = step(
        "each",
        type="workflow",
        workflow_id=below,
        metadata={},
        for_each={"items": "input.numbers", "concurrency": 1},
        on_failure="continue",
    )
    execution_id = await begun(server.developer, each, numbers=[1, 2])
    path = f"/executions/{execution_id}"

    async def answered(number: int, approved: bool) -> str:
        """The execution of an item, once somebody has answered there."""
        async with asyncio.timeout(PATIENCE):
            while True:
                shown = by_step((await server.developer.get(path)).json())["each"]["items"]
                if shown[number]["status"] == "running":
                    break
        child_id: str = shown[number]["execution_id"]
        said = await server.developer.post(
            f"/executions/{child_id}/steps/ask/approve", json={"approved": approved}
        )
        assert said.status_code == 200, said.text
        return child_id

    first = await answered(0, False)
    shown = by_step((await server.developer.get(path)).json())["each"]["items"]
    assert [one["status"] for one in shown] == ["failed", "running"]
    await server.developer.delete(path)
    assert (await server.developer.post(f"{path}/retry")).json()["status"] == "running"
    shown = by_step((await server.developer.get(path)).json())["each"]["items"]
    assert [one["status"] for one in shown] == ["running", "pending"]
    # The second has an execution from before, which has ended and is none of this.
    second = shown[1]["execution_id"]
    for verb, status in [("pause", "paused"), ("resume", "running")]:
        answer = await server.developer.post(f"{path}/{verb}")
        assert (answer.status_code, answer.json().get("status")) == (200, status)
    assert [await answered(0, True), await answered(1, True)] == [first, second]
    assert (await over(server.developer, execution_id))["status"] == "completed"


async def test_what_is_below_is_read_once_however_many_ways_lead_there(server: Server) -> None:
    said: list[str] = []

    def hear(*given: Any) -> None:
        said.append(given[2])

    below = await created(server.developer, step("a"))
    sa.event.listen(sa.Engine, "before_cursor_execute", hear)
    try:
        # Each executes the one below it many times: 40 ** 4 ways lead down from the uppermost.
        for _ in range(4):
            subs = [step(f"s{n}", type="workflow", workflow_id=below) for n in range(40)]
            said.clear()
            below = await created(server.developer, *subs)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", hear)
    assert sum("FROM workflows" in one for one in said) < 20


async def test_an_older_version_fails_at_the_workflow_that_was_deleted_since(
    server: Server,
) -> None:
    below = await created(server.developer, step("a"))
    above = await created(
        server.developer,
        step("ask", type="approval"),
        step("sub", "ask", type="workflow", workflow_id=below),
    )
    execution_id = await executed(server.developer, above)
    body = {"name": "without it", "steps": [step("ask", type="approval")]}
    assert (await server.developer.put(f"/workflows/{above}", json=body)).status_code == 200
    assert (await server.developer.delete(f"/workflows/{below}")).status_code == 204
    path = f"/executions/{execution_id}/steps/ask/approve"
    await server.developer.post(path, json={"approved": True})
    ended = await over(server.developer, execution_id)
    assert statuses(ended) == {"ask": "completed", "sub": "failed"}
    assert by_step(ended)["sub"]["error"] == {
        "code": "NOT_FOUND",
        "message": f"There is no workflow with the id {below!r} any more.",
    }
    assert ended["error"]["message"].startswith("The step 'sub' failed: There is no workflow")
