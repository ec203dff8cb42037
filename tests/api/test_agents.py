from typing import Any

import pytest

from tests.api.agents import Obedient
from tests.api.server import Server, ended, error_of, reached, submit, wrong_fields

REVIEWER = "code-reviewer-01"
THIRTEEN = {
    "master-coordinator",
    REVIEWER,
    "security-analyst-01",
    "test-generator-01",
    "doc-generator-01",
    "performance-analyst-01",
    "refactoring-advisor-01",
    "dependency-auditor-01",
    "type-checker-01",
    "change-summarizer-01",
    "bug-diagnoser-01",
    "log-analyst-01",
    "text-assistant-01",
}


async def test_the_list_has_the_fields_and_counts_of_the_specification(
    server: Server, obedient: Obedient
) -> None:
    task = await submit(server.user, "obey", metadata={"do": "wait"})
    await reached(server.user, task["task_id"], "processing")
    listed = (await server.developer.get("/agents")).json()
    agents = {agent["agent_id"]: agent for agent in listed["agents"]}
    assert agents.keys() == {*THIRTEEN, "obedient-01", "twin-01", "chief-01"}
    assert len(THIRTEEN) == 13
    assert listed.keys() == {"agents", "total", "active", "idle", "busy"}
    everyone = len(listed["agents"])
    assert (listed["total"], listed["active"], listed["busy"]) == (everyone, everyone, 1)
    assert listed["idle"] == sum(agent["current_load"] == 0 for agent in agents.values())
    coordinator = agents["master-coordinator"]
    assert coordinator.keys() == {
        "agent_id",
        "name",
        "type",
        "status",
        "capabilities",
        "current_load",
        "max_capacity",
        "health",
    }
    assert (coordinator["name"], coordinator["type"]) == ("Master Coordinator", "orchestrator")
    assert coordinator["health"].keys() == {"status", "last_heartbeat", "uptime_seconds"}
    assert coordinator["health"]["status"] == "healthy"
    reviewer = agents[REVIEWER]
    assert reviewer["capabilities"] == ["code_review", "security_analysis"]
    busy = agents["obedient-01"]
    assert (busy["status"], busy["current_load"], busy["max_capacity"]) == ("busy", 1, 1)


async def test_details_have_configuration_metrics_and_resources(server: Server) -> None:
    agent = (await server.developer.get(f"/agents/{REVIEWER}")).json()
    assert agent["configuration"].keys() == {
        "model",
        "max_iterations",
        "memory_enabled",
        "temperature",
    }
    assert agent["metrics"].keys() == {
        "tasks_completed",
        "average_duration",
        "success_rate",
        "error_rate",
        "cache_hit_rate",
    }
    assert agent["resources"].keys() == {"cpu_usage", "memory_usage", "memory_limit"}
    assert 0 < agent["resources"]["memory_usage"] < agent["resources"]["memory_limit"]


async def test_metrics_are_null_before_the_first_task_and_measured_after(
    fresh_server: Server,
) -> None:
    path = f"/agents/{REVIEWER}"
    nothing = (await fresh_server.admin.get(path)).json()["metrics"]
    assert nothing == {
        "tasks_completed": 0,
        "average_duration": None,
        "success_rate": None,
        "error_rate": None,
        "cache_hit_rate": None,
    }
    good = await submit(fresh_server.user, "code_review", metadata={"code": "x = 1\n"})
    await ended(fresh_server.user, good["task_id"])
    metrics = (await fresh_server.admin.get(path)).json()["metrics"]
    assert (metrics["tasks_completed"], metrics["success_rate"]) == (1, 1)
    assert metrics["error_rate"] == 0
    assert metrics["average_duration"] > 0


async def test_a_refused_input_is_no_error_of_the_agent(fresh_server: Server) -> None:
    for metadata in ({"code": 5}, {"file_path": "/nowhere.py"}):
        bad = await submit(fresh_server.user, "code_review", metadata=metadata)
        over = await ended(fresh_server.user, bad["task_id"])
        assert over["error"]["code"] == "VALIDATION_ERROR"
    metrics = (await fresh_server.admin.get(f"/agents/{REVIEWER}")).json()["metrics"]
    assert (metrics["error_rate"], metrics["success_rate"]) == (None, None)


