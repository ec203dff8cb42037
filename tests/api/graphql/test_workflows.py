"""Workflows and executions in the graph are what they are over REST."""

import secrets
from typing import Any

import pytest
import sqlalchemy as sa

from tests.api.agents import Obedient
from tests.api.graphql.asking import ask, code_of, errors_of, fields_of, post
from tests.api.server import JSON, ROLES, Server, new_user
from tests.api.workflows import begun, created, executed, obey, over, step, step_reached

CREATE = """mutation($name: String!, $steps: [StepInput!]!, $description: String! = "") {
  createWorkflow(name: $name, steps: $steps, description: $description) {
    workflowId name description status version createdBy createdAt updatedAt
    creator { username }
    steps { stepId type agent description dependsOn config metadata input when
      forEach { items concurrency } retry { maxAttempts } timeoutSeconds onFailure workflowId }
  }
}"""
SHOW = """query($id: String!) { execution(executionId: $id) {
  executionId workflowId version status stepsCompleted stepsTotal input submittedBy
  parentExecutionId startedAt completedAt failedAt cancelledAt error { code message }
  workflow { name } submitter { username }
  steps { stepId type status taskId executionId startedAt endedAt output error { code message }
    task { status result }
    items { index status taskId startedAt endedAt output error { code } task { type } } }
} }"""


UNHEARD = """mutation { postEvent(eventType: "a.b", data: {approved: true}) { stepId } }"""
PINGS = '[{stepId: "a", type: "ping"}]'


def a_step(step_id: str, *depends_on: str, **more: Any) -> JSON:
    return {"stepId": step_id, "type": "ping", "dependsOn": list(depends_on), **more}


async def test_a_workflow_is_kept_with_everything_that_was_said(server: Server) -> None:
    full = a_step(
        "second",
        "first",
        agent="master-coordinator",
        description="all of it",
        config={"a_b": 1},
        metadata={"c_d": [None]},
        input={"given_name": "input.name"},
        when="input.name != `null`",
        forEach={"items": "input.names", "concurrency": 3},
        retry={"maxAttempts": 2},
        timeoutSeconds=5,
        onFailure={"compensate": "undo"},
    )
    steps = [a_step("first"), full, a_step("undo")]
    made = (await ask(server.developer, CREATE, name="graph", steps=steps, description="x"))[
        "createWorkflow"
    ]
    assert made["creator"] == {"username": "the-developer"}
    assert made["steps"][1] == {**full, "timeoutSeconds": 5.0, "workflowId": None}
    shown = (await server.developer.get(f"/workflows/{made['workflowId']}")).json()
    assert shown["steps"][1] == {
        "step_id": "second",
        "type": "ping",
        "agent": "master-coordinator",
        "description": "all of it",
        "depends_on": ["first"],
        "config": {"a_b": 1},
        "metadata": {"c_d": [None]},
        "input": {"given_name": "input.name"},
        "when": "input.name != `null`",
        "for_each": {"items": "input.names", "concurrency": 3},
        "retry": {"max_attempts": 2},
        "timeout_seconds": 5.0,
        "on_failure": {"compensate": "undo"},
    }
    assert {name: shown[name] for name in ("name", "description", "status", "version")} == {
        name: made[name] for name in ("name", "description", "status", "version")
    }
    assert (shown["created_at"], shown["created_by"]) == (made["createdAt"], made["createdBy"])


@pytest.mark.parametrize(
    ("steps", "fields"),
    [
        ([a_step("a", "b"), a_step("b", "a")], {"steps.0.dependsOn"}),
        ([a_step("a", "nobody")], {"steps.0.dependsOn"}),
        ([a_step("a", type="nonsense")], {"steps.0.type"}),
        ([a_step("a", retry={"maxAttempts": 0})], {"steps.0.retry.maxAttempts"}),
        ([a_step("a", timeoutSeconds=0)], {"steps.0.timeoutSeconds"}),
        ([a_step("a", config=[1])], {"steps.0.config"}),
        ([a_step("a", input={"the_name": ""})], {"steps.0.input.the_name"}),
        ([a_step("a", workflowId="wf-0")], {"steps.0.workflowId"}),
        ([], {"steps"}),
    ],
    ids=str,
)
async def test_wrong_steps_are_named(server: Server, steps: list[JSON], fields: set[str]) -> None:
    found = await fields_of(server.developer, CREATE, name="wrong", steps=steps)
    assert fields <= found, found
    assert all("_" not in name or name == "steps.0.input.the_name" for name in found)


