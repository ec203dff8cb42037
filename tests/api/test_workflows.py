"""Workflows as users define, read, change and delete them."""

import threading
import uuid
from typing import Any

import pytest

from sutazai.workflows.expressions import Expression
from tests.api.server import JSON, Server, error_of, new_user, wrong_fields
from tests.api.workflows import begun, by_step, created, executed, over, statuses, step

SPECIFICATION: JSON = {
    "name": "Code Review Pipeline",
    "description": "Automated code review with security and performance checks",
    "steps": [
        {
            "step_id": "1",
            "type": "code_review",
            "agent": "code-reviewer-01",
            "config": {"rules": ["security", "performance"]},
        },
        {"step_id": "2", "type": "ping", "agent": "master-coordinator", "depends_on": ["1"]},
        {"step_id": "3", "type": "ping", "depends_on": ["1", "2"]},
    ],
}


async def test_a_workflow_is_created_and_executed_as_in_the_specification(server: Server) -> None:
    made = await server.developer.post("/workflows", json=SPECIFICATION)
    assert made.status_code == 201, made.text
    shown = made.json()
    assert shown["workflow_id"].startswith("wf-")
    assert (shown["name"], shown["status"]) == ("Code Review Pipeline", "created")
    assert made.headers["location"] == f"/api/v1/workflows/{shown['workflow_id']}"
    given = {"code": "import os\nos.system(input())\n", "language": "python"}
    answer = await server.developer.post(
        f"/workflows/{shown['workflow_id']}/execute", json={"input": given}
    )
    assert answer.status_code == 202, answer.text
    execution = answer.json()
    assert execution["execution_id"].startswith("exec-")
    assert execution["workflow_id"] == shown["workflow_id"]
    assert (execution["status"], execution["steps_completed"]) == ("running", 0)
    assert execution["steps_total"] == 3
    assert answer.headers["location"] == f"/api/v1/executions/{execution['execution_id']}"
    ended = await over(server.developer, execution["execution_id"])
    assert (ended["status"], ended["steps_completed"]) == ("completed", 3), ended
    steps = by_step(ended)
    assert steps["1"]["output"]["issues"]
    # Without metadata of its own a step gets the execution's input, and its `config` over it.
    assert steps["3"]["output"] == given
    task = (await server.developer.get(f"/tasks/{steps['1']['task_id']}")).json()
    assert task["metadata"]["rules"] == ["security", "performance"]
    assert task["agent"] == "code-reviewer-01"
    assert ended["execution_id"] in task["tags"]
    for before, after in [("1", "2"), ("2", "3")]:
        assert steps[before]["ended_at"] <= steps[after]["started_at"]


async def test_everything_wrong_with_a_workflow_is_named_by_its_place(server: Server) -> None:
    steps = [
        step("a", "b"),
        step("b", "a", "nothing"),
        step("c", type="juggling"),
        step("d", agent="nobody"),
        step("e", agent="code-reviewer-01"),
        step("f", when="steps.a."),
    ]
    answer = await server.developer.post("/workflows", json={"name": "wrong", "steps": steps})
    error_of(answer, 422, "VALIDATION_ERROR")
    wrong = wrong_fields(answer)
    assert wrong.keys() >= {"steps.1.depends_on", "steps.2.type", "steps.3.agent", "steps.4.agent"}
    for field, message in wrong.items():
        assert repr(steps[int(field.split(".")[1])]["step_id"]) in message
    steps = [step("a", "b"), step("b", "a")]
    answer = await server.developer.post("/workflows", json={"name": "wrong", "steps": steps})
    assert wrong_fields(answer).keys() == {"steps.0.depends_on", "steps.1.depends_on"}


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"step_id": "with space"},
        {"retry": {"max_attempts": 0}},
        {"on_failure": "explode"},
        {"for_each": {"items": "input.x", "concurrency": 0}},
        {"timeout_seconds": -1},
        {"depends_on": "a"},
        {"config": []},
    ],
)
async def test_a_step_of_the_wrong_shape_is_refused(server: Server, change: JSON) -> None:
    body = {"name": "wrong", "steps": [{**step("a"), **change}]}
    answer = await server.developer.post("/workflows", json=body)
    error_of(answer, 422, "VALIDATION_ERROR")
    assert all(field.startswith("steps.0.") for field in wrong_fields(answer))


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"on_failure": "explode"}, {"steps.0.on_failure"}),
        ({"on_failure": {}}, {"steps.0.on_failure", "steps.0.on_failure.compensate"}),
        (
            {"on_failure": {"compensate": "b", "x": 1}},
            {"steps.0.on_failure", "steps.0.on_failure.x"},
        ),
        ({"input": {"": "input.a"}}, {"steps.0.input."}),
    ],
)
async def test_what_is_wrong_is_named_as_the_body_has_it(
    server: Server, change: JSON, fields: set[str]
) -> None:
    body = {"name": "wrong", "steps": [{**step("a"), **change}]}
    answer = await server.developer.post("/workflows", json=body)
    assert wrong_fields(answer).keys() == fields


