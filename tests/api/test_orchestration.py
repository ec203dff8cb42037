"""The coordinator plans and has executed what a goal asks for, as a task like any other."""

import pytest

from tests.api.agents import Obedient
from tests.api.server import JSON, Server, ended, error_of, submit
from tests.api.workflows import over

CODE = "def half(n):\n    return eval('n / 2')\n"


async def outcome(server: Server, task: JSON) -> JSON:
    """How a task ended."""
    path = f"/tasks/{task['task_id']}/result"
    answer = await server.user.get(path, params={"wait": 25})
    assert answer.status_code == 200, answer.text
    shown: JSON = answer.json()
    return shown


async def orchestrate(server: Server, goal: str, **metadata: object) -> JSON:
    """A task that must be accepted."""
    return await submit(server.user, "orchestration", metadata={"goal": goal, **metadata})


async def test_a_goal_is_planned_and_done_and_its_result_tells_of_both(server: Server) -> None:
    goal = "review this for security, and then review its quality with code-reviewer-01"
    task = await orchestrate(server, goal, input={"code": CODE})
    done = await outcome(server, task)
    assert done["status"] == "completed", done
    result = done["result"]
    assert (result["goal"], result["planner"], result["model"]) == (goal, "rules", None)
    assert [step["step_id"] for step in result["steps"]] == ["security_analysis", "code_review"]
    assert {step["status"] for step in result["steps"]} == {"completed"}
    assert result["plan"]["steps"][1]["after"] == ["security_analysis"]
    assert "as the goal has it" in result["plan"]["steps"][1]["why"]
    assert result["summary"].startswith("2 of 2 steps done. security_analysis: Found ")
    execution = (await server.user.get(f"/executions/{result['execution_id']}")).json()
    assert execution["submitted_by"] == (await ended(server.user, task["task_id"]))["submitted_by"]
    assert execution["parent_task_id"] == task["task_id"]
    assert execution["input"] == {"code": CODE}
    second = execution["steps"][1]
    step_task = (await server.user.get(f"/tasks/{second['task_id']}")).json()
    assert step_task["parent_task_id"] == task["task_id"]
    # The earlier step's findings were at hand.
    assert step_task["metadata"]["security_analysis"]["issues"]
    # The workflow was for this alone: the definition is in the result.
    assert (await server.developer.get(f"/workflows/{execution['workflow_id']}")).status_code == 404
    made = await server.developer.post("/workflows", json=result["plan"]["workflow"])
    assert made.status_code == 201, made.text


async def test_a_dry_run_plans_and_executes_nothing(server: Server) -> None:
    task = await orchestrate(server, "review this", code=CODE, dry_run=True)
    result = (await outcome(server, task))["result"]
    assert result["status"] == "planned"
    assert "execution_id" not in result
    assert [step["step_id"] for step in result["plan"]["steps"]] == ["code_review"]
    listed = await server.user.get("/tasks", params={"parent": task["task_id"]})
    assert listed.json()["tasks"] == []


async def test_the_description_is_the_goal_where_the_metadata_names_none(server: Server) -> None:
    task = await submit(server.user, "orchestration", "obey", metadata={"do": "nothing"})
    done = await outcome(server, task)
    assert done["result"]["goal"] == "obey"
    assert done["status"] == "completed"


async def test_a_goal_that_is_not_understood_fails_with_what_can_be_done(server: Server) -> None:
    error = (await outcome(server, await orchestrate(server, "paint my house")))["error"]
    assert error["code"] == "VALIDATION_ERROR"
    assert "code_review" in error["message"]
    for metadata in (
        {"goal": 5},
        {"goal": " "},
        {"goal": "x" * 4_001},
        {"goal": "obey", "input": 1},
    ):
        task = await submit(server.user, "orchestration", metadata=metadata)
        assert (await outcome(server, task))["error"]["code"] == "VALIDATION_ERROR"


async def test_a_plan_that_fails_is_told_beside_the_error(
    server: Server, obedient: Obedient
) -> None:
    done = await outcome(server, await orchestrate(server, "obey", do="fail"))
    assert done["status"] == "failed"
    assert done["error"]["code"] == "VALIDATION_ERROR"
    assert "It cannot be done." in done["error"]["message"]
    result = done["result"]
    assert result["status"] == "failed"
    assert result["plan"]["steps"][0]["type"] == "obey"
    [step] = result["steps"]
    assert "It cannot be done." in step["error"]


async def test_cancelling_the_task_cancels_what_it_has_executed(
    server: Server, obedient: Obedient
) -> None:
    task = await orchestrate(server, "obey", do="hang")
    await obedient.running.wait()
    [step] = (await server.user.get("/tasks", params={"parent": task["task_id"]})).json()["tasks"]
    assert (await server.user.delete(f"/tasks/{task['task_id']}")).status_code == 200
    execution = await over(server.user, step["tags"][0])
    assert execution["status"] == "cancelled"
    assert (await ended(server.user, step["task_id"]))["status"] == "cancelled"


async def test_cancelling_the_execution_fails_the_task(server: Server, obedient: Obedient) -> None:
    task = await orchestrate(server, "obey", do="hang")
    await obedient.running.wait()
    [step] = (await server.user.get("/tasks", params={"parent": task["task_id"]})).json()["tasks"]
    assert (await server.user.delete(f"/executions/{step['tags'][0]}")).status_code == 200
    done = await outcome(server, task)
    assert (done["status"], done["error"]["code"]) == ("failed", "CONFLICT")
    assert done["result"]["status"] == "cancelled"


async def test_routing_says_who_would_do_it_and_why(server: Server) -> None:
    task = await submit(server.user, "routing", "a review of the quality, please")
    result = (await outcome(server, task))["result"]
    assert (result["type"], result["agent"]) == ("code_review", "code-reviewer-01")
    assert "review" in result["why"]
    error_of(await server.anonymous.get(f"/tasks/{task['task_id']}"), 401, "UNAUTHORIZED")


async def test_a_plan_of_the_coordinator_never_has_the_coordinator(server: Server) -> None:
    workflow = {"name": "round", "steps": [{"step_id": "again", "type": "orchestration"}]}
    call = {"workflow": workflow, "given": {"goal": "orchestration of routing"}}
    task = await submit(server.user, "chief", metadata={"calls": [call]})
    answer = (await outcome(server, task))["result"]["answers"][0]
    assert answer["status"] == "failed"
    assert "asks for nothing" in answer["error"]


async def test_an_agent_learns_what_is_wrong_with_its_workflow(server: Server) -> None:
    for workflow, said in (
        ({"name": "w", "steps": [{"step_id": "a", "type": "juggle"}]}, "juggle"),
        ({"name": "w", "steps": [{"step_id": "a b", "type": "ping"}]}, "step_id"),
        ({"name": "w", "steps": []}, "steps"),
        ({"name": "w"}, "steps"),
        ({"name": "w", "steps": [{"step_id": "a", "type": "chief"}]}, "come back"),
    ):
        task = await submit(server.user, "chief", metadata={"calls": [{"workflow": workflow}]})
        assert said in (await outcome(server, task))["error"]["message"]


@pytest.fixture
def package(server: Server) -> str:
    """A folder of the workspace with something to find."""
    folder = server.workspace / "orchestrated"
    folder.mkdir(exist_ok=True)
    (folder / "halves.py").write_text(CODE)
    return folder.name


async def test_a_package_is_reviewed_where_the_workspace_has_it(
    server: Server, package: str
) -> None:
    done = await outcome(server, await orchestrate(server, "Review it.", files=[package]))
    assert done["result"]["steps"][0]["summary"].startswith("Found ")