async def test_an_execution_shows_its_steps_their_tasks_and_items(server: Server) -> None:
    workflow_id = await created(
        server.developer,
        step("first", metadata={"n": 1}),
        step("each", "first", metadata={}, for_each={"items": "input.names"}, input={"i": "item"}),
        obey("bad", "fail", "first"),
        step("never", "bad"),
    )
    execute = """mutation($id: String!, $input: JSON) {
      executeWorkflow(workflowId: $id, input: $input) { executionId status steps { status } } }"""
    given = {"names": ["x", "y"]}
    begun_ = (await ask(server.developer, execute, id=workflow_id, input=given))["executeWorkflow"]
    assert begun_["status"] == "running"
    assert len(begun_["steps"]) == 4
    execution_id = begun_["executionId"]
    rest = await over(server.developer, execution_id)
    shown = (await ask(server.developer, SHOW, id=execution_id))["execution"]
    assert shown["workflow"] == {"name": "a workflow"}
    assert shown["submitter"] == {"username": "the-developer"}
    assert shown["input"] == given
    for name, over_rest in (
        ("status", "status"),
        ("failedAt", "failed_at"),
        ("error", "error"),
        ("stepsCompleted", "steps_completed"),
        ("stepsTotal", "steps_total"),
        ("startedAt", "started_at"),
    ):
        assert shown[name] == rest[over_rest], name
    for ours, theirs in zip(shown["steps"], rest["steps"], strict=True):
        assert ours["stepId"] == theirs["step_id"]
        for name, over_rest in (
            ("status", "status"),
            ("taskId", "task_id"),
            ("output", "output"),
            ("error", "error"),
            ("startedAt", "started_at"),
            ("endedAt", "ended_at"),
        ):
            assert ours[name] == theirs.get(over_rest), (ours, theirs)
        assert len(ours["items"] or ()) == len(theirs.get("items", ()))
    first, each, bad, never = shown["steps"]
    assert first["task"] == {"status": "completed", "result": first["output"]}
    assert [(one["index"], one["output"], one["task"]) for one in each["items"]] == [
        (0, {"i": "x"}, {"type": "ping"}),
        (1, {"i": "y"}, {"type": "ping"}),
    ]
    assert bad["task"]["status"] == "failed"
    assert never["task"] is None
    some = """query($id: String!) { execution(executionId: $id) {
      steps { items(limit: 1, after: 0) { index } } } }"""
    found = (await ask(server.developer, some, id=execution_id))["execution"]["steps"]
    assert found[1]["items"] == [{"index": 1}]
    listing = (
        "query($id: String!) { executions(workflowId: $id) { executions { executionId steps "
        "{ stepId } } nextCursor } }"
    )
    listed = (await ask(server.developer, listing, id=workflow_id))["executions"]
    assert [one["executionId"] for one in listed["executions"]] == [execution_id]
    assert listed["nextCursor"] is None


async def test_a_sub_workflow_is_an_execution_below_its_step(server: Server) -> None:
    child = await created(server.developer, step("inner"))
    execution_id = await begun(
        server.developer, {"step_id": "outer", "type": "workflow", "workflow_id": child}
    )
    await over(server.developer, execution_id)
    query = """query($id: String!) { execution(executionId: $id) { steps { executionId execution {
      workflowId parentExecutionId status steps { stepId status } } } } }"""
    [outer] = (await ask(server.developer, query, id=execution_id))["execution"]["steps"]
    assert outer["execution"] == {
        "workflowId": child,
        "parentExecutionId": execution_id,
        "status": "completed",
        "steps": [{"stepId": "inner", "status": "completed"}],
    }


async def test_outputs_that_are_made_of_several_are_those_of_rest(server: Server) -> None:
    child = await created(server.developer, step("inner", metadata={}, input={"n": "input.n"}))
    each = {"for_each": {"items": "input.numbers"}, "input": {"n": "item"}, "metadata": {}}
    execution_id = await begun(
        server.developer,
        step("one", type="workflow", workflow_id=child, metadata={"n": 0}),
        step("subs", type="workflow", workflow_id=child, **each),
        step("tasks", **each),
        numbers=[1, 2],
    )
    rest = await over(server.developer, execution_id)
    query = """query($id: String!) { execution(executionId: $id) { steps {
      output items { output executionId execution { status } } } } }"""
    shown = (await ask(server.developer, query, id=execution_id))["execution"]["steps"]
    assert [one["output"] for one in shown] == [one["output"] for one in rest["steps"]]
    assert shown[1]["output"] == [{"inner": {"n": 1}}, {"inner": {"n": 2}}]
    assert shown[1]["items"] == [
        {
            "output": one["output"],
            "executionId": one["execution_id"],
            "execution": {"status": "completed"},
        }
        for one in rest["steps"][1]["items"]
    ]


