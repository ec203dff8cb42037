"""The table of answers that were given under an Idempotency-Key."""

from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
)

from sutazai.database import Connection, metadata

IDEMPOTENCY_KEYS = Table(
    "idempotency_keys",
    metadata,
    # SHA-256 over principal, method, path and key.
    Column("claim_id", String(64), primary_key=True),
    Column("body_digest", String(64), nullable=False),
    Column("value", Text, nullable=False),
    Column("sealed", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
)


class Kept(NamedTuple):
    """A first answer; `value` is JSON, encrypted if `sealed`."""

    body_digest: str
    value: str
    sealed: bool


def find(connection: Connection, claim_id: str) -> Kept | None:
    """The answer given under this claim."""
    query = select(
        IDEMPOTENCY_KEYS.c.body_digest, IDEMPOTENCY_KEYS.c.value, IDEMPOTENCY_KEYS.c.sealed
    ).where(IDEMPOTENCY_KEYS.c.claim_id == claim_id)
    row = connection.execute(query).first()
    return None if row is None else Kept(*row)


def hold(connection: Connection, claim_id: str) -> bool:
    """Take the claim until this transaction ends; False where another has it.

    SQLite has one writer, so there nobody else can.
    """
    if connection.dialect.name == "sqlite":
        return True
    number = int.from_bytes(bytes.fromhex(claim_id[:16]), "big", signed=True)
    return connection.execute(select(func.pg_try_advisory_xact_lock(number))).scalar_one() is True


def keep(connection: Connection, claim_id: str, kept: Kept, *, now: int) -> None:
    """Insert."""
    connection.execute(
        insert(IDEMPOTENCY_KEYS).values(claim_id=claim_id, **kept._asdict(), created_at=now)
    )


def purge(connection: Connection, *, before: int, limit: int = 5_000) -> int:
    """Delete up to `limit` answers older than a moment; how many went."""
    old = select(IDEMPOTENCY_KEYS.c.claim_id).where(IDEMPOTENCY_KEYS.c.created_at < before)
    chosen = IDEMPOTENCY_KEYS.c.claim_id.in_(old.limit(limit))
    return connection.execute(delete(IDEMPOTENCY_KEYS).where(chosen)).rowcount
