"""`/agents`: who there is, how they fare, how they are configured; who joins from outside."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from sutazai import clock
from sutazai.agents import model
from sutazai.agents.contract import AgentDescription
from sutazai.agents.outside import MOST_CAPABILITIES, MOST_CAPACITY
from sutazai.api.agent_schemas import (
    AgentConfigurationHistory,
    AgentConfigurationVersion,
    AgentKey,
    OutsideAgent,
    RegisteredAgent,
)
from sutazai.api.requests import (
    Clean,
    CurrentServices,
    IdempotencyKey,
    Input,
    StrictRoute,
    Whole,
    answer,
    location_of,
    needs,
    origin_of,
    replayable,
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


_Name = Annotated[str, Field(min_length=1, max_length=64), Clean]
_Capability = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,63}$")]
_NewId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class AgentUpdate(Input):
    """What an agent from outside says of itself; `capabilities` are the task types it takes."""

    name: Annotated[str, Field(min_length=1, max_length=128), Clean]
    type: _Name
    capabilities: Annotated[list[_Capability], Field(min_length=1, max_length=MOST_CAPABILITIES)]
    max_capacity: Annotated[int, Field(ge=1, le=MOST_CAPACITY, strict=True), Whole] = 1
    transport: model.Transport = model.Transport.HTTP

    def description(self, agent_id: str) -> AgentDescription:
        """What the service takes."""
        return AgentDescription(
            agent_id=agent_id,
            name=self.name,
            type=self.type,
            capabilities=tuple(dict.fromkeys(self.capabilities)),
            max_capacity=self.max_capacity,
            transport=self.transport.value,
        )


class AgentRegistration(AgentUpdate):
    """An agent that joins from outside."""

    agent_id: _NewId


@router.post(
    "",
    operation_id="registerAgent",
    summary="Register an agent from outside",
    status_code=201,
    response_model=RegisteredAgent,
    responses={
        **errors(403, 409),
        200: {"model": RegisteredAgent, "description": "It had joined just so already"},
    },
)
async def register_agent(
    request: Request,
    body: AgentRegistration,
    services: CurrentServices,
    principal: Principal = needs("write", "agents"),
    key: IdempotencyKey = None,
) -> Response:
    """Let an agent join. Its key is shown this once, and opens its own work and nothing else."""
    replay = await replayable(request, key, principal=principal.actor, seal=True)
    made = await services.outside.register(
        body.description(body.agent_id), origin=origin_of(request, principal), replay=replay
    )
    return answer(
        {**_outside_view(made.agent), "api_key": made.api_key},
        status=201 if made.created else 200,
        replay=replay,
        location=location_of(request, f"/agents/{body.agent_id}"),
    )


@router.put(
    "/{agent_id}",
    operation_id="updateAgent",
    summary="Change what an agent from outside says of itself",
    response_model=OutsideAgent,
    responses=errors(403, 404, 409),
)
async def update_agent(
    request: Request,
    agent_id: AgentId,
    body: AgentUpdate,
    services: CurrentServices,
    principal: Principal = needs("write", "agents"),
) -> Response:
    """Its key, configuration and figures stay; what it is doing goes on."""
    agent = await services.outside.update(
        body.description(agent_id), origin=origin_of(request, principal)
    )
    return answer(_outside_view(agent))


@router.post(
    "/{agent_id}/key",
    operation_id="renewAgentKey",
    summary="Give an agent from outside a new key",
    status_code=201,
    response_model=AgentKey,
    responses=errors(403, 404, 409),
)
async def renew_agent_key(
    request: Request,
    agent_id: AgentId,
    services: CurrentServices,
    principal: Principal = needs("write", "agents"),
    key: IdempotencyKey = None,
) -> Response:
    """The key it had ends at once."""
    replay = await replayable(request, key, principal=principal.actor, seal=True)
    secret = await services.outside.renew_key(
        agent_id, origin=origin_of(request, principal), replay=replay
    )
    return answer({"agent_id": agent_id, "api_key": secret}, status=201, replay=replay)


@router.delete(
    "/{agent_id}",
    operation_id="deleteAgent",
    summary="Delete an agent from outside",
    status_code=204,
    responses=errors(403, 404, 409),
)
async def delete_agent(
    request: Request,
    agent_id: AgentId,
    services: CurrentServices,
    principal: Principal = needs("write", "agents"),
) -> Response:
    """Its key ends, and what it was doing goes to whoever else can do it."""
    await services.outside.remove(agent_id, origin=origin_of(request, principal))
    services.assignments.let_go(agent_id)
    return Response(status_code=204)


def _outside_view(agent: AgentDescription) -> dict[str, Any]:
    return {
        "agent_id": agent.agent_id,
        "name": agent.name,
        "type": agent.type,
        "capabilities": agent.capabilities,
        "max_capacity": agent.max_capacity,
        "transport": agent.transport,
    }


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


@router.get(
    "/{agent_id}/config/history",
    operation_id="getAgentConfigHistory",
    summary="How an agent was configured",
    response_model=AgentConfigurationHistory,
    responses=errors(403, 404),
    dependencies=[needs("read", "agents")],
)
async def get_agent_config_history(
    agent_id: AgentId,
    services: CurrentServices,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """The versions of its configuration; `POST …/rollback` brings one back."""
    versions = await services.registry.configuration_history(agent_id, limit=limit)
    return answer({"agent_id": agent_id, "versions": [_version(one) for one in versions]})


class Rollback(Input):
    """The version to bring back."""

    version: Annotated[int, Whole] = Field(ge=1, le=1_000_000_000)


@router.post(
    "/{agent_id}/config/rollback",
    operation_id="rollBackAgentConfig",
    summary="Configure an agent as before",
    response_model=AgentConfigurationVersion,
    responses=errors(403, 404, 409),
)
async def roll_back_agent_config(
    request: Request,
    agent_id: AgentId,
    body: Rollback,
    services: CurrentServices,
    principal: Principal = needs("write", "agents"),
    key: IdempotencyKey = None,
) -> Response:
    """Bring a version back, as a new one; the agent's next task runs with it."""
    replay = await replayable(request, key, principal=principal.actor)
    done = await services.registry.roll_back_configuration(
        agent_id, body.version, origin=origin_of(request, principal), replay=replay
    )
    return answer(_version(done), replay=replay)


def _version(one: model.Configured) -> dict[str, Any]:
    return {**one._asdict(), "changed_at": clock.to_iso(one.changed_at)}


def _summary(agent: model.Agent) -> dict[str, Any]:
    online = agent.status is not model.AgentStatus.OFFLINE
    heartbeat = agent.last_heartbeat_at
    shown: dict[str, Any] = {
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
    if agent.transport is not None:
        shown["transport"] = agent.transport
    return shown