async def test_a_plan_is_that_of_rest(server: Server) -> None:
    workflow_id = await created(server.developer, step("a"), step("b", "a"))
    query = """query($id: String!, $input: JSON) { planWorkflow(workflowId: $id, input: $input) {
      workflowId version order shortestSeconds longestSeconds
      steps { stepId type agents cached shortestSeconds longestSeconds } } }"""
    plan = (await ask(server.developer, query, id=workflow_id, input={"n": 1}))["planWorkflow"]
    path = f"/workflows/{workflow_id}/plan"
    rest = (await server.developer.post(path, json={"input": {"n": 1}})).json()
    assert plan["order"] == rest["order"] == [["a"], ["b"]]
    assert (plan["workflowId"], plan["version"]) == (workflow_id, 1)
    assert [list(one.values()) for one in plan["steps"]] == [
        [
            one[name]
            for name in (
                "step_id",
                "type",
                "agents",
                "cached",
                "shortest_seconds",
                "longest_seconds",
            )
        ]
        for one in rest["steps"]
    ]
    assert await fields_of(server.developer, query, id=workflow_id, input=[1]) == {"input"}


async def test_workflows_are_listed_page_by_page_changed_and_deleted(server: Server) -> None:
    ids = [await created(server.developer, step("a")) for _ in range(3)]
    listing = (
        "query($cursor: String) { workflows(limit: 2, cursor: $cursor) "
        "{ workflows { workflowId } nextCursor } }"
    )
    page = (await ask(server.developer, listing))["workflows"]
    assert [one["workflowId"] for one in page["workflows"]] == ids[:0:-1]
    page = (await ask(server.developer, listing, cursor=page["nextCursor"]))["workflows"]
    assert page["workflows"][0] == {"workflowId": ids[0]}
    update = """mutation($id: String!, $steps: [StepInput!]!) {
      updateWorkflow(workflowId: $id, name: "second", steps: $steps) { version name } }"""
    changed = await ask(server.developer, update, id=ids[0], steps=[a_step("b")])
    assert changed["updateWorkflow"] == {"version": 2, "name": "second"}
    show = "query($id: String!) { workflow(workflowId: $id) { version steps { stepId } } }"
    assert (await ask(server.developer, show, id=ids[0]))["workflow"] == {
        "version": 2,
        "steps": [{"stepId": "b"}],
    }
    remove = "mutation($id: String!) { deleteWorkflow(workflowId: $id) }"
    assert await ask(server.developer, remove, id=ids[0]) == {"deleteWorkflow": ids[0]}
    assert await code_of(server.developer, remove, id=ids[0]) == "NOT_FOUND"
    assert await code_of(server.developer, show, id=ids[0]) == "NOT_FOUND"
    assert await fields_of(server.developer, show, id="x") == {"workflowId"}


async def test_executions_are_paused_resumed_cancelled_and_tried_again(
    server: Server, obedient: Obedient
) -> None:
    execution_id = await begun(
        server.developer, obey("a", "wait"), step("b", "a"), obey("c", "wait", "b")
    )
    await step_reached(server.developer, execution_id, "a", "running")
    action = "mutation($id: String!) { it: %sExecution(executionId: $id) { status } }"

    async def do(what: str) -> str:
        data = await ask(server.developer, action % what, id=execution_id)
        status: str = data["it"]["status"]
        return status

    assert await do("pause") == "paused"
    assert await do("resume") == "running"
    both = """mutation($id: String!) {
      a: pauseExecution(executionId: $id) { status steps { status } }
      b: cancelExecution(executionId: $id) { status steps { status } } }"""
    data = await ask(server.developer, both, id=execution_id)
    assert [one["status"] for one in data["a"]["steps"]] == ["running", "pending", "pending"]
    assert {one["status"] for one in data["b"]["steps"]} == {"cancelled"}
    assert await code_of(server.developer, action % "pause", id=execution_id) == "CONFLICT"
    assert await do("retry") == "running"
    obedient.gate.set()
    assert (await over(server.developer, execution_id))["status"] == "completed"
    assert await code_of(server.developer, action % "cancel", id=execution_id) == "CONFLICT"


