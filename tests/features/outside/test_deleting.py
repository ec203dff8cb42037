"""What becomes of the work of an agent that is deleted."""

from tests.api.server import Server, error_of, submit
from tests.features.outside.joining import events_about, given, join


async def test_a_deleted_agent_gives_its_work_back(server: Server) -> None:
    agent = await join(server, "leaving-01")
    heir = await join(server, "staying-01", capabilities=[agent.type])
    task, assignment = await given(server, agent)
    assert (await server.admin.delete(f"/agents/{agent.agent_id}")).status_code == 204
    error_of(await agent.report(assignment, "complete", result={}), 401, "UNAUTHORIZED")
    again = await heir.claim_one(wait=20)
    assert (again["task_id"], again["attempt"]) == (task["task_id"], 1)
    error_of(await server.admin.get(f"/agents/{agent.agent_id}"), 404, "NOT_FOUND")
    told = await events_about(server, agent_id=agent.agent_id)
    assert told[-3:] == ["agent.offline", "agent.status", "agent.deleted"]
    error_of(await server.admin.delete(f"/agents/{agent.agent_id}"), 404, "NOT_FOUND")


async def test_what_only_a_deleted_agent_may_do_fails(server: Server) -> None:
    agent = await join(server, "only-01")
    heir = await join(server, "heir-01", capabilities=[agent.type])
    held = await submit(server.admin, agent.type, agent=agent.agent_id)
    assignment = await agent.claim_one(wait=20)
    waiting = await submit(server.admin, agent.type, agent=agent.agent_id)
    later = await submit(
        server.admin, agent.type, agent=agent.agent_id, run_at="2099-01-01T00:00:00Z"
    )
    blocked = await submit(
        server.admin, agent.type, agent=agent.agent_id, depends_on=[later["task_id"]]
    )
    dependent = await submit(server.admin, agent.type, depends_on=[waiting["task_id"]])
    free = await submit(server.admin, agent.type)
    assert (await server.admin.delete(f"/agents/{agent.agent_id}")).status_code == 204
    for task in (held, waiting, later, blocked):
        over = (await server.admin.get(f"/tasks/{task['task_id']}")).json()
        assert (over["status"], over["error"]["code"]) == ("failed", "AGENT_OFFLINE")
        assert "only-01" in over["error"]["message"]
        assert "deleted" in over["error"]["message"]
        told = await events_about(server, task_id=task["task_id"])
        assert (told[-1], told.count("task.failed")) == ("task.failed", 1)
    over = (await server.admin.get(f"/tasks/{dependent['task_id']}")).json()
    assert (over["status"], over["error"]["code"]) == ("failed", "CONFLICT")
    # Whoever may still act for it learns that this is over.
    report = f"/assignments/{assignment['assignment_id']}/complete"
    error_of(await server.admin.post(report, json={"result": {}}), 409, "CONFLICT")
    assert (await heir.claim_one(wait=20))["task_id"] == free["task_id"]


async def test_a_step_for_a_deleted_agent_fails_its_execution(server: Server) -> None:
    agent = await join(server, "stepping-01")
    first = await join(server, "before-it-01")
    steps = [
        {"step_id": "before", "type": first.type},
        {"step_id": "its", "type": agent.type, "agent": agent.agent_id, "depends_on": ["before"]},
    ]
    made = await server.admin.post("/workflows", json={"name": "in two hands", "steps": steps})
    begun = await server.admin.post(f"/workflows/{made.json()['workflow_id']}/execute", json={})
    assignment = await first.claim_one(wait=20)
    await server.admin.delete(f"/agents/{agent.agent_id}")
    await first.report(assignment, "complete", result={})
    path = f"/executions/{begun.json()['execution_id']}"
    shown = (await server.admin.get(path, params={"wait": 25})).json()
    assert shown["status"] == "failed"
    assert shown["steps"][1]["error"]["code"] == "AGENT_OFFLINE", shown["steps"][1]
