"""`/health`: for probes, without authentication."""

from fastapi import APIRouter
from starlette.responses import Response

from sutazai import clock
from sutazai.agents.model import AgentStatus
from sutazai.api.requests import CurrentServices, answer
from sutazai.api.schemas import Health
from sutazai.errors import SutazaiError

router = APIRouter(prefix="/health", tags=["health"])


@router.get(
    "",
    operation_id="getHealth",
    summary="System health",
    response_model=Health,
    responses={503: {"model": Health, "description": "The database is out of reach"}},
)
async def get_health(services: CurrentServices) -> Response:
    """How each part is; 503 only when the database is out of reach."""
    try:
        agents = await services.registry.list_agents()
    except SutazaiError:
        parts = {"database": "unhealthy", "agents": "unhealthy"}
        reachable = False
    else:
        online = sum(agent.status is not AgentStatus.OFFLINE for agent in agents)
        state = "healthy" if agents and online == len(agents) else "degraded"
        parts = {"database": "healthy", "agents": state if online else "unhealthy"}
        reachable = True
    parts["engine"] = "healthy" if services.engine_is_healthy() else "unhealthy"
    parts["redis"] = "embedded"
    if services.redis_is_healthy is not None:
        parts["redis"] = "healthy" if await services.redis_is_healthy() else "unhealthy"
    # Whatever language model there is, Ollama's or another's; looked at in the background.
    parts["ollama"] = services.models.reach.health
    fine = all(state in ("healthy", "embedded", "unavailable") for state in parts.values())
    shown = {
        "status": "unhealthy" if not reachable else "healthy" if fine else "degraded",
        "version": services.version,
        "uptime": (clock.now() - services.started_at) // clock.SECOND,
        "services": parts,
        "timestamp": clock.to_iso(clock.now()),
    }
    return answer(shown, status=200 if reachable else 503)
