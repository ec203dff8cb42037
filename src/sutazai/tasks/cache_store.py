"""The result cache's table."""

from collections.abc import Mapping, Sequence
from itertools import islice

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    String,
    Table,
    delete,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from sutazai.clock import SECOND
from sutazai.database import Connection, metadata

RESULT_CACHE = Table(
    "result_cache",
    metadata,
    Column("key", String(128), primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("last_used_at", BigInteger, nullable=False),
    Index("ix_result_cache_last_used_at", "last_used_at"),
)

_CHUNK = 500
# Touching on every hit would turn each read into a write.
_TOUCH_EVERY = 24 * 3600 * SECOND


def _chunks(keys: Sequence[str]) -> list[list[str]]:
    rest = iter(keys)
    return list(iter(lambda: list(islice(rest, _CHUNK)), []))


def get_many(connection: Connection, keys: Sequence[str]) -> dict[str, bytes]:
    """The entries that are there."""
    found: dict[str, bytes] = {}
    for chunk in _chunks(keys):
        rows = connection.execute(
            select(RESULT_CACHE.c.key, RESULT_CACHE.c.value).where(RESULT_CACHE.c.key.in_(chunk))
        )
        found.update((row[0], row[1]) for row in rows)
    return found


def touch(connection: Connection, keys: Sequence[str], *, now: int) -> None:
    """Note that entries were of use; at most once a day each."""
    for chunk in _chunks(sorted(keys)):
        connection.execute(
            update(RESULT_CACHE)
            .where(RESULT_CACHE.c.key.in_(chunk), RESULT_CACHE.c.last_used_at < now - _TOUCH_EVERY)
            .values(last_used_at=now)
        )


def put_many(connection: Connection, entries: Mapping[str, bytes], *, now: int) -> None:
    """Add or replace entries."""
    module = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = module.insert(RESULT_CACHE)
    statement = statement.on_conflict_do_update(
        index_elements=["key"],
        set_={"value": statement.excluded.value, "last_used_at": statement.excluded.last_used_at},
    )
    rows = [{"key": key, "value": entries[key], "last_used_at": now} for key in sorted(entries)]
    connection.execute(statement, rows)


def purge(connection: Connection, *, before: int, limit: int = 1_000) -> int:
    """Delete up to `limit` entries that were last of use before a moment; how many went."""
    old = select(RESULT_CACHE.c.key).where(RESULT_CACHE.c.last_used_at < before).limit(limit)
    return connection.execute(delete(RESULT_CACHE).where(RESULT_CACHE.c.key.in_(old))).rowcount
