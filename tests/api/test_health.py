from datetime import datetime
from importlib.metadata import version

from tests.api.server import Server


async def test_health_has_the_fields_of_the_specification_without_a_token(server: Server) -> None:
    answer = await server.anonymous.get("/health")
    assert answer.status_code == 200
    health = answer.json()
    assert health.keys() == {"status", "version", "uptime", "services", "timestamp"}
    assert health["status"] == "healthy"
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