async def test_a_change_of_configuration_reaches_the_next_task(
    server: Server, obedient: Obedient
) -> None:
    path = "/agents/obedient-01"
    changes = {"max_iterations": 5, "temperature": 0.8, "memory_enabled": False}
    answer = await server.developer.patch(f"{path}/config", json=changes)
    assert answer.status_code == 200
    changed = answer.json()
    assert changed.keys() == {"agent_id", "updated_fields", "configuration"}
    assert changed["updated_fields"] == ["max_iterations", "temperature", "memory_enabled"]
    assert changed["configuration"].items() >= changes.items()
    shown = (await server.developer.get(path)).json()["configuration"]
    assert shown == changed["configuration"]
    while True:  # the directory learns of it a moment after the answer
        task = await submit(server.user, "obey")
        await ended(server.user, task["task_id"])
        outcome = (await server.user.get(f"/tasks/{task['task_id']}/result")).json()
        if outcome["result"]["configuration"] == shown:
            break


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_iterations", 0),
        ("max_iterations", 101),
        ("max_iterations", 2.5),
        ("max_iterations", True),
        ("max_iterations", 10**400),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "warm"),
        ("temperature", False),
        ("memory_enabled", 1),
        ("model", ""),
        ("model", "a\0b"),
        ("model", "x" * 201),
        ("nonsense", 1),
    ],
)
async def test_a_wrong_setting_is_named_and_nothing_changes(
    server: Server, field: str, value: Any
) -> None:
    path = f"/agents/{REVIEWER}"
    before = (await server.developer.get(path)).json()["configuration"]
    changes = {"max_iterations": 7, field: value}
    answer = await server.developer.patch(f"{path}/config", json=changes)
    assert list(wrong_fields(answer)) == [field]
    assert (await server.developer.get(path)).json()["configuration"] == before


async def test_a_change_must_be_an_object_with_something_in_it(server: Server) -> None:
    bodies: list[Any] = [[], "text", 5, None, {}]
    for body in bodies:
        answer = await server.developer.patch(f"/agents/{REVIEWER}/config", json=body)
        error_of(answer, 422, "VALIDATION_ERROR")


async def test_unknown_agents_are_not_found(server: Server) -> None:
    for name in ("nobody", "..", "%2e%2e%2f%2e%2e%2fetc", "'; DROP TABLE agents; --", "é𝄞"):
        if name not in ("..", "%2e%2e%2f%2e%2e%2fetc"):
            answer = await server.developer.get(f"/agents/{name}")
            error_of(answer, 404, "NOT_FOUND")
        answer = await server.developer.patch(f"/agents/{name}/config", json={"temperature": 1})
        error_of(answer, 404, "NOT_FOUND")
    error_of(await server.developer.get("/agents/%00"), 422, "VALIDATION_ERROR")
    answer = await server.developer.patch("/agents/%00/config", json={"temperature": 1})
    error_of(answer, 422, "VALIDATION_ERROR")


async def test_a_configuration_has_a_history_that_one_can_go_back_in(server: Server) -> None:
    path = "/agents/twin-01/config"
    before = (await server.developer.get("/agents/twin-01")).json()["configuration"]
    for temperature in (0.1, 0.2):
        changed = await server.developer.patch(path, json={"temperature": temperature})
        assert changed.status_code == 200
    shown = (await server.developer.get(f"{path}/history")).json()
    newest, older, *_ = shown["versions"]
    assert (newest["configuration"]["temperature"], newest["updated_fields"]) == (
        0.2,
        ["temperature"],
    )
    assert newest["changed_by"].startswith("user:")
    assert older["configuration"]["temperature"] == 0.1
    first = older["version"] - 1
    key = {"idempotency-key": f"back-{newest['version']}"}
    for replayed in (None, "true"):
        answer = await server.developer.post(
            f"{path}/rollback", json={"version": first}, headers=key
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers.get("idempotency-replayed") == replayed
        assert answer.json()["version"] == newest["version"] + 1
        assert answer.json()["rolled_back_to"] == first
    after = (await server.developer.get("/agents/twin-01")).json()["configuration"]
    assert after == before


async def test_there_is_no_going_back_to_what_never_was(server: Server) -> None:
    answer = await server.developer.post(
        "/agents/twin-01/config/rollback", json={"version": 999_999}
    )
    assert "999999" in error_of(answer, 404, "NOT_FOUND")["message"]
    answer = await server.developer.post("/agents/twin-01/config/rollback", json={"version": 0})
    assert "version" in wrong_fields(answer)
    for method, path in (("GET", "history"), ("POST", "rollback")):
        answer = await server.developer.request(
            method, f"/agents/nobody/config/{path}", json={"version": 1}
        )
        error_of(answer, 404, "NOT_FOUND")
