"""The tables of callbacks: secrets, disabled endpoints, deliveries and their attempts."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from sutazai.callbacks.model import Attempt, Delivery, DeliveryFilter, DeliveryStatus
from sutazai.database import Connection, metadata

SECRETS = Table(
    "callback_secrets",
    metadata,
    Column(
        "user_id", String(64), ForeignKey("users.user_id", ondelete="CASCADE"), primary_key=True
    ),
    # Both sealed.
    Column("secret", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("previous", Text),
    Column("previous_until", BigInteger),
)

DISABLED = Table(
    "callback_disabled",
    metadata,
    Column(
        "user_id", String(64), ForeignKey("users.user_id", ondelete="CASCADE"), primary_key=True
    ),
    # SHA-256: a URL may be too long for a key.
    Column("url_digest", String(64), primary_key=True),
    Column("disabled_at", BigInteger, nullable=False),
)

DELIVERIES = Table(
    "callback_deliveries",
    metadata,
    Column("delivery_id", String(36), primary_key=True),
    Column("task_id", String(36), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("url", Text, nullable=False),
    # Kept as it was first sent: the signature is over these very bytes.
    Column("body", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("next_attempt_at", BigInteger),
    Column("ended_at", BigInteger),
    Index("ix_callback_deliveries_status", "status", "delivery_id"),
    Index("ix_callback_deliveries_task_id", "task_id"),
    Index("ix_callback_deliveries_user_id", "user_id", "delivery_id"),
    Index("ix_callback_deliveries_ended_at", "ended_at"),
)

ATTEMPTS = Table(
    "callback_attempts",
    metadata,
    Column("delivery_id", String(36), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    Column("duration", BigInteger, nullable=False),
    Column("status_code", SmallInteger),
    Column("error", Text),
)


class Sealed(NamedTuple):
    """A user's secret as it is kept, and the one before for as long as that signs too."""

    secret: str
    previous: str | None
    previous_until: int | None


class ToSend(NamedTuple):
    """What an attempt needs to know of its delivery."""

    user_id: str
    url: str
    body: str


# --- secrets


def sealed(connection: Connection, user_id: str) -> Sealed | None:
    """The user's secrets, if it has any."""
    query = select(SECRETS.c.secret, SECRETS.c.previous, SECRETS.c.previous_until)
    row = connection.execute(query.where(SECRETS.c.user_id == user_id)).one_or_none()
    return None if row is None else Sealed(*row)


def add_secret(connection: Connection, user_id: str, secret: str, *, now: int) -> bool:
    """Give a user its first secret; False where it has one already."""
    module = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = module.insert(SECRETS).on_conflict_do_nothing(index_elements=["user_id"])
    row = {"user_id": user_id, "secret": secret, "created_at": now}
    return connection.execute(statement, row).rowcount == 1


def rotate_secret(
    connection: Connection, user_id: str, secret: str, *, previous_until: int, now: int
) -> bool:
    """Replace a secret, the old one staying for a while; False where there is none yet."""
    changed = connection.execute(
        update(SECRETS)
        .where(SECRETS.c.user_id == user_id)
        .values(
            previous=SECRETS.c.secret,
            previous_until=previous_until,
            secret=secret,
            created_at=now,
        )
    )
    return changed.rowcount == 1


# --- endpoints


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def disable(connection: Connection, user_id: str, url: str, *, now: int) -> None:
    """Note that a user's URL wants no more."""
    module = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = module.insert(DISABLED).on_conflict_do_nothing(
        index_elements=["user_id", "url_digest"]
    )
    row = {"user_id": user_id, "url_digest": _digest(url), "disabled_at": now}
    connection.execute(statement, row)


def enable(connection: Connection, user_id: str, url: str) -> None:
    """Undo `disable`."""
    connection.execute(
        delete(DISABLED).where(DISABLED.c.user_id == user_id, DISABLED.c.url_digest == _digest(url))
    )


def is_disabled(connection: Connection, user_id: str, url: str) -> bool:
    """Whether a user's URL wants no more."""
    query = select(DISABLED.c.disabled_at).where(
        DISABLED.c.user_id == user_id, DISABLED.c.url_digest == _digest(url)
    )
    return connection.execute(query).scalar() is not None


# --- deliveries


def add(connection: Connection, delivery: Delivery, body: str) -> None:
    """Write a new delivery."""
    connection.execute(
        insert(DELIVERIES),
        {
            "delivery_id": delivery.delivery_id,
            "task_id": delivery.task_id,
            "user_id": delivery.user_id,
            "url": delivery.url,
            "body": body,
            "status": delivery.status.value,
            "attempts": 0,
            "created_at": delivery.created_at,
            "next_attempt_at": delivery.next_attempt_at,
        },
    )


