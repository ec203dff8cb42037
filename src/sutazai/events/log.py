"""The one event log: appended to in the transaction of the change, read from a cursor."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    Row,
    String,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
)

from sutazai.database import Connection, metadata, signal, tally
from sutazai.events.model import Event, NewEvent

EVENTS = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("event_type", String(64), nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("request_id", String(128)),
    Column("resource", String(32), nullable=False),
    Column("owner", String(64)),
    Column("data", Text, nullable=False),
    sqlite_autoincrement=True,
)

CHANNEL = "events"
# As text, because on SQLite this is the server's most frequent statement: compiling it through the
# dialect, even from its cache, costs more than running it.
_INSERT_SQLITE = (
    "INSERT INTO events (event_type, timestamp, actor, request_id, resource, owner, data) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_POSTGRESQL = insert(EVENTS).values(
    # The reader relies on every writer having its transaction id before it takes an event id. By
    # itself PostgreSQL gives one at the first write, which for an event alone would be too late.
    id=literal_column(
        "CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('events_id_seq') END"
    )
)
_FIELDS = ("event_type", "timestamp", "actor", "request_id", "resource", "owner", "data")
_encode = msgspec.json.Encoder().encode


def append(connection: Connection, events: Sequence[NewEvent], *, now: int) -> None:
    """Write events, in order, in the transaction of the change they tell of."""
    if not events:
        return
    rows = [
        (
            event.event_type,
            now,
            event.origin.actor,
            event.origin.request_id,
            event.resource,
            event.owner,
            _encode(event.data).decode(),
        )
        for event in events
    ]
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_INSERT_SQLITE, rows)
    else:
        connection.execute(
            _INSERT_POSTGRESQL, [dict(zip(_FIELDS, row, strict=True)) for row in rows]
        )
    for event in events:
        tally(connection, "events", event.event_type)
    signal(connection, CHANNEL)


class Page(NamedTuple):
    """Events in id order, and how much of the log other transactions may still fill in.

    `xmin` is that of the snapshot the rows were read in: every transaction below it has ended. Zero
    on SQLite, which has one writer and so no gaps that fill later.
    """

    events: list[Event]
    xmin: int


def _event(row: Row[*tuple[Any, ...]]) -> Event:
    return Event(*row[:8])  # the columns are in the order of the fields


_COLUMNS = (
    EVENTS.c.id,
    EVENTS.c.event_type,
    EVENTS.c.timestamp,
    EVENTS.c.actor,
    EVENTS.c.request_id,
    EVENTS.c.resource,
    EVENTS.c.owner,
    EVENTS.c.data,
)
_XMIN: ColumnElement[int] = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
_UNSETTLED = (
    select(*_COLUMNS)
    .where(EVENTS.c.id > bindparam("after"))
    .order_by(EVENTS.c.id)
    .limit(bindparam("most", type_=Integer))
)
_UNSETTLED_WITH_XMIN = _UNSETTLED.add_columns(_XMIN)
_TRANSACTION_ID: ColumnElement[int] = literal_column("pg_current_xact_id()::text::bigint")


def read_unsettled(connection: Connection, *, after: int, limit: int) -> Page:
    """Events after a cursor with the snapshot that saw them, for the settling reader alone."""
    values = {"after": after, "most": limit}
    if connection.dialect.name == "sqlite":
        return Page([_event(row) for row in connection.execute(_UNSETTLED, values)], 0)
    rows = connection.execute(_UNSETTLED_WITH_XMIN, values).all()
    return Page([_event(row) for row in rows], rows[0][-1] if rows else 0)


def oldest_id(connection: Connection) -> int | None:
    """The lowest id that has not been purged; None when the log is empty."""
    oldest: int | None = connection.execute(select(func.min(EVENTS.c.id))).scalar()
    return oldest


def read_settled(
    connection: Connection,
    *,
    after: int,
    up_to: int,
    limit: int,
    resources: frozenset[str] | None,
    owner: str | None,
) -> list[Event]:
    """Events in (after, up_to] that a reader of these resources, or the owner, may see.

    `resources=None` stands for all of them.
    """
    query = select(*_COLUMNS).where(EVENTS.c.id > after, EVENTS.c.id <= up_to)
    if resources is not None:
        query = query.where(EVENTS.c.resource.in_(sorted(resources)) | (EVENTS.c.owner == owner))
    rows = connection.execute(query.order_by(EVENTS.c.id).limit(limit))
    return [_event(row) for row in rows]


def newest_id(connection: Connection) -> int:
    """The newest id that can be seen; 0 in an empty log."""
    newest: int = connection.execute(select(func.coalesce(func.max(EVENTS.c.id), 0))).scalar_one()
    return newest


def snapshot_xmin(connection: Connection) -> int:
    """The oldest transaction still running; PostgreSQL only."""
    return connection.execute(select(_XMIN)).scalar_one()


def transaction_id(connection: Connection) -> int:
    """A new transaction id, above that of every writer so far; PostgreSQL only."""
    return connection.execute(select(_TRANSACTION_ID)).scalar_one()


def purge(connection: Connection, *, before: int, limit: int = 5_000) -> int:
    """Delete up to `limit` events older than a moment, by id; how many went, 0 when done.

    Ids are as good as in the order of time, and an index on the time would cost every event more
    than looking at the first few costs here.
    """
    first = select(EVENTS.c.id, EVENTS.c.timestamp).order_by(EVENTS.c.id).limit(limit).subquery()
    old = select(first.c.id).where(first.c.timestamp < before)
    return connection.execute(delete(EVENTS).where(EVENTS.c.id.in_(old))).rowcount
