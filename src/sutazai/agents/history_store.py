"""How agents were configured over time."""

import msgspec
from sqlalchemy import BigInteger, Column, Integer, String, Table, Text, func, insert, select

from sutazai.agents.model import Configured
from sutazai.database import Connection, metadata

CONFIGURATIONS = Table(
    "agent_configurations",
    metadata,
    Column("agent_id", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("configuration", Text, nullable=False),
    Column("updated_fields", Text, nullable=False),
    Column("rolled_back_to", Integer),
    Column("changed_by", String(80), nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)


def latest(connection: Connection, agent_id: str) -> int:
    """The number of the newest version; 0 where nothing was ever changed."""
    newest = select(func.max(CONFIGURATIONS.c.version)).where(CONFIGURATIONS.c.agent_id == agent_id)
    return connection.execute(newest).scalar() or 0


def add(connection: Connection, agent_id: str, one: Configured) -> None:
    """Write a version; the agent's row is locked by the caller."""
    connection.execute(
        insert(CONFIGURATIONS).values(
            agent_id=agent_id,
            version=one.version,
            configuration=msgspec.json.encode(one.configuration).decode(),
            updated_fields=msgspec.json.encode(one.updated_fields).decode(),
            rolled_back_to=one.rolled_back_to,
            changed_by=one.changed_by,
            changed_at=one.changed_at,
        )
    )


def versions(
    connection: Connection, agent_id: str, *, limit: int, only: int | None = None
) -> list[Configured]:
    """The newest versions first, or one alone."""
    query = select(CONFIGURATIONS).where(CONFIGURATIONS.c.agent_id == agent_id)
    if only is not None:
        query = query.where(CONFIGURATIONS.c.version == only)
    rows = connection.execute(query.order_by(CONFIGURATIONS.c.version.desc()).limit(limit))
    return [
        Configured(
            row.version,
            msgspec.json.decode(row.configuration),
            msgspec.json.decode(row.updated_fields),
            row.rolled_back_to,
            row.changed_by,
            row.changed_at,
        )
        for row in rows
    ]
