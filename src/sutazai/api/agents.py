"""`/agents`: who there is, how they fare, how they are configured."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Request
from starlette.responses import Response

from sutazai import clock
from sutazai.agents import model
from sutazai.api.requests import (
    Clean,
    CurrentServices,
    StrictRoute,
    answer,
    needs,
    origin_of,
    whole,
)
from sutazai.api.schemas import AgentConfiguration, AgentDetails, AgentList, errors
from sutazai.identity.model import Principal

router = APIRouter(prefix="/agents", tags=["agents"], route_class=StrictRoute)

AgentId = Annotated[str, Path(max_length=64), Clean]


_SETTINGS: dict[str, Any] = {
    "properties": {
        "model": {"type": "string", "pattern": "^[ -~]{1,200}$"},
        "max_iterations": {"type": "integer", "minimum": 1, "maximum": 100},
        "memory_enabled": {"type": "boolean"},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    },
    "additionalProperties": False,
    "minProperties": 1,
}
"""What `agents.model.check_configuration` takes, for the document; a dictionary keeps the order."""


@router.get(
    "",
    operation_id="listAgents",
    summary="List agents",
    response_model=AgentList,
    responses=errors(403),
    dependencies=[needs("read", "agents")],
)
async def list_agents(services: CurrentServices) -> Response:
    """Every agent that has registered, with what it is doing now."""
    agents = await services.registry.list_agents()
    counts = model.count(agents)
    return answer(
        {
            "agents": [_summary(agent) for agent in agents],
            "total": counts.total,
            "active": counts.active,
            "idle": counts.idle,
            "busy": counts.busy,
        }
    )


@router.get(
    "/{agent_id}",
    operation_id="getAgent",
    summary="Get agent details",
    response_model=AgentDetails,
    responses=errors(403, 404),
    dependencies=[needs("read", "agents")],
)
async def get_agent(agent_id: AgentId, services: CurrentServices) -> Response:
    """An agent with its configuration, and what was measured of it."""
    agent = await services.registry.get_agent(agent_id)
    metrics = agent.metrics
    return answer(
        {
            **_summary(agent),
            "configuration": agent.configuration,
            "metrics": {
                "tasks_completed": metrics.tasks_completed,
                "average_duration": metrics.average_duration,
                "success_rate": metrics.success_rate,
                "error_rate": metrics.error_rate,
                "cache_hit_rate": metrics.cache_hit_rate,
            },
            "resources": {
                "cpu_usage": agent.cpu_usage,
                "memory_usage": agent.memory_usage,
                "memory_limit": agent.memory_limit,
            },
        }
    )


@router.patch(
    "/{agent_id}/config",
    operation_id="updateAgentConfig",
    summary="Update agent configuration",
    response_model=AgentConfiguration,
    responses=errors(403, 404),
)
async def update_agent_config(
    request: Request,
    agent_id: AgentId,
    changes: Annotated[
        dict[str, Any], Body(description="the settings to change", json_schema_extra=_SETTINGS)
    ],
    services: CurrentServices,
    principal: Principal = needs("write", "agents"),
) -> Response:
    """Change some of an agent's settings; its next task runs with them."""
    if "max_iterations" in changes:
        changes["max_iterations"] = whole(changes["max_iterations"])
    configuration = await services.registry.update_configuration(
        agent_id, changes, origin=origin_of(request, principal)
    )
    return answer(
        {
            "agent_id": agent_id,
            "updated_fields": list(changes),
            "configuration": configuration,
        }
    )


def _summary(agent: model.Agent) -> dict[str, Any]:
    online = agent.status is not model.AgentStatus.OFFLINE
    heartbeat = agent.last_heartbeat_at
    return {
        "agent_id": agent.agent_id,
        "name": agent.name,
        "type": agent.type,
        "status": agent.status,
        "capabilities": agent.capabilities,
        "current_load": agent.current_load,
        "max_capacity": agent.max_capacity,
        "health": {
            "status": "healthy" if online else "offline",
            "last_heartbeat": None if heartbeat is None else clock.to_iso(heartbeat),
            "uptime_seconds": agent.uptime_seconds,
        },
    }
