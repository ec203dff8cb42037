"""The registry's tables."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    String,
    Table,
    Text,
    bindparam,
    delete,
    false,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from sutazai.agents.contract import AgentDescription
from sutazai.agents.model import DEFAULT_CONFIGURATION, OUTSIDE, Instance, Metrics, WorkDone
from sutazai.clock import SECOND
from sutazai.database import Connection, at_the_end, metadata

AGENTS = Table(
    "agents",
    metadata,
    Column("agent_id", String(64), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("type", String(64), nullable=False),
    Column("capabilities", Text, nullable=False),
    Column("max_capacity", Integer, nullable=False),
    Column("configuration", Text, nullable=False),
    Column("registered_at", BigInteger, nullable=False),
    Column("tasks_completed", BigInteger, nullable=False, server_default="0"),
    Column("tasks_failed", BigInteger, nullable=False, server_default="0"),
    Column("busy_time", BigInteger, nullable=False, server_default="0"),
    Column("cache_hits", BigInteger, nullable=False, server_default="0"),
    Column("cache_lookups", BigInteger, nullable=False, server_default="0"),
    # How an agent from outside gets its work: http | redis; NULL for those that workers host.
    Column("transport", String(8)),
)

INSTANCES = Table(
    "agent_instances",
    metadata,
    Column("agent_id", String(64), primary_key=True),
    Column("worker_id", String(64), primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    Column("last_heartbeat_at", BigInteger, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("cpu_usage", Float, nullable=False),
    Column("memory_usage", Float, nullable=False),
    Column("memory_limit", Float, nullable=False),
    Column("has_model", Boolean, nullable=False, server_default=false()),
    # Of an agent from outside: whether it was at capacity when last looked at.
    Column("is_full", Boolean, nullable=False, server_default=false()),
)


class Registered(msgspec.Struct, frozen=True):
    """An agent's own row: who it is, how it is configured, what it has done."""

    description: AgentDescription
    metrics: Metrics


def _insert(connection: Connection, table: Table) -> Any:
    """The dialect's own insert, which has ON CONFLICT."""
    module = sqlite if connection.dialect.name == "sqlite" else postgresql
    return module.insert(table)


def register(connection: Connection, agents: Sequence[AgentDescription], *, now: int) -> None:
    """Add agents or renew what they say of themselves; a user's configuration stays."""
    for agent in sorted(agents, key=lambda one: one.agent_id):
        configuration = DEFAULT_CONFIGURATION | agent.configuration
        said = {
            "name": agent.name,
            "type": agent.type,
            "capabilities": msgspec.json.encode(agent.capabilities).decode(),
            "max_capacity": agent.max_capacity,
            "transport": None,
        }
        connection.execute(
            _insert(connection, AGENTS)
            .values(
                agent_id=agent.agent_id,
                configuration=msgspec.json.encode(configuration).decode(),
                registered_at=now,
                **said,
            )
            .on_conflict_do_update(index_elements=["agent_id"], set_=said)
        )


def registered(connection: Connection) -> list[Registered]:
    """Every agent that ever registered, by id."""
    rows = connection.execute(select(AGENTS).order_by(AGENTS.c.agent_id))
    return [Registered(description(row), _metrics(row)) for row in rows]


def description(row: Any) -> AgentDescription:
    """A row of AGENTS as the agent introduced itself."""
    return AgentDescription(
        agent_id=row.agent_id,
        name=row.name,
        type=row.type,
        capabilities=tuple(msgspec.json.decode(row.capabilities)),
        max_capacity=row.max_capacity,
        configuration=msgspec.json.decode(row.configuration),
        transport=row.transport,
    )


def _metrics(row: Any) -> Metrics:
    done = row.tasks_completed + row.tasks_failed
    return Metrics(
        tasks_completed=row.tasks_completed,
        tasks_failed=row.tasks_failed,
        average_duration=round(row.busy_time / done / SECOND, 6) if done else None,
        success_rate=round(row.tasks_completed / done, 4) if done else None,
        error_rate=round(row.tasks_failed / done, 4) if done else None,
        cache_hit_rate=round(row.cache_hits / row.cache_lookups, 4) if row.cache_lookups else None,
    )


def configuration_for_update(connection: Connection, agent_id: str) -> dict[str, Any] | None:
    """An agent's configuration, locked for this transaction; None without such an agent."""
    text = connection.execute(
        select(AGENTS.c.configuration).where(AGENTS.c.agent_id == agent_id).with_for_update()
    ).scalar()
    configuration: dict[str, Any] | None = None if text is None else msgspec.json.decode(text)
    return configuration


