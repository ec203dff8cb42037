"""The table of the keys of agents from outside: one for each agent, of which the digest is kept."""

from typing import NamedTuple

from sqlalchemy import BigInteger, Column, String, Table, delete, insert, select

from sutazai.database import Connection, metadata, signal
from sutazai.identity.store import CHANNEL

AGENT_KEYS = Table(
    "agent_keys",
    metadata,
    Column("agent_id", String(64), primary_key=True),
    Column("key_id", String(64), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)


class Found(NamedTuple):
    """Whose key it is."""

    agent_id: str
    key_id: str


def replace(connection: Connection, found: Found, *, digest: str, channel: str, now: int) -> None:
    """Give an agent this key and no other; `channel` is whom the caches know it by."""
    remove(connection, found.agent_id, channel=channel)
    values = {"agent_id": found.agent_id, "key_id": found.key_id, "digest": digest}
    connection.execute(insert(AGENT_KEYS).values(created_at=now, **values))


def remove(connection: Connection, agent_id: str, *, channel: str) -> None:
    """Take an agent's key away."""
    connection.execute(delete(AGENT_KEYS).where(AGENT_KEYS.c.agent_id == agent_id))
    signal(connection, CHANNEL, channel)


def find(connection: Connection, digest: str) -> Found | None:
    """By the key's digest."""
    query = select(AGENT_KEYS.c.agent_id, AGENT_KEYS.c.key_id)
    row = connection.execute(query.where(AGENT_KEYS.c.digest == digest)).one_or_none()
    return None if row is None else Found(row[0], row[1])