async def test_a_step_is_approved(server: Server) -> None:
    execution_id = await begun(server.developer, {"step_id": "ask", "type": "approval"})
    await step_reached(server.developer, execution_id, "ask", "waiting")
    approve = """mutation($id: String!, $step: String!) {
      approveStep(executionId: $id, stepId: $step, approved: true, comment: "fine") {
        status steps { output } } }"""
    assert await code_of(server.developer, approve, id=execution_id, step="b") == "NOT_FOUND"
    data = (await ask(server.developer, approve, id=execution_id, step="ask"))["approveStep"]
    assert data["status"] == "completed"
    output = data["steps"][0]["output"]
    assert (output["approved"], output["comment"]) == (True, "fine")


async def test_what_is_sent_again_is_done_once(server: Server) -> None:
    headers = {"idempotency-key": "graph-workflows"}
    answers = [
        await post(server.developer, CREATE, headers=headers, name="once", steps=[a_step("a")])
        for _ in range(2)
    ]
    first, second = (one.json()["data"]["createWorkflow"]["workflowId"] for one in answers)
    assert first == second
    assert answers[1].headers["idempotency-replayed"] == "true"
    execute = (
        'mutation($id: String!) { executeWorkflow(workflowId: $id, idempotencyKey: "once-w") '
        "{ executionId } }"
    )
    runs = [await ask(server.developer, execute, id=first) for _ in range(2)]
    assert runs[0] == runs[1]
    listed = (await server.developer.get(f"/workflows/{first}/executions")).json()
    assert len(listed["executions"]) == 1
    other = await created(server.developer, step("a"))
    assert await ask(server.developer, execute, id=other) != runs[0]


async def test_an_event_answers_the_step_that_waits_for_it(server: Server) -> None:
    event_type = f"change.decided_{secrets.token_hex(4)}"
    create = """mutation($steps: [StepInput!]!) {
      createWorkflow(name: "asks", steps: $steps) {
        workflowId steps { event { eventType correlationId } } } }"""
    event = {"eventType": event_type, "correlationId": "input.change"}
    steps = [{"stepId": "ask", "type": "approval", "event": event}]
    made = (await ask(server.developer, create, steps=steps))["createWorkflow"]
    assert made["steps"] == [{"event": event}]
    execution_id = await executed(server.developer, made["workflowId"], change="C-7")
    look = """query($id: String!) { execution(executionId: $id) {
      steps { event { eventType correlationId } } } }"""
    shown = (await ask(server.developer, look, id=execution_id))["execution"]["steps"]
    assert shown == [{"event": {"eventType": event_type, "correlationId": "C-7"}}]
    post_event = """mutation($type: String!, $by: String, $data: JSON!, $key: String) {
      postEvent(eventType: $type, correlationId: $by, data: $data, idempotencyKey: $key) {
        stepId executionId execution { status steps { output } } } }"""
    said = {"type": event_type, "by": "C-7", "data": {"approved": True, "to": "eu"}, "key": "once"}
    assert await code_of(server.developer, post_event, **{**said, "by": None}) == "NOT_FOUND"
    for _ in range(2):
        [answered] = (await ask(server.developer, post_event, **said))["postEvent"]
        assert (answered["stepId"], answered["executionId"]) == ("ask", execution_id)
        assert answered["execution"]["status"] == "completed"
        assert answered["execution"]["steps"][0]["output"]["to"] == "eu"


