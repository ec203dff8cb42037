from datetime import datetime

import pytest

from tests.api.agents import Obedient
from tests.api.server import JSON, Server, ended, error_of, reached, submit


async def events_of(server: Server, task_id: str) -> list[JSON]:
    """Every event about a task, in order."""
    found: list[JSON] = []
    after = 0
    while True:
        page = (await server.admin.get("/events", params={"after": after, "limit": 1000})).json()
        found += [event for event in page["events"] if event["data"].get("task_id") == task_id]
        if page["next_after"] == after:
            return found
        after = page["next_after"]


async def test_a_ping_is_answered_with_its_metadata(server: Server) -> None:
    task = await submit(server.user, metadata={"n": 1})
    answer = await server.user.get(f"/tasks/{task['task_id']}/result", params={"wait": 20})
    assert answer.status_code == 200
    outcome = answer.json()
    assert outcome.keys() == {"task_id", "type", "status", "result", "completed_at"}
    assert outcome["task_id"] == task["task_id"]
    assert (outcome["type"], outcome["status"]) == ("ping", "completed")
    assert outcome["result"] == {"n": 1}
    assert datetime.fromisoformat(outcome["completed_at"]).tzinfo is not None


async def test_a_finished_task_has_the_fields_of_the_specification(server: Server) -> None:
    task = await submit(server.user)
    seen = await ended(server.user, task["task_id"])
    assert seen["status"] == "completed"
    assert seen["progress"] == 100
    assert seen["assigned_agent"] == "master-coordinator"
    assert seen["attempt"] == 1
    created, started, completed = (
        datetime.fromisoformat(seen[name]) for name in ("created_at", "started_at", "completed_at")
    )
    assert created <= started <= completed


async def test_the_status_goes_forward_and_every_step_is_an_event(server: Server) -> None:
    task = await submit(server.user)
    await ended(server.user, task["task_id"])
    events = await events_of(server, task["task_id"])
    told = [(event["event_type"], event["data"]["status"]) for event in events]
    assert told == [
        ("task.created", "queued"),
        ("task.assigned", "processing"),
        ("task.started", "processing"),
        ("task.completed", "completed"),
    ]
    for event in events:
        assert event["data"].keys() >= {"task_id", "type", "status", "attempt"}
    assert {event["data"]["assigned_agent"] for event in events[1:]} == {"master-coordinator"}
    assert events[0]["actor"].startswith("user:")
    assert events[-1]["actor"] == "agent:master-coordinator"
    assert len({event["request_id"] for event in events}) == 1


async def test_progress_and_counters_show_while_the_task_runs(
    server: Server, obedient: Obedient
) -> None:
    given = {"do": "report", "kept": 1, "issues_found": "submitted"}
    task = await submit(server.user, "obey", metadata=given)
    await reached(server.user, task["task_id"], "processing")
    while True:
        seen = (await server.user.get(f"/tasks/{task['task_id']}")).json()
        if seen["progress"]:
            break
    assert seen["progress"] == 65
    # What was submitted stays, whatever the agent counts under the same name.
    assert seen["metadata"] == {**given, "lines_processed": 450}
    obedient.gate.set()
    assert (await ended(server.user, task["task_id"]))["progress"] == 100
    events = await events_of(server, task["task_id"])
    [progress] = [one for one in events if one["event_type"] == "task.progress"]
    assert progress["data"]["progress"] == 65
    assert progress["data"]["lines_processed"] == 450


async def test_a_task_over_its_time_fails_with_task_timeout(
    server: Server, obedient: Obedient
) -> None:
    body: JSON = {"metadata": {"do": "hang"}, "timeout_seconds": 0.2, "max_attempts": 1}
    task = await submit(server.user, "obey", **body)
    seen = await ended(server.user, task["task_id"])
    assert seen["status"] == "failed"
    assert seen["error"]["code"] == "TASK_TIMEOUT"
    assert "failed_at" in seen
    assert obedient.stopped == [task["task_id"]]
    answer = await server.user.get(f"/tasks/{task['task_id']}/result")
    assert answer.status_code == 200
    outcome = answer.json()
    assert outcome["status"] == "failed"
    assert outcome["result"] is None
    assert outcome["error"] == seen["error"]