def to_send(connection: Connection, delivery_id: str) -> ToSend | None:
    """What to send where."""
    query = select(DELIVERIES.c.user_id, DELIVERIES.c.url, DELIVERIES.c.body)
    row = connection.execute(query.where(DELIVERIES.c.delivery_id == delivery_id)).one_or_none()
    return None if row is None else ToSend(*row)


def lock(connection: Connection, delivery_id: str) -> Delivery | None:
    """A delivery about to be changed, without its attempts."""
    query = select(DELIVERIES).where(DELIVERIES.c.delivery_id == delivery_id).with_for_update()
    row = connection.execute(query).one_or_none()
    return None if row is None else _delivery(row, ())


def get(connection: Connection, delivery_id: str) -> Delivery | None:
    """A delivery with its attempts."""
    query = select(DELIVERIES).where(DELIVERIES.c.delivery_id == delivery_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return _delivery(row, _attempts(connection, [delivery_id]).get(delivery_id, ()))


def set_status(
    connection: Connection,
    delivery_id: str,
    status: DeliveryStatus,
    *,
    next_attempt_at: int | None,
    ended_at: int | None,
) -> None:
    """Say how a delivery stands."""
    connection.execute(
        update(DELIVERIES)
        .where(DELIVERIES.c.delivery_id == delivery_id)
        .values(status=status.value, next_attempt_at=next_attempt_at, ended_at=ended_at)
    )


def add_attempt(connection: Connection, delivery_id: str, attempt: Attempt) -> None:
    """Log an attempt as the delivery's next; nothing where the delivery is gone."""
    number = connection.execute(
        update(DELIVERIES)
        .where(DELIVERIES.c.delivery_id == delivery_id)
        .values(attempts=DELIVERIES.c.attempts + 1)
        .returning(DELIVERIES.c.attempts)
    ).scalar()
    if number is not None:
        connection.execute(
            insert(ATTEMPTS),
            {
                "delivery_id": delivery_id,
                "number": number,
                "started_at": attempt.started_at,
                "duration": attempt.duration,
                "status_code": attempt.status_code,
                "error": attempt.error,
            },
        )


def page(
    connection: Connection, wanted: DeliveryFilter, *, limit: int, before: str | None
) -> list[Delivery]:
    """Newest first, with their attempts; `before` is the id of the last of the page before."""
    query = select(DELIVERIES)
    equal = {
        DELIVERIES.c.user_id: wanted.user_id,
        DELIVERIES.c.task_id: wanted.task_id,
        DELIVERIES.c.status: wanted.status,
    }
    for column, value in equal.items():
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(DELIVERIES.c.delivery_id < before)
    rows = connection.execute(query.order_by(DELIVERIES.c.delivery_id.desc()).limit(limit)).all()
    attempts = _attempts(connection, [row.delivery_id for row in rows])
    return [_delivery(row, attempts.get(row.delivery_id, ())) for row in rows]


def _attempts(connection: Connection, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = {}
    if delivery_ids:
        query = select(ATTEMPTS).where(ATTEMPTS.c.delivery_id.in_(delivery_ids))
        for row in connection.execute(query.order_by(ATTEMPTS.c.delivery_id, ATTEMPTS.c.number)):
            attempt = Attempt(row.started_at, row.duration, row.status_code, row.error)
            found.setdefault(row.delivery_id, []).append(attempt)
    return found


def _delivery(row: Any, attempts: Sequence[Attempt]) -> Delivery:
    return Delivery(
        delivery_id=row.delivery_id,
        task_id=row.task_id,
        user_id=row.user_id,
        url=row.url,
        status=DeliveryStatus(row.status),
        attempts=tuple(attempts),
        created_at=row.created_at,
        next_attempt_at=row.next_attempt_at,
        ended_at=row.ended_at,
    )


def purge(connection: Connection, *, before: int, limit: int = 500) -> int:
    """Delete up to `limit` deliveries that ended before a moment, with their attempts."""
    old = select(DELIVERIES.c.delivery_id).where(DELIVERIES.c.ended_at < before).limit(limit)
    ids = list(connection.execute(old.with_for_update(skip_locked=True)).scalars())
    if ids:
        for table in (ATTEMPTS, DELIVERIES):
            connection.execute(delete(table).where(table.c.delivery_id.in_(ids)))
    return len(ids)
