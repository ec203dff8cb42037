import asyncio
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from tests.api.server import (
    PATIENCE,
    Server,
    ended,
    error_of,
    serving,
    settings_for,
    submit,
)
from tests.postgres import PostgresServer


async def test_health_has_the_fields_of_the_specification_without_a_token(server: Server) -> None:
    answer = await server.anonymous.get("/health")
    assert answer.status_code == 200
    health = answer.json()
    assert health.keys() == {"status", "version", "uptime", "services", "timestamp"}
    assert health["status"] == "healthy", health
    assert health["version"] == version("sutazai")
    assert isinstance(health["uptime"], int)
    assert health["services"] == {
        "database": "healthy",
        "redis": "embedded",
        "ollama": "unavailable",
        "agents": "healthy",
        "engine": "healthy",
    }
    assert datetime.fromisoformat(health["timestamp"]).tzinfo is not None


async def test_a_bad_token_does_not_make_the_server_ill(server: Server) -> None:
    headers = {"authorization": "Bearer nonsense"}
    assert (await server.anonymous.get("/health", headers=headers)).status_code == 200


async def test_without_its_database_the_server_says_so_and_recovers_with_it(
    postgres: PostgresServer, postgres_url: str, data_dir: Path, tmp_path: Path
) -> None:
    database = postgres_url.partition("?")[0].rpartition("/")[2]
    settings = settings_for(data_dir, postgres_url, tmp_path)
    async with serving(settings, roles=[]) as server:
        postgres.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        postgres.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        )
        answer = await server.anonymous.get("/health")
        assert answer.status_code == 503
        health = answer.json()
        assert health.keys() == {"status", "version", "uptime", "services", "timestamp"}
        assert (health["status"], health["services"]["database"]) == ("unhealthy", "unhealthy")
        for refused in (
            await server.admin.post("/tasks", json={"type": "ping", "description": "x"}),
            await server.admin.get("/tasks"),
            await server.admin.get("/tasks/01a20af4-87b8-77fe-ac03-3a69b1fb45d4"),
            await server.admin.get("/agents"),
            await server.admin.get("/users"),
            await server.anonymous.post("/auth/login", json={"username": "a", "password": "b" * 8}),
        ):
            error = error_of(refused, 503, "DATABASE_ERROR")
            assert database not in refused.text
            assert "asyncpg" not in error["message"]
        postgres.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        async with asyncio.timeout(PATIENCE):
            while True:
                if (await server.anonymous.get("/health")).json()["status"] == "healthy":
                    break
                await asyncio.sleep(0.05)  # asks again, as a probe would
        task = await submit(server.admin)
        assert (await ended(server.admin, task["task_id"]))["status"] == "completed"
