"""Workflows, executions and schedules through the client, against a real server."""

from typing import Any

import pytest
from sutazai_client import Conflict, Invalid, NotFound, SutazAIClient

FAR = "2999-01-01T00:00:00Z"
PING = {"type": "ping", "description": "on time"}


def step(step_id: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    return {"step_id": step_id, "type": "ping", "depends_on": list(depends_on), **more}


def test_a_workflow_lives_from_its_creation_to_its_end(client: SutazAIClient) -> None:
    made = client.create_workflow("first", [step("a")], description="of the tests")
    workflow_id = made["workflow_id"]
    assert client.get_workflow(workflow_id)["description"] == "of the tests"
    after = client.update_workflow(workflow_id, "second", [step("a"), step("b", "a")])
    assert (after["version"], after["name"]) == (2, "second")
    plan = client.plan_workflow(workflow_id)
    assert plan["order"] == [["a"], ["b"]]
    execution_id = client.execute_workflow(workflow_id, {"n": 1})["execution_id"]
    ended = client.wait_for_execution(execution_id, timeout=60)
    assert ended["status"] == "completed"
    assert [one["output"] for one in ended["steps"]] == [{"n": 1}, {"n": 1}]
    assert client.list_executions(workflow_id, limit=1)["executions"][0]["version"] == 2
    client.delete_workflow(workflow_id)
    with pytest.raises(NotFound):
        client.get_workflow(workflow_id)
    assert client.get_execution(execution_id)["status"] == "completed"


def test_a_person_approves_pauses_cancels_and_tries_again(client: SutazAIClient) -> None:
    steps = [step("ask", type="approval"), step("then", "ask")]
    workflow_id = client.create_workflow("asks", steps)["workflow_id"]
    execution_id = client.execute_workflow(workflow_id)["execution_id"]
    with pytest.raises(TimeoutError, match="did not complete"):
        client.wait_for_execution(execution_id, timeout=0.1)
    assert client.pause_execution(execution_id)["status"] == "paused"
    assert client.resume_execution(execution_id)["status"] == "running"
    assert client.cancel_execution(execution_id)["status"] == "cancelled"
    assert client.retry_execution(execution_id)["status"] == "running"
    client.approve_step(execution_id, "ask", approved=False, comment="not yet")
    ended = client.wait_for_execution(execution_id, timeout=60)
    assert ended["status"] == "failed"
    assert "not yet" in ended["error"]["message"]
    client.retry_execution(execution_id)
    client.approve_step(execution_id, "ask", approved=True)
    assert client.wait_for_execution(execution_id, timeout=60)["status"] == "completed"


def test_an_event_answers_what_waits_for_it(client: SutazAIClient) -> None:
    event = {"event_type": "sdk.decided", "correlation_id": "input.change"}
    steps = [{**step("ask", type="approval"), "event": event}]
    workflow_id = client.create_workflow("asks", steps)["workflow_id"]
    execution_id = client.execute_workflow(workflow_id, {"change": 7})["execution_id"]
    with pytest.raises(NotFound, match=r"No approval step waits for the event 'sdk\.decided' now"):
        client.post_event("sdk.decided", {"approved": True})
    posted = client.post_event("sdk.decided", {"approved": True}, correlation_id="7")
    assert [one["execution_id"] for one in posted["answered"]] == [execution_id]
    assert client.wait_for_execution(execution_id, timeout=60)["status"] == "completed"


def test_all_pages_of_workflows_and_executions_come(client: SutazAIClient) -> None:
    made = [client.create_workflow(str(n), [step("a")])["workflow_id"] for n in range(3)]
    assert [one["workflow_id"] for one in client.iter_workflows()][:3] == made[::-1]
    page = client.list_workflows(limit=2)
    rest = client.list_workflows(limit=2, cursor=page["next_cursor"])
    assert [one["workflow_id"] for one in rest["workflows"]][:1] == made[:1]
    begun = [client.execute_workflow(made[0])["execution_id"] for _ in range(3)]
    assert [one["execution_id"] for one in client.iter_executions(made[0])] == begun[::-1]


def test_the_same_key_makes_one_of_each(client: SutazAIClient) -> None:
    key = "of-the-workflows"
    made = [client.create_workflow("w", [step("a")], idempotency_key=key) for _ in "ab"]
    workflow_id = made[0]["workflow_id"]
    assert made[1]["workflow_id"] == workflow_id
    begun = [client.execute_workflow(workflow_id, idempotency_key=key) for _ in "ab"]
    assert begun[0]["execution_id"] == begun[1]["execution_id"]


def test_what_is_wrong_with_a_workflow_names_the_step(client: SutazAIClient) -> None:
    with pytest.raises(Invalid) as caught:
        client.create_workflow("wrong", [step("a", "nowhere")])
    assert [detail["field"] for detail in caught.value.details] == ["steps.0.depends_on"]


def test_a_schedule_is_kept_paused_resumed_and_deleted(client: SutazAIClient) -> None:
    made = client.create_schedule(
        "nightly", cron="30 2 * * *", timezone="Europe/Berlin", task=PING, misfire="skip"
    )
    schedule_id = made["schedule_id"]
    assert client.pause_schedule(schedule_id)["next_run_at"] is None
    assert client.resume_schedule(schedule_id)["next_run_at"] == made["next_run_at"]
    assert client.update_schedule(schedule_id, name="daily")["name"] == "daily"
    assert len(client.get_schedule(schedule_id)["upcoming"]) == 5
    assert client.schedule_history(schedule_id) == {
        "history": [],
        "limit": 20,
        "next_cursor": None,
    }
    client.pause_schedule(schedule_id)
    assert [one["name"] for one in client.iter_schedules(status="paused")] == ["daily"]
    client.delete_schedule(schedule_id)
    with pytest.raises(NotFound):
        client.get_schedule(schedule_id)


def test_a_moment_that_has_passed_is_refused(client: SutazAIClient) -> None:
    made = client.create_schedule("once", at=FAR, task=PING)
    assert client.list_schedules(owner="me", limit=1)["schedules"] == [made]
    with pytest.raises(Invalid):
        client.update_schedule(made["schedule_id"], at="2020-01-01T00:00:00Z")
    client.delete_schedule(made["schedule_id"])


def test_an_ended_execution_cannot_be_cancelled(client: SutazAIClient) -> None:
    workflow_id = client.create_workflow("w", [step("a")])["workflow_id"]
    execution_id = client.execute_workflow(workflow_id)["execution_id"]
    client.wait_for_execution(execution_id, timeout=60)
    with pytest.raises(Conflict):
        client.cancel_execution(execution_id)
