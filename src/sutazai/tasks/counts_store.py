"""How many tasks there are of each type and status, kept so that nobody has to count them."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, SmallInteger, String, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

from sutazai.database import Connection, at_the_end, metadata

COUNTS = Table(
    "task_counts",
    metadata,
    Column("type", String(64), primary_key=True),
    Column("status", String(16), primary_key=True),
    # Several rows a count on PostgreSQL, or every writer would wait for the same row's lock.
    Column("slot", SmallInteger, primary_key=True),
    Column("count", BigInteger, nullable=False),
)

_SLOTS = 16


def _upsert(module: Any) -> Any:
    statement = module.insert(COUNTS)
    return statement.on_conflict_do_update(
        index_elements=["type", "status", "slot"],
        set_={"count": COUNTS.c.count + statement.excluded.count},
    )


_UPSERT = {"sqlite": _upsert(sqlite), "postgresql": _upsert(postgresql)}


def count(connection: Connection, changes: Mapping[tuple[str, str], int]) -> None:
    """Change them, in the transaction that makes it true."""
    at_the_end(connection, _write, changes.items())


def _write(connection: Connection, changes: Sequence[tuple[tuple[str, str], int]]) -> None:
    sums: Counter[tuple[str, str]] = Counter()
    for key, change in changes:
        sums[key] += change
    dialect = connection.dialect.name
    slot = 0 if dialect == "sqlite" else random.randrange(_SLOTS)  # noqa: S311  # spreads locks
    rows = [
        # Always in the same order, so that two transactions cannot wait for each other.
        {"type": key[0], "status": key[1], "slot": slot, "count": change}
        for key, change in sorted(sums.items())
        if change
    ]
    if rows:
        connection.execute(_UPSERT[dialect], rows if len(rows) > 1 else rows[0])


def counts(connection: Connection) -> dict[tuple[str, str], int]:
    """How many tasks there are of each (type, status)."""
    rows = connection.execute(
        select(COUNTS.c.type, COUNTS.c.status, func.sum(COUNTS.c.count)).group_by(
            COUNTS.c.type, COUNTS.c.status
        )
    )
    return {(row[0], row[1]): int(row[2]) for row in rows}