async def test_workflows_are_listed_page_by_page(server: Server) -> None:
    made = [await created(server.developer, step("a")) for _ in range(3)]
    first = (await server.developer.get("/workflows", params={"limit": 2})).json()
    assert [one["workflow_id"] for one in first["workflows"]] == [made[2], made[1]]
    params = {"limit": 1, "cursor": first["next_cursor"]}
    second = (await server.developer.get("/workflows", params=params)).json()
    assert [one["workflow_id"] for one in second["workflows"]] == [made[0]]
    shown = (await server.developer.get(f"/workflows/{made[0]}")).json()
    assert shown["steps"] == [{"step_id": "a", "type": "ping"}]


async def test_an_execution_keeps_the_version_it_began_with(server: Server) -> None:
    workflow_id = await created(server.developer, step("a"))
    old = await executed(server.developer, workflow_id)
    body = {"name": "renamed", "steps": [step("x"), step("y", "x")]}
    changed = await server.developer.put(f"/workflows/{workflow_id}", json=body)
    assert (changed.status_code, changed.json()["version"]) == (200, 2), changed.text
    new = await executed(server.developer, workflow_id)
    assert statuses(await over(server.developer, old)) == {"a": "completed"}
    shown = await over(server.developer, new)
    assert (shown["version"], statuses(shown)) == (2, {"x": "completed", "y": "completed"})
    listed = (await server.developer.get(f"/workflows/{workflow_id}/executions")).json()
    assert [one["execution_id"] for one in listed["executions"]] == [new, old]
    page = await server.developer.get(
        f"/workflows/{workflow_id}/executions", params={"limit": 1, "cursor": new}
    )
    assert [one["execution_id"] for one in page.json()["executions"]] == [old]


async def test_a_deleted_workflow_is_gone_but_for_its_executions(server: Server) -> None:
    workflow_id = await created(server.developer, step("a"))
    execution_id = await executed(server.developer, workflow_id)
    assert (await server.developer.delete(f"/workflows/{workflow_id}")).status_code == 204
    for answer in [
        await server.developer.get(f"/workflows/{workflow_id}"),
        await server.developer.delete(f"/workflows/{workflow_id}"),
        await server.developer.post(f"/workflows/{workflow_id}/execute", json={}),
        await server.developer.post(f"/workflows/{workflow_id}/plan"),
    ]:
        error_of(answer, 404, "NOT_FOUND")
    assert (await over(server.developer, execution_id))["status"] == "completed"


async def test_a_workflow_that_is_executed_by_others_is_not_deleted(server: Server) -> None:
    below = await created(server.developer, step("a"))
    path = f"/workflows/{below}"
    above = await created(server.developer, step("sub", type="workflow", workflow_id=below))
    # It is only spoken of here.
    await created(server.developer, step("a", metadata={"about": below}))
    body = {
        "name": "nightly",
        "cron": "30 2 * * *",
        "paused": True,
        "workflow": {"workflow_id": below},
    }
    schedule = (await server.developer.post("/schedules", json=body)).json()["schedule_id"]
    refused = error_of(await server.developer.delete(path), 409, "CONFLICT")
    assert f"executed by {above}, {schedule}." in refused["message"]
    changed = {"name": "alone", "steps": [step("a")]}
    assert (await server.developer.put(f"/workflows/{above}", json=changed)).status_code == 200
    refused = error_of(await server.developer.delete(path), 409, "CONFLICT")
    assert f"executed by {schedule}." in refused["message"]
    assert (await server.developer.delete(f"/schedules/{schedule}")).status_code == 204
    assert (await server.developer.delete(path)).status_code == 204