def set_configuration(connection: Connection, agent_id: str, configuration: dict[str, Any]) -> None:
    """Replace an agent's configuration."""
    connection.execute(
        update(AGENTS)
        .where(AGENTS.c.agent_id == agent_id)
        .values(configuration=msgspec.json.encode(configuration).decode())
    )


_ADD_WORK = (
    update(AGENTS)
    .where(AGENTS.c.agent_id == bindparam("of_agent"))
    .values(
        tasks_completed=AGENTS.c.tasks_completed + bindparam("completed"),
        tasks_failed=AGENTS.c.tasks_failed + bindparam("failed"),
        busy_time=AGENTS.c.busy_time + bindparam("took"),
    )
)


def add_work(connection: Connection, work: Iterable[WorkDone]) -> None:
    """Count ended tasks."""
    at_the_end(connection, _add_work, work)


def _add_work(connection: Connection, work: Sequence[WorkDone]) -> None:
    sums: dict[str, tuple[int, int, int]] = {}
    for agent_id, completed, failed, busy_time in work:
        before = sums.get(agent_id, (0, 0, 0))
        sums[agent_id] = (before[0] + completed, before[1] + failed, before[2] + busy_time)
    names = ("of_agent", "completed", "failed", "took")
    rows = [dict(zip(names, (key, *sums[key]), strict=True)) for key in sorted(sums)]
    connection.execute(_ADD_WORK, rows if len(rows) > 1 else rows[0])


def add_cache_use(connection: Connection, agent_id: str, *, hits: int, lookups: int) -> None:
    """Count look-ups in the result cache."""
    connection.execute(
        update(AGENTS)
        .where(AGENTS.c.agent_id == agent_id)
        .values(
            cache_hits=AGENTS.c.cache_hits + hits,
            cache_lookups=AGENTS.c.cache_lookups + lookups,
        )
    )


class CacheUse(NamedTuple):
    """Look-ups in the result cache, and how many of them found something."""

    hits: int
    lookups: int


def cache_use(connection: Connection) -> CacheUse:
    """Of all agents, so far."""
    hits, lookups = func.sum(AGENTS.c.cache_hits), func.sum(AGENTS.c.cache_lookups)
    row = connection.execute(select(func.coalesce(hits, 0), func.coalesce(lookups, 0))).one()
    return CacheUse(int(row[0]), int(row[1]))


def heartbeat(connection: Connection, instances: Sequence[Instance]) -> None:
    """Add or renew instances."""
    for instance in instances:
        values = msgspec.structs.asdict(instance)
        connection.execute(
            _insert(connection, INSTANCES)
            .values(values)
            .on_conflict_do_update(index_elements=["agent_id", "worker_id"], set_=values)
        )


def instances(connection: Connection) -> list[Instance]:
    """Every instance, also those that stopped beating a moment ago."""
    return [Instance(*row) for row in connection.execute(select(INSTANCES))]


def online_ids(connection: Connection, *, since: int) -> set[str]:
    """Agents with an instance that beat at or after a moment."""
    return set(
        connection.execute(
            select(INSTANCES.c.agent_id).where(INSTANCES.c.last_heartbeat_at >= since).distinct()
        ).scalars()
    )


def remove_hosted(connection: Connection, *, outside_before: int) -> set[str]:
    """Drop what worker processes host, and what of outside last beat before a moment; who went."""
    hosted = INSTANCES.c.worker_id != OUTSIDE
    over = or_(hosted, INSTANCES.c.last_heartbeat_at < outside_before)
    dropped = connection.execute(delete(INSTANCES).where(over).returning(INSTANCES.c.agent_id))
    return _gone(connection, dropped.scalars())


def remove_stale(connection: Connection, *, before: int) -> set[str]:
    """Drop instances that last beat before a moment; the agents that have none left."""
    return _gone(
        connection,
        connection.execute(
            delete(INSTANCES)
            .where(INSTANCES.c.last_heartbeat_at < before)
            .returning(INSTANCES.c.agent_id)
        ).scalars(),
    )


def remove_worker(connection: Connection, worker_id: str) -> set[str]:
    """Drop a worker's instances; the agents that have none left."""
    return _gone(
        connection,
        connection.execute(
            delete(INSTANCES)
            .where(INSTANCES.c.worker_id == worker_id)
            .returning(INSTANCES.c.agent_id)
        ).scalars(),
    )


def _gone(connection: Connection, dropped: Any) -> set[str]:
    ids = set(dropped)
    if not ids:
        return ids
    left = connection.execute(
        select(INSTANCES.c.agent_id, func.count())
        .where(INSTANCES.c.agent_id.in_(ids))
        .group_by(INSTANCES.c.agent_id)
    )
    return ids - {row[0] for row in left}
