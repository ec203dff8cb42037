"""`/schedules`: who may have what begun when, and what is refused."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.api.server import (
    JSON,
    Server,
    error_of,
    new_user,
    wrong_fields,
)
from tests.api.workflows import created, step

PING = {"type": "ping", "description": "on time"}
DAILY = {"name": "daily", "cron": "30 2 * * *", "timezone": "Europe/Berlin", "task": PING}
FAR = "2999-01-01T00:00:00Z"


async def scheduled(client: httpx2.AsyncClient, **more: Any) -> JSON:
    """A schedule that must be accepted."""
    answer = await client.post("/schedules", json={**DAILY, **more})
    assert answer.status_code == 201, answer.text
    shown: JSON = answer.json()
    return shown


def path_of(schedule: JSON) -> str:
    return f"/schedules/{schedule['schedule_id']}"


async def test_a_schedule_is_made_read_changed_and_deleted(server: Server) -> None:
    owner = await new_user(server, "keeper-of-one", "user")
    answer = await owner.post("/schedules", json=DAILY)
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == "/api/v1" + path_of(made)
    me = (await owner.get("/auth/me")).json()["user_id"]
    assert made["schedule_id"].startswith("sch-")
    assert made["created_by"] == me
    assert (made["status"], made["cron"], made["at"]) == ("active", "30 2 * * *", None)
    assert made["task"]["type"] == "ping"
    assert "workflow" not in made
    shown = (await owner.get(path_of(made))).json()
    assert shown["upcoming"][0] == made["next_run_at"]
    assert len(set(shown["upcoming"])) == 5
    changed = await owner.patch(
        path_of(made), json={"cron": "0 4 * * *", "timezone": "UTC", "misfire": "skip"}
    )
    assert changed.status_code == 200
    after = changed.json()
    assert after["next_run_at"].endswith("T04:00:00Z")
    assert (after["misfire"], after["name"]) == ("skip", "daily")
    assert (await owner.get("/schedules")).json()["schedules"][0]["cron"] == "0 4 * * *"
    assert (await owner.delete(path_of(made))).status_code == 204
    error_of(await owner.get(path_of(made)), 404, "NOT_FOUND")
    error_of(await owner.delete(path_of(made)), 404, "NOT_FOUND")
    error_of(await owner.get(path_of(made) + "/history"), 404, "NOT_FOUND")


async def test_pausing_takes_the_next_time_away_and_resuming_brings_it(server: Server) -> None:
    made = await scheduled(server.user)
    paused = (await server.user.patch(path_of(made), json={"paused": True})).json()
    assert (paused["status"], paused["next_run_at"]) == ("paused", None)
    assert (await server.user.get(path_of(made))).json()["upcoming"] == []
    resumed = (await server.user.patch(path_of(made), json={"paused": False})).json()
    assert (resumed["status"], resumed["next_run_at"]) == ("active", made["next_run_at"])
    from_the_start = await scheduled(server.user, paused=True)
    assert (from_the_start["status"], from_the_start["next_run_at"]) == ("paused", None)


async def test_one_moment_becomes_a_cron_and_back(server: Server) -> None:
    body = {"name": "once", "at": FAR, "task": PING}
    made = (await server.user.post("/schedules", json=body)).json()
    assert (made["at"], made["cron"], made["next_run_at"]) == (FAR, None, FAR)
    after = (await server.user.patch(path_of(made), json={"cron": "@hourly"})).json()
    assert (after["at"], after["cron"]) == (None, "@hourly")
    after = (await server.user.patch(path_of(made), json={"at": FAR})).json()
    assert (after["at"], after["cron"]) == (FAR, None)


async def test_a_workflow_is_scheduled_with_its_input(server: Server) -> None:
    workflow_id = await created(server.developer, step("a"))
    call = {"workflow_id": workflow_id, "input": {"branch": "main"}}
    body = {"name": "w", "cron": "@daily", "workflow": call}
    made = await server.developer.post("/schedules", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["workflow"] == call
    error_of(await server.user.post("/schedules", json=body), 403, "FORBIDDEN")
    # Who may not read workflows learns nothing of their schedules.
    error_of(await server.user.get(path_of(made.json())), 404, "NOT_FOUND")
    error_of(await server.user.delete(path_of(made.json())), 404, "NOT_FOUND")
    listed = (await server.user.get("/schedules", params={"limit": 100})).json()["schedules"]
    assert made.json()["schedule_id"] not in [one["schedule_id"] for one in listed]


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"cron": "* * * * * *"}, "cron", "More often than once a minute"),
        ({"cron": "0 0 30 2 *"}, "cron", "no such day"),
        ({"timezone": "Mars/Olympus"}, "timezone", "Europe/Berlin"),
        ({"cron": None}, "", "exactly one of cron and at"),
        ({"at": FAR}, "", "exactly one of cron and at"),
        ({"cron": None, "at": "2020-01-01T00:00:00Z"}, "at", "still to come"),
        ({"cron": None, "at": "2030-01-01T00:00:00"}, "at", "offset"),
        ({"task": None}, "", "exactly one of task and workflow"),
        ({"task": {**PING, "type": "nonsense"}}, "task.type", "is not known"),
        ({"task": {**PING, "agent": "nobody"}}, "task.agent", "There is no agent"),
        ({"task": {**PING, "run_at": FAR}}, "", "neither run_at nor depends_on"),
        ({"task": {**PING, "metadata": {"x": "x" * 300_000}}}, "task", "262144"),
        ({"task": {**PING, "callback_url": "http://127.0.0.1/"}}, "callback_url", ""),
        ({"task": None, "workflow": {"workflow_id": "wf-nobody"}}, "workflow.workflow_id", "no"),
        ({"misfire": "all"}, "misfire", "run_once"),
        ({"misfire_grace_seconds": -1}, "misfire_grace_seconds", "0"),
        ({"name": ""}, "name", "1"),
        ({"name": "a\0b"}, "name", "NUL"),
        ({"every": "1s"}, "every", ""),
    ],
)
async def test_what_is_wrong_is_named(server: Server, change: JSON, field: str, said: str) -> None:
    body = {name: value for name, value in {**DAILY, **change}.items() if value is not None}
    wrong = wrong_fields(await server.developer.post("/schedules", json=body))
    assert any(name.endswith(field) and said in message for name, message in wrong.items()), wrong


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cron": "@daily", "at": FAR}, ""),
        ({"at": "2020-01-01T00:00:00Z"}, "at"),
        ({"timezone": "Nowhere"}, "timezone"),
        ({"workflow": {"workflow_id": "wf-nobody"}}, "workflow"),
        ({"task": {**PING, "type": "nonsense"}}, "task.type"),
        ({"paused": "yes"}, "paused"),
    ],
)
async def test_a_wrong_change_changes_nothing(server: Server, change: JSON, field: str) -> None:
    made = await scheduled(server.user)
    wrong = wrong_fields(await server.user.patch(path_of(made), json=change))
    assert any(name.endswith(field) for name in wrong), wrong
    shown = (await server.user.get(path_of(made))).json()
    del shown["upcoming"]
    assert shown == made


async def test_others_may_stop_it_but_not_have_it_do_something_else(server: Server) -> None:
    made = await scheduled(server.user)
    error_of(await server.viewer.delete(path_of(made)), 403, "FORBIDDEN")
    error_of(await server.viewer.patch(path_of(made), json={"paused": True}), 403, "FORBIDDEN")
    for other in (server.developer, server.admin):
        refused = await other.patch(path_of(made), json={"task": PING, "paused": True})
        assert "Only its owner" in error_of(refused, 403, "FORBIDDEN")["message"]
        paused = await other.patch(path_of(made), json={"paused": True})
        assert paused.json()["status"] == "paused"
        assert paused.json()["created_by"] == made["created_by"]
    assert (await server.viewer.get(path_of(made))).status_code == 200
    assert (await server.developer.delete(path_of(made))).status_code == 204


async def test_lists_are_narrowed_and_paged(server: Server) -> None:
    owner = await new_user(server, "keeper-of-many", "user")
    made = [(await scheduled(owner, name=str(number)))["schedule_id"] for number in range(5)]
    await owner.patch(f"/schedules/{made[1]}", json={"paused": True})
    found: list[str] = []
    cursor = None
    while True:
        params = {"owner": "me", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await owner.get("/schedules", params=params)).json()
        found += [one["schedule_id"] for one in page["schedules"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == made[::-1]
    paused = (await owner.get("/schedules", params={"owner": "me", "status": "paused"})).json()
    assert [one["schedule_id"] for one in paused["schedules"]] == [made[1]]
    me = (await owner.get("/auth/me")).json()["user_id"]
    seen = (await server.admin.get("/schedules", params={"owner": me})).json()
    assert len(seen["schedules"]) == 5


async def test_the_same_key_makes_one_schedule(server: Server) -> None:
    headers = {"idempotency-key": "one-schedule"}
    answers = [await server.user.post("/schedules", json=DAILY, headers=headers) for _ in "ab"]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotency-replayed"] == "true"


async def test_a_due_time_begins_the_task_and_is_told_of(server: Server) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    body = {"name": "soon", "at": soon, "task": {**PING, "metadata": {"n": 7}}}
    made = (await server.user.post("/schedules", json=body)).json()
    async with asyncio.timeout(60):
        while True:
            history = (await server.user.get(path_of(made) + "/history")).json()["history"]
            if history:
                break
            await asyncio.sleep(0.05)  # the due time itself is waited for
    [fired] = history
    assert (fired["outcome"], fired["missed"], fired["reason"]) == ("fired", 0, None)
    task = (await server.user.get(f"/tasks/{fired['task_id']}", params={"wait": 20})).json()
    assert (task["status"], task["metadata"]) == ("completed", {"n": 7})
    shown = (await server.user.get(path_of(made))).json()
    assert (shown["status"], shown["next_run_at"]) == ("completed", None)
    assert shown["last_due_at"] == fired["due_at"]
    error_of(await server.user.patch(path_of(made), json={"paused": False}), 409, "CONFLICT")
    again = await server.user.patch(path_of(made), json={"at": FAR, "name": "late"})
    assert (again.json()["status"], again.json()["name"]) == ("active", "late")
