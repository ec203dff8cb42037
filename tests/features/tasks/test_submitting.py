import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.agents import Obedient
from tests.api.server import Server, ended, error_of, reached, submit, wrong_fields

SPECIFICATION_EXAMPLE = {
    "type": "code_review",
    "description": "Review the authentication module for security issues",
    "priority": 5,
    "metadata": {
        "file_path": "/src/auth/module.py",
        "language": "python",
        "rules": ["security", "performance"],
    },
}


async def test_the_specifications_example_is_accepted_as_it_stands(server: Server) -> None:
    answer = await server.user.post("/tasks", json=SPECIFICATION_EXAMPLE)
    assert answer.status_code == 201
    task = answer.json()
    assert uuid.UUID(task["task_id"]).version == 7
    assert task["status"] == "queued"
    assert task["assigned_agent"] is None
    assert "estimated_completion" in task
    assert datetime.fromisoformat(task["created_at"]).tzinfo is not None
    assert task["created_at"].endswith("Z")
    assert answer.headers["location"] == f"/api/v1/tasks/{task['task_id']}"
    await ended(server.user, task["task_id"])


async def test_type_and_description_are_enough(server: Server) -> None:
    task = await submit(server.user)
    seen = await ended(server.user, task["task_id"])
    assert (seen["priority"], seen["metadata"], seen["tags"]) == (5, {}, [])
    assert (seen["max_attempts"], seen["depends_on"]) == (3, [])


async def test_everything_that_was_submitted_is_kept(server: Server) -> None:
    given: dict[str, Any] = {
        "priority": 9,
        "metadata": {"deep": [{"a": None}], "text": "é𝄞\u202e", "": -0.5},
        "timeout_seconds": 12.5,
        "max_attempts": 7,
        "agent": "twin-01",
        "tags": ["one", "zwei"],
    }
    task = await submit(server.user, "twin", "A description\nof two lines", **given)
    seen = await ended(server.user, task["task_id"])
    assert {key: seen[key] for key in given} == given
    assert seen["description"] == "A description\nof two lines"
    me = (await server.user.get("/auth/me")).json()
    assert seen["submitted_by"] == me["user_id"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", None),
        ("type", 5),
        ("type", ""),
        ("type", "x" * 65),
        ("description", None),
        ("description", "x" * 20_001),
        ("priority", 0),
        ("priority", 11),
        ("priority", 5.5),
        ("priority", "5"),
        ("priority", True),
        ("metadata", []),
        ("metadata", "text"),
        ("timeout_seconds", 0),
        ("timeout_seconds", -1),
        ("timeout_seconds", 86_401),
        ("timeout_seconds", "60"),
        ("max_attempts", 0),
        ("max_attempts", 21),
        ("run_at", "tomorrow"),
        ("run_at", "2026-08-05T10:00:00"),
        ("run_at", "0001-01-01T00:00:00+14:00"),
        ("run_at", "9999-12-31T23:59:59Z"),
        ("run_at", 1_800_000_000),
        ("depends_on", "not a list"),
        ("agent", ""),
        ("tags", "one"),
        ("tags", [str(n) for n in range(21)]),
        ("callback", "https://example.com"),
    ],
)
async def test_a_wrong_field_is_named(server: Server, field: str, value: Any) -> None:
    body = {"type": "ping", "description": "a test"} | {field: value}
    wrong = wrong_fields(await server.user.post("/tasks", json=body))
    assert list(wrong) == [field]
    assert wrong[field]


async def test_every_wrong_field_gets_a_detail_of_its_own(server: Server) -> None:
    body = {"type": "ping", "priority": 11, "nonsense": 1, "max_attempts": 0}
    wrong = wrong_fields(await server.user.post("/tasks", json=body))
    assert set(wrong) == {"description", "priority", "nonsense", "max_attempts"}


async def test_an_unknown_type_is_refused_with_the_known_ones(server: Server) -> None:
    answer = await server.user.post("/tasks", json={"type": "nonsense", "description": "x"})
    message = wrong_fields(answer)["type"]
    for known in ("ping", "code_review", "security_analysis"):
        assert known in message


async def test_an_unknown_agent_is_refused(server: Server) -> None:
    body = {"type": "ping", "description": "x", "agent": "nobody-01"}
    assert "nobody-01" in wrong_fields(await server.user.post("/tasks", json=body))["agent"]


async def test_an_agent_that_cannot_do_the_type_is_refused(server: Server) -> None:
    body = {"type": "ping", "description": "x", "agent": "code-reviewer-01"}
    assert "code_review" in wrong_fields(await server.user.post("/tasks", json=body))["agent"]


async def test_a_pinned_task_goes_to_its_agent(server: Server) -> None:
    task = await submit(server.user, "twin", agent="twin-01")
    seen = await ended(server.user, task["task_id"])
    assert (seen["status"], seen["assigned_agent"], seen["agent"]) == (
        "completed",
        "twin-01",
        "twin-01",
    )


async def test_a_task_for_later_is_pending_until_its_time(server: Server) -> None:
    later = datetime.now(UTC) + timedelta(seconds=1)
    task = await submit(server.user, run_at=later.isoformat())
    assert (task["status"], task["pending_reason"]) == ("pending", "scheduled")
    seen = (await server.user.get(f"/tasks/{task['task_id']}")).json()
    assert (seen["status"], seen["pending_reason"]) == ("pending", "scheduled")
    seen = await ended(server.user, task["task_id"])
    assert seen["status"] == "completed"
    assert datetime.fromisoformat(seen["started_at"]) >= later
    assert datetime.fromisoformat(seen["run_at"]) == later


async def test_a_time_in_the_past_means_now(server: Server) -> None:
    task = await submit(server.user, run_at="1999-12-31T23:59:59-05:00")
    assert task["status"] == "queued"
    assert (await ended(server.user, task["task_id"]))["status"] == "completed"


async def test_higher_priority_goes_first_and_equal_ones_in_order(
    server: Server, obedient: Obedient
) -> None:
    first = await submit(server.user, "obey", "first", metadata={"do": "wait"})
    await reached(server.user, first["task_id"], "processing")
    tasks = []
    for name, priority in [("a", 1), ("b", 5), ("c", 10), ("d", 5), ("e", 10)]:
        tasks.append(await submit(server.user, "obey", name, priority=priority))
    obedient.gate.set()
    for task in tasks:
        await ended(server.user, task["task_id"])
    assert obedient.order == ["first", "c", "e", "b", "d", "a"]


async def test_a_field_that_is_misspelt_is_refused_not_ignored(server: Server) -> None:
    body = {"type": "ping", "description": "x", "callback": "https://example.com"}
    assert "callback" in wrong_fields(await server.user.post("/tasks", json=body))


async def test_a_body_that_is_not_an_object_is_refused(server: Server) -> None:
    bodies: list[Any] = [[], "text", 5, None]
    for body in bodies:
        assert list(wrong_fields(await server.user.post("/tasks", json=body))) == ["body"]
    error_of(await server.user.post("/tasks"), 422, "VALIDATION_ERROR")
