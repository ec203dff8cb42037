"""How many tasks ended when and how, and how long they took: counted, so that asking is cheap.

A row counts the tasks of one minute, status and range of durations, or of one day and status. A
duration's range is a tenth wide, so a quantile is true to about 5 %.
"""

import math
import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Column, SmallInteger, String, Table, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from sutazai.clock import SECOND
from sutazai.database import Connection, at_the_end, metadata

ENDS = Table(
    "task_ends",
    metadata,
    # minute | day
    Column("span", String(8), primary_key=True),
    Column("begins_at", BigInteger, primary_key=True),
    Column("status", String(16), primary_key=True),
    Column("bucket", SmallInteger, primary_key=True),
    # Several rows a count on PostgreSQL, or every writer would wait for the same row's lock.
    Column("slot", SmallInteger, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("duration", BigInteger, nullable=False),
)

_MINUTE, _DAY = "minute", "day"
_WIDTHS = {_MINUTE: 60 * SECOND, _DAY: 24 * 3600 * SECOND}
_KEPT = {_MINUTE: 2 * 3600 * SECOND, _DAY: 7 * 24 * 3600 * SECOND}
_SLOTS = 16
_GROWTH = math.log(1.1)
_KEY = ("span", "begins_at", "status", "bucket", "slot")


def _upsert(module: Any) -> Any:
    statement = module.insert(ENDS)
    added = {name: ENDS.c[name] + statement.excluded[name] for name in ("count", "duration")}
    return statement.on_conflict_do_update(index_elements=_KEY, set_=added)


_UPSERT = {"sqlite": _upsert(sqlite), "postgresql": _upsert(postgresql)}


class End(NamedTuple):
    """A task that ran and ended; `started_at` is when its last attempt did."""

    status: str
    started_at: int
    ended_at: int


def record(connection: Connection, ends: Iterable[End]) -> None:
    """Count ends, in the transaction that makes them."""
    at_the_end(connection, _write, ends)


def _write(connection: Connection, ends: Sequence[End]) -> None:
    dialect = connection.dialect.name
    slot = 0 if dialect == "sqlite" else random.randrange(_SLOTS)  # noqa: S311  # spreads locks
    sums: dict[tuple[str, int, str, int], tuple[int, int]] = {}
    for status, started_at, ended_at in ends:
        duration = max(0, ended_at - started_at)
        for span, width in _WIDTHS.items():
            bucket = _bucket(duration) if span == _MINUTE else 0
            key = (span, ended_at - ended_at % width, status, bucket)
            count, total = sums.get(key, (0, 0))
            sums[key] = (count + 1, total + duration)
    # Always in the same order, so that two transactions cannot wait for each other.
    rows = [
        dict(zip((*_KEY, "count", "duration"), (*key, slot, *sums[key]), strict=True))
        for key in sorted(sums)
    ]
    if rows:
        connection.execute(_UPSERT[dialect], rows if len(rows) > 1 else rows[0])


def _bucket(duration: int) -> int:
    return int(math.log(max(duration, 1)) / _GROWTH)


class Bucket(NamedTuple):
    """So many ends of one status whose durations are alike; `duration` is their sum (µs)."""

    status: str
    number: int
    duration: int


def since(connection: Connection, moment: int) -> Sequence[Bucket]:
    """The ends of the minutes that began at or after a moment, shortest first."""
    rows = connection.execute(
        select(ENDS.c.status, func.sum(ENDS.c.count), func.sum(ENDS.c.duration))
        .where(ENDS.c.span == _MINUTE, ENDS.c.begins_at >= moment)
        .group_by(ENDS.c.status, ENDS.c.bucket)
        .order_by(ENDS.c.bucket)
    )
    return [Bucket(row[0], int(row[1]), int(row[2])) for row in rows]


def on_day(connection: Connection, moment: int, status: str) -> int:
    """How many ended with a status on the UTC day of a moment."""
    begins_at = moment - moment % _WIDTHS[_DAY]
    return int(
        connection.execute(
            select(func.coalesce(func.sum(ENDS.c.count), 0)).where(
                ENDS.c.span == _DAY, ENDS.c.begins_at == begins_at, ENDS.c.status == status
            )
        ).scalar_one()
    )


def purge(connection: Connection, *, now: int) -> None:
    """Forget what is too old to be asked for."""
    for span, kept in _KEPT.items():
        connection.execute(delete(ENDS).where(ENDS.c.span == span, ENDS.c.begins_at < now - kept))
