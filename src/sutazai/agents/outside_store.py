"""The registry's tables, as far as agents from outside are concerned."""

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from sutazai.agents.contract import AgentDescription
from sutazai.agents.model import DEFAULT_CONFIGURATION, OUTSIDE, Instance, Resources
from sutazai.agents.store import AGENTS, INSTANCES, description
from sutazai.database import Connection

_IS_OUTSIDE = INSTANCES.c.worker_id == OUTSIDE
# Made once, as all that every look for work meets: making a statement costs more than running it.
_FIND = select(AGENTS).where(AGENTS.c.agent_id == bindparam("agent_id"))
_TOUCH = (
    update(INSTANCES)
    .where(
        INSTANCES.c.agent_id == bindparam("of_agent"),
        _IS_OUTSIDE,
        INSTANCES.c.last_heartbeat_at >= bindparam("since"),
    )
    .values(last_heartbeat_at=bindparam("now"))
    .returning(INSTANCES.c.agent_id)
)
_TOUCH_WITH_RESOURCES = _TOUCH.values(
    {name: bindparam(f"new_{name}") for name in Resources.__struct_fields__}
)
_IS_FULL = INSTANCES.c.capacity <= bindparam("running")
_SET_FULL = (
    update(INSTANCES)
    .where(
        INSTANCES.c.agent_id == bindparam("of_agent"), _IS_OUTSIDE, INSTANCES.c.is_full != _IS_FULL
    )
    .values(is_full=_IS_FULL)
    .returning(INSTANCES.c.is_full)
)


def _insert(connection: Connection, table: Any) -> Any:
    module = sqlite if connection.dialect.name == "sqlite" else postgresql
    return module.insert(table)


def _said(agent: AgentDescription) -> dict[str, Any]:
    return {
        "name": agent.name,
        "type": agent.type,
        "capabilities": msgspec.json.encode(agent.capabilities).decode(),
        "max_capacity": agent.max_capacity,
        "transport": agent.transport,
    }


def find(connection: Connection, agent_id: str, *, lock: bool = False) -> AgentDescription | None:
    """Any agent that is registered, hosted ones too; locked for this transaction if asked for."""
    query = _FIND.with_for_update() if lock else _FIND
    row = connection.execute(query, {"agent_id": agent_id}).one_or_none()
    return None if row is None else description(row)


def registered_among(connection: Connection, agent_ids: Collection[str], *, hold: bool) -> set[str]:
    """Those of these that are registered; with `hold` nobody deletes them before the unit ends."""
    query = select(AGENTS.c.agent_id).where(AGENTS.c.agent_id.in_(sorted(agent_ids)))
    if hold:
        query = query.order_by(AGENTS.c.agent_id).with_for_update(read=True, key_share=True)
    return set(connection.execute(query).scalars())


def add(connection: Connection, agent: AgentDescription, *, now: int) -> bool:
    """Insert; False where the id is taken."""
    configuration = DEFAULT_CONFIGURATION | agent.configuration
    statement = (
        _insert(connection, AGENTS)
        .values(
            agent_id=agent.agent_id,
            configuration=msgspec.json.encode(configuration).decode(),
            registered_at=now,
            **_said(agent),
        )
        .on_conflict_do_nothing(index_elements=["agent_id"])
        .returning(AGENTS.c.agent_id)
    )
    return connection.execute(statement).first() is not None


def change(connection: Connection, agent: AgentDescription) -> None:
    """Replace what an agent says of itself; its configuration and its figures stay."""
    agent_id = agent.agent_id
    connection.execute(update(AGENTS).where(AGENTS.c.agent_id == agent_id).values(_said(agent)))
    ours = update(INSTANCES).where(INSTANCES.c.agent_id == agent_id, _IS_OUTSIDE)
    connection.execute(ours.values(capacity=agent.max_capacity))


def remove(connection: Connection, agent_id: str) -> bool:
    """Delete; whether it was online."""
    connection.execute(delete(AGENTS).where(AGENTS.c.agent_id == agent_id))
    gone = delete(INSTANCES).where(INSTANCES.c.agent_id == agent_id, _IS_OUTSIDE)
    return connection.execute(gone.returning(INSTANCES.c.agent_id)).first() is not None


def touch(
    connection: Connection, agent_id: str, *, now: int, since: int, resources: Resources | None
) -> bool:
    """Renew the heartbeat of an agent that has beaten since a moment; whether it has.

    Locks the agent's instance, so that what it claims and reports is done one after the other.
    """
    values = {"of_agent": agent_id, "since": since, "now": now}
    statement = _TOUCH
    if resources is not None:
        statement = _TOUCH_WITH_RESOURCES
        used = msgspec.structs.asdict(resources)
        values |= {f"new_{name}": value for name, value in used.items()}
    row = connection.execute(statement, values).first()
    return row is not None


def arrive(connection: Connection, instance: Instance, *, since: int) -> bool:
    """Add the instance of an agent that has not beaten since a moment; False if it has."""
    values = msgspec.structs.asdict(instance)
    statement = (
        _insert(connection, INSTANCES)
        .values(values)
        .on_conflict_do_update(
            index_elements=["agent_id", "worker_id"],
            set_=values,
            where=INSTANCES.c.last_heartbeat_at < since,
        )
        .returning(INSTANCES.c.agent_id)
    )
    return connection.execute(statement).first() is not None


def touch_many(connection: Connection, agent_ids: Collection[str], *, now: int) -> set[str]:
    """Renew the heartbeats of agents that are online; which of these are."""
    chosen = (
        select(INSTANCES.c.agent_id)
        .where(INSTANCES.c.agent_id.in_(sorted(agent_ids)), _IS_OUTSIDE)
        .order_by(INSTANCES.c.agent_id)
        .with_for_update()
    )
    there = list(connection.execute(chosen).scalars())
    connection.execute(
        update(INSTANCES)
        .where(INSTANCES.c.agent_id.in_(there), _IS_OUTSIDE)
        .values(last_heartbeat_at=now)
    )
    return set(there)


def set_full(connection: Connection, agent_id: str, *, running: int) -> bool | None:
    """Note whether an agent is at capacity; None where that is what was known already."""
    values = {"of_agent": agent_id, "running": running}
    row = connection.execute(_SET_FULL, values).one_or_none()
    return None if row is None else bool(row[0])


def full_ones(connection: Connection) -> list[str]:
    """The agents from outside that were at capacity when last looked at."""
    query = select(INSTANCES.c.agent_id).where(_IS_OUTSIDE, INSTANCES.c.is_full)
    return list(connection.execute(query.order_by(INSTANCES.c.agent_id)).scalars())