@pytest.mark.parametrize("role", ROLES)
async def test_every_role_may_do_what_it_may_over_rest(server: Server, role: str) -> None:
    workflow_id = await created(server.admin, step("a"))
    execution_id = await begun(server.admin, step("a"))
    await over(server.admin, execution_id)
    spare = await created(server.admin, step("a"))
    body = {"name": "x", "steps": [step("a")]}
    one_workflow, one_execution = f'workflowId: "{workflow_id}"', f'executionId: "{execution_id}"'
    approval = f'{one_execution}, stepId: "a", approved: true'
    removed = f'workflowId: "{await created(server.admin, step("a"))}"'
    path = f"/executions/{execution_id}"
    pairs: list[tuple[str, str, JSON | None, str]] = [
        ("GET", "/workflows", None, "{ workflows { nextCursor } }"),
        ("GET", f"/workflows/{workflow_id}", None, f"{{ workflow({one_workflow}) {{ name }} }}"),
        (
            "GET",
            f"/workflows/{workflow_id}/executions",
            None,
            f"{{ executions({one_workflow}) {{ nextCursor }} }}",
        ),
        ("GET", path, None, f"{{ execution({one_execution}) {{ status }} }}"),
        ("GET", "/executions/exec-0", None, '{ execution(executionId: "exec-0") { status } }'),
        ("DELETE", path, None, f"mutation {{ cancelExecution({one_execution}) {{ status }} }}"),
        (
            "DELETE",
            "/executions/exec-0",
            None,
            'mutation { cancelExecution(executionId: "exec-0") { status } }',
        ),
        (
            "POST",
            "/workflows",
            body,
            f'mutation {{ createWorkflow(name: "x", steps: {PINGS}) {{ name }} }}',
        ),
        (
            "PUT",
            f"/workflows/{workflow_id}",
            body,
            f'mutation {{ updateWorkflow({one_workflow}, name: "x", steps: {PINGS}) {{ name }} }}',
        ),
        (
            "POST",
            f"/workflows/{workflow_id}/plan",
            {},
            f"{{ planWorkflow({one_workflow}) {{ version }} }}",
        ),
        (
            "POST",
            f"/workflows/{workflow_id}/execute",
            {},
            f"mutation {{ executeWorkflow({one_workflow}) {{ status }} }}",
        ),
        *(
            (
                "POST",
                f"{path}/{what}",
                None,
                f"mutation {{ {what}Execution({one_execution}) {{ status }} }}",
            )
            for what in ("retry", "pause", "resume")
        ),
        (
            "POST",
            f"{path}/steps/a/approve",
            {"approved": True},
            f"mutation {{ approveStep({approval}) {{ status }} }}",
        ),
        ("POST", "/events", {"event_type": "a.b", "data": {"approved": True}}, UNHEARD),
        ("DELETE", f"/workflows/{spare}", None, f"mutation {{ deleteWorkflow({removed}) }}"),
    ]
    client = server.clients[role]
    for method, path, sent, query in pairs:
        rest = await client.request(method, path, json=sent)
        graph = (await post(client, query)).json()
        if rest.status_code < 300:
            assert "errors" not in graph, (query, graph)
        else:
            error = rest.json()["error"]
            said = [(one["extensions"]["code"], one["message"]) for one in graph["errors"]]
            assert said == [(error["code"], error["message"])], query


async def test_ones_own_execution_is_in_reach_whatever_the_role(server: Server) -> None:
    owner = await new_user(server, "graph-executes", "developer")
    execution_id = await begun(owner, obey("a", "hang"))
    user_id = (await owner.get("/auth/me")).json()["user_id"]
    await server.admin.patch(f"/users/{user_id}", json={"roles": ["viewer"]})
    query = "query($id: String!) { execution(executionId: $id) { status steps { taskId } } }"
    assert (await ask(owner, query, id=execution_id))["execution"]["status"] == "running"
    assert await code_of(server.viewer, query, id=execution_id) == "FORBIDDEN"
    cancel = "mutation($id: String!) { cancelExecution(executionId: $id) { status } }"
    assert await code_of(server.viewer, cancel, id=execution_id) == "FORBIDDEN"
    assert (await ask(owner, cancel, id=execution_id))["cancelExecution"]["status"] == "cancelled"


async def test_however_many_executions_are_shown_each_kind_of_thing_is_read_once(
    server: Server,
) -> None:
    workflow_id = await created(server.developer, step("a"), step("b"))
    for _ in range(3):
        answer = await server.developer.post(f"/workflows/{workflow_id}/execute", json={})
        await over(server.developer, answer.json()["execution_id"])
    query = """query($id: String!) { executions(workflowId: $id) { executions {
      workflow { name } submitter { username } steps { output task { assignedAgent { name } } }
    } } }"""
    said: list[str] = []

    def hear(*given: Any) -> None:
        said.append(given[2])

    sa.event.listen(sa.Engine, "before_cursor_execute", hear)
    try:
        shown = await ask(server.developer, query, id=workflow_id)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", hear)
    assert len(shown["executions"]["executions"]) == 3
    for what in (
        "FROM workflow_runs",
        "FROM workflow_versions",
        "FROM workflows JOIN",
        "FROM task_results",
    ):
        assert sum(what in one and "SELECT" in one for one in said) <= 2, (what, said)


async def test_steps_are_bounded_over_a_whole_request(server: Server) -> None:
    steps = [step(f"s{number}") for number in range(700)]
    workflow_id = await created(server.developer, *steps)
    three = " ".join(
        f'{name}: workflow(workflowId: "{workflow_id}") {{ steps {{ stepId }} }}' for name in "abc"
    )
    errors = await errors_of(server.developer, f"{{ {three} }}")
    assert errors[0]["extensions"]["code"] == "BAD_REQUEST"
    assert "2000 steps" in errors[0]["message"]
    lists = " ".join(f"{name}: workflows(limit: 100) {{ nextCursor }}" for name in "abc")
    assert await code_of(server.developer, f"{{ {lists} }}") == "BAD_REQUEST"