async def test_an_agents_own_error_is_final_unless_trying_again_may_help(
    server: Server, obedient: Obedient
) -> None:
    task = await submit(server.user, "obey", metadata={"do": "fail"})
    seen = await ended(server.user, task["task_id"])
    assert (seen["status"], seen["attempt"]) == ("failed", 1)
    assert seen["error"] == {"code": "VALIDATION_ERROR", "message": "It cannot be done."}
    again: JSON = {"metadata": {"do": "fail", "retryable": True}, "max_attempts": 2}
    task = await submit(server.user, "obey", **again)
    seen = await ended(server.user, task["task_id"])
    assert (seen["status"], seen["attempt"]) == ("failed", 2)


async def test_a_crash_is_tried_again_and_tells_no_secrets(
    server: Server, obedient: Obedient
) -> None:
    body: JSON = {"metadata": {"do": "crash"}, "max_attempts": 2}
    task = await submit(server.user, "obey", **body)
    seen = await ended(server.user, task["task_id"])
    assert (seen["status"], seen["attempt"]) == ("failed", 2)
    assert seen["error"]["code"] == "INTERNAL_ERROR"
    events = await events_of(server, task["task_id"])
    assert "secret" not in str(events) + str(seen)
    retried = [one["data"] for one in events if one["event_type"] == "task.retrying"]
    assert [(one["attempt"], bool(one["reason"])) for one in retried] == [(1, True)]


async def test_a_second_attempt_may_succeed(server: Server, obedient: Obedient) -> None:
    task = await submit(server.user, "obey", metadata={"do": "crash once"})
    seen = await ended(server.user, task["task_id"])
    assert (seen["status"], seen["attempt"]) == ("completed", 2)
    assert "error" not in seen
    result = (await server.user.get(f"/tasks/{task['task_id']}/result")).json()["result"]
    assert result["attempt"] == 2


@pytest.mark.parametrize("what", ["answer much", "answer nonsense"])
async def test_a_result_that_cannot_be_kept_fails_the_task_with_a_reason(
    server: Server, obedient: Obedient, what: str
) -> None:
    task = await submit(server.user, "obey", metadata={"do": what}, max_attempts=1)
    seen = await ended(server.user, task["task_id"])
    assert seen["status"] == "failed"
    assert "result" in seen["error"]["message"]


async def test_a_result_before_the_end_is_a_conflict(server: Server, obedient: Obedient) -> None:
    task = await submit(server.user, "obey", metadata={"do": "wait"})
    path = f"/tasks/{task['task_id']}/result"
    error_of(await server.user.get(path), 409, "CONFLICT")
    late = await server.user.get(path, params={"wait": 0.1})
    error_of(late, 504, "TASK_TIMEOUT")
    assert int(late.headers["retry-after"]) >= 1
    obedient.gate.set()
    assert (await server.user.get(path, params={"wait": 20})).status_code == 200


async def test_waiting_for_a_task_answers_when_it_ends_or_the_time_is_up(
    server: Server, obedient: Obedient
) -> None:
    task = await submit(server.user, "obey", metadata={"do": "wait"})
    path = f"/tasks/{task['task_id']}"
    still = (await server.user.get(path, params={"wait": 0.1})).json()
    assert still["status"] in ("queued", "processing")
    obedient.gate.set()
    assert (await server.user.get(path, params={"wait": 20})).json()["status"] == "completed"
    for wrong in (-1, 26, "long", "nan", "inf"):
        error_of(await server.user.get(path, params={"wait": wrong}), 422, "VALIDATION_ERROR")


async def test_the_estimate_is_null_until_the_type_was_measured_and_then_plausible(
    fresh_server: Server,
) -> None:
    task = await submit(fresh_server.user)
    assert task["estimated_completion"] is None
    await ended(fresh_server.user, task["task_id"])
    # The figures behind it are up to a second old.
    while (task := await submit(fresh_server.user))["estimated_completion"] is None:
        await ended(fresh_server.user, task["task_id"])
    created = datetime.fromisoformat(task["created_at"])
    estimate = datetime.fromisoformat(task["estimated_completion"])
    assert 0 <= (estimate - created).total_seconds() < 60


async def test_unknown_tasks_are_not_found(server: Server) -> None:
    unknown = "01a20af4-87b8-77fe-ac03-3a69b1fb45d4"
    for method, path in [("GET", ""), ("GET", "/result"), ("DELETE", "")]:
        answer = await server.admin.request(method, f"/tasks/{unknown}{path}")
        assert unknown in error_of(answer, 404, "NOT_FOUND")["message"]
    error_of(await server.admin.get("/tasks/not-an-id"), 422, "VALIDATION_ERROR")