async def test_calls_that_can_only_fail_are_refused(server: Server) -> None:
    steps = [step("a", input={"x": "foo(input)"}), step("b", when="length(input, input)")]
    answer = await server.developer.post("/workflows", json={"name": "wrong", "steps": steps})
    wrong = wrong_fields(answer)
    assert wrong.keys() == {"steps.0.input.x", "steps.1.when"}
    assert "no function foo()" in wrong["steps.0.input.x"]
    assert wrong["steps.1.when"] == "length() takes 1 argument, and not 2. (in the step 'b')"


async def test_the_same_key_brings_the_same_workflow_and_the_same_execution(
    server: Server,
) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"name": "once", "steps": [step("a")]}
    first = await server.developer.post("/workflows", json=body, headers=headers)
    again = await server.developer.post("/workflows", json=body, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    path = f"/workflows/{first.json()['workflow_id']}/execute"
    first = await server.developer.post(path, json={}, headers=headers)
    again = await server.developer.post(path, json={}, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())


async def test_a_plan_tells_the_order_the_agents_and_the_time_and_executes_nothing(
    server: Server,
) -> None:
    await over(server.developer, await begun(server.developer, step("a")))
    workflow_id = await created(
        server.developer, step("a"), step("b"), step("c", "a", "b", agent="master-coordinator")
    )
    plan = (await server.developer.post(f"/workflows/{workflow_id}/plan")).json()
    assert plan["order"] == [["a", "b"], ["c"]]
    assert [one["agents"] for one in plan["steps"]] == [["master-coordinator"]] * 3
    one = plan["steps"][0]
    assert 0 <= one["shortest_seconds"] <= one["longest_seconds"]
    assert plan["longest_seconds"] == pytest.approx(2 * one["longest_seconds"])
    listed = await server.developer.get(f"/workflows/{workflow_id}/executions")
    assert listed.json()["executions"] == []


async def test_a_plan_tells_which_steps_are_done_already(server: Server) -> None:
    fresh = {"type": "code_review", "agent": "code-reviewer-01"}
    workflow_id = await created(
        server.developer,
        step("given", **fresh, input={"code": "input.code"}),
        step("other", **fresh, metadata={"code": "print(2)  # never reviewed"}),
        step("left", **fresh, when="input.thorough", metadata={}),
        step("later", "given", **fresh, input={"code": "steps.given.output.summary"}),
        step("each", **fresh, for_each={"items": "input.codes"}, input={"code": "item"}),
        step("wrong", **fresh, metadata={"file": "/nowhere.py"}),
        step("far", **fresh, metadata={"repository": "https://example.com/a"}),
        step("silent"),
        step("ask", type="approval"),
    )
    code = "def planned(text):\n    return eval(text)\n"
    given: JSON = {"code": code, "codes": [code], "thorough": False}

    async def cached() -> JSON:
        path = f"/workflows/{workflow_id}/plan"
        plan = (await server.developer.post(path, json={"input": given})).json()
        return {one["step_id"]: one["cached"] for one in plan["steps"]}

    open_ones = dict.fromkeys(["left", "later", "each", "wrong", "far", "silent", "ask"])
    rate = await _cache_rate(server)
    assert await cached() == {"given": False, "other": False, **open_ones}
    # Who only looks does not spoil the figures.
    assert await _cache_rate(server) == rate
    review = step("a", type="code_review", metadata={"code": code})
    ended = await over(server.developer, await begun(server.developer, review))
    assert ended["status"] == "completed"
    assert await cached() == {"given": True, "other": False, **open_ones}
    # The same code with another character is another input.
    given["code"] += " "
    assert (await cached())["given"] is False
    # And what the plan says is what then happens.
    again = step("a", type="code_review", metadata={"code": code})
    ended = await over(server.developer, await begun(server.developer, again))
    assert ended["steps"][0]["output"]["metrics"]["cache_hit"] is True


async def test_expressions_hold_up_nobody_else(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = Expression.evaluate
    threads: set[int] = set()

    def watched(expression: Expression, *args: Any, **kwargs: Any) -> Any:
        threads.add(threading.get_ident())
        return evaluate(expression, *args, **kwargs)

    monkeypatch.setattr(Expression, "evaluate", watched)
    steps = [step("a", metadata={}, when="input.x", input={"x": "input.x"})]
    workflow_id = await created(server.developer, *steps)
    given = {"input": {"x": "y"}}
    plan = await server.developer.post(f"/workflows/{workflow_id}/plan", json=given)
    assert plan.status_code == 200, plan.text
    ended = await over(server.developer, await executed(server.developer, workflow_id, x="y"))
    assert ended["steps"][0]["output"] == {"x": "y"}
    # Requests are answered on the event loop, which is this thread.
    assert threads
    assert threading.get_ident() not in threads


async def _cache_rate(server: Server) -> float | None:
    shown = (await server.admin.get("/agents/code-reviewer-01")).json()
    rate: float | None = shown["metrics"]["cache_hit_rate"]
    return rate


def _calls(workflow_id: str, execution_id: str) -> list[tuple[str, str, Any]]:
    body = {"name": "mine", "steps": [step("a")]}
    return [
        ("POST", "/workflows", body),
        ("GET", "/workflows", None),
        ("GET", f"/workflows/{workflow_id}", None),
        ("PUT", f"/workflows/{workflow_id}", body),
        ("DELETE", f"/workflows/{workflow_id}", None),
        ("POST", f"/workflows/{workflow_id}/execute", {}),
        ("POST", f"/workflows/{workflow_id}/plan", None),
        ("GET", f"/workflows/{workflow_id}/executions", None),
        ("GET", f"/executions/{execution_id}", None),
        ("GET", "/executions/exec-0000", None),
        ("DELETE", f"/executions/{execution_id}", None),
        ("POST", f"/executions/{execution_id}/retry", None),
        ("POST", f"/executions/{execution_id}/pause", None),
        ("POST", f"/executions/{execution_id}/resume", None),
        ("POST", f"/executions/{execution_id}/steps/a/approve", {"approved": True}),
    ]


async def test_workflows_are_for_who_has_the_role(server: Server) -> None:
    workflow_id = await created(server.developer, step("a"))
    execution_id = await executed(server.developer, workflow_id)
    for method, path, body in _calls(workflow_id, execution_id):
        for client in (server.user, server.viewer):
            answer = await client.request(method, path, json=body)
            error_of(answer, 403, "FORBIDDEN")
        answer = await server.anonymous.request(method, path, json=body)
        error_of(answer, 401, "UNAUTHORIZED")


async def test_who_executed_may_read_and_cancel_it_without_the_role(server: Server) -> None:
    name = f"former-{uuid.uuid4().hex[:8]}"
    client = await new_user(server, name, "developer")
    wait = step("w", type="approval")
    execution_id = await begun(client, wait)
    me = (await client.get("/auth/me")).json()
    change = await server.admin.patch(f"/users/{me['user_id']}", json={"roles": ["viewer"]})
    assert change.status_code == 200
    error_of(await client.get("/workflows"), 403, "FORBIDDEN")
    assert (await client.get(f"/executions/{execution_id}")).status_code == 200
    cancelled = await client.delete(f"/executions/{execution_id}")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")


async def test_the_events_tell_of_an_execution_from_beginning_to_end(server: Server) -> None:
    execution_id = await begun(server.developer, step("a"), step("b", "a"))
    await over(server.developer, execution_id)
    told = []
    after = 0
    while True:
        params = {"after": after, "limit": 1000}
        page = (await server.developer.get("/events", params=params)).json()
        told += [
            (one["event_type"], one["data"].get("step_id"), one["data"].get("status"))
            for one in page["events"]
            if one["data"].get("execution_id") == execution_id
        ]
        if not page["events"]:
            break
        after = page["next_after"]
    assert told == [
        ("workflow.started", None, None),
        ("workflow.step", "a", "running"),
        ("workflow.step", "a", "completed"),
        ("workflow.step", "b", "running"),
        ("workflow.step", "b", "completed"),
        ("workflow.completed", None, None),
    ]


async def test_executions_are_listed_by_status_and_of_known_workflows_only(server: Server) -> None:
    workflow_id = await created(server.developer, step("ask", type="approval"))
    path = f"/workflows/{workflow_id}"
    # An execution that takes no input needs no body.
    begun = [(await server.developer.post(f"{path}/execute")).json() for _ in "ab"]
    await server.developer.delete(f"/executions/{begun[0]['execution_id']}")
    for status, one in (("cancelled", begun[0]), ("running", begun[1])):
        page = await server.developer.get(f"{path}/executions", params={"status": status})
        found = [each["execution_id"] for each in page.json()["executions"]]
        assert found == [one["execution_id"]]
    wrong = await server.developer.get(f"{path}/executions", params={"status": "over"})
    assert "status" in wrong_fields(wrong)
    nobodys = await server.developer.get("/workflows/wf-nobody/executions")
    error_of(nobodys, 404, "NOT_FOUND")
    await server.developer.delete(f"/executions/{begun[1]['execution_id']}")
