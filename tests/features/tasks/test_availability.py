"""Agents that are away: tasks wait for them, and nothing is lost meanwhile."""

from pathlib import Path

from sutazai.bootstrap import running
from tests.api.agents import Twin
from tests.api.server import (
    ADMIN_PASSWORD,
    Server,
    client_of,
    ended,
    log_in,
    serving,
    settings_for,
    submit,
)


async def test_tasks_wait_for_an_agent_that_is_offline_and_survive_restarts(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    with_agents = settings_for(data_dir, database_url, tmp_path)
    without = settings_for(data_dir, database_url, tmp_path, agents=False)
    async with serving(with_agents, extra_agents=[Twin()], roles=[]) as server:
        await ended(server.admin, (await submit(server.admin, "twin"))["task_id"])

    async with running(without) as application:
        admin = client_of(
            application, await log_in(client_of(application), "admin", ADMIN_PASSWORD)
        )
        tasks = [
            await submit(admin, "ping", metadata={"n": 1}),
            await submit(admin, "twin", agent="twin-01"),
            await submit(admin, "twin"),
        ]
        for task in tasks:
            assert (task["status"], task["pending_reason"]) == ("pending", "no_agent")
            assert task["estimated_completion"] is None
        agents = (await admin.get("/agents")).json()
        assert (agents["total"], agents["active"], agents["idle"], agents["busy"]) == (
            len(agents["agents"]),
            0,
            0,
            0,
        )
        assert {agent["status"] for agent in agents["agents"]} == {"offline"}
        assert {agent["health"]["status"] for agent in agents["agents"]} == {"offline"}
        health = (await admin.get("/health")).json()
        assert (health["status"], health["services"]["agents"]) == ("degraded", "unhealthy")

    async with running(with_agents, extra_agents=[Twin()]) as application:
        admin = client_of(
            application, await log_in(client_of(application), "admin", ADMIN_PASSWORD)
        )
        for task in tasks:
            seen = await ended(admin, task["task_id"])
            assert seen["status"] == "completed"
            assert "pending_reason" not in seen


async def test_a_built_in_type_is_known_where_no_agent_ever_was(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    settings = settings_for(data_dir, database_url, tmp_path, agents=False)
    async with serving(settings, roles=["user"]) as server:
        await _nobody_there(server)


async def _nobody_there(server: Server) -> None:
    task = await submit(server.user, "code_review")
    assert (task["status"], task["pending_reason"]) == ("pending", "no_agent")
    assert (await server.admin.get("/agents")).json() == {
        "agents": [],
        "total": 0,
        "active": 0,
        "idle": 0,
        "busy": 0,
    }
    assert (await server.user.delete(f"/tasks/{task['task_id']}")).status_code == 200
