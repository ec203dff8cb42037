"""Changing how an agent is configured, and going back: units over a connection."""

from typing import Any

from sutazai import clock
from sutazai.agents import history_store, store
from sutazai.agents.model import Configured
from sutazai.database import Connection
from sutazai.errors import ErrorCode, SutazaiError, not_found
from sutazai.events import log
from sutazai.events.model import SYSTEM, NewEvent, Origin


def configure(
    connection: Connection,
    agent_id: str,
    changes: dict[str, Any],
    origin: Origin,
    *,
    rolled_back_to: int | None = None,
) -> Configured:
    """Change some settings and keep what they were. NOT_FOUND without such an agent."""
    configuration = store.configuration_for_update(connection, agent_id)
    if configuration is None:
        raise not_found("agent", agent_id)
    now = clock.now()
    newest = history_store.latest(connection, agent_id)
    if newest == 0:
        # What there was before the first change is worth going back to as well.
        newest = 1
        first = Configured(1, dict(configuration), [], None, SYSTEM.actor, now)
        history_store.add(connection, agent_id, first)
    configuration.update(changes)
    store.set_configuration(connection, agent_id, configuration)
    version = Configured(
        newest + 1, configuration, list(changes), rolled_back_to, origin.actor, now
    )
    history_store.add(connection, agent_id, version)
    data = {"agent_id": agent_id, "updated_fields": version.updated_fields}
    log.append(connection, [NewEvent("agent.configured", data, origin, "agents")], now=now)
    return version


def roll_back(connection: Connection, agent_id: str, version: int, origin: Origin) -> Configured:
    """Bring a version back, as a new one. NOT_FOUND without such an agent or version."""
    configuration = store.configuration_for_update(connection, agent_id)
    if configuration is None:
        raise not_found("agent", agent_id)
    found = history_store.versions(connection, agent_id, limit=1, only=version)
    if not found:
        message = f"{agent_id} has no configuration of version {version}; see its history."
        raise SutazaiError(ErrorCode.NOT_FOUND, message)
    wanted = found[0].configuration
    changes = {key: value for key, value in wanted.items() if configuration.get(key) != value}
    return configure(connection, agent_id, changes, origin, rolled_back_to=version)


def history(connection: Connection, agent_id: str, limit: int) -> list[Configured] | None:
    """The newest versions first; None without such an agent."""
    known = {row.description.agent_id for row in store.registered(connection)}
    if agent_id not in known:
        return None
    return history_store.versions(connection, agent_id, limit=limit)
