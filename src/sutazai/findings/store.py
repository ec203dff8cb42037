"""The tables of what is remembered of findings."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, Index, String, Table, Text, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from sutazai.database import Connection, metadata
from sutazai.findings.model import Dismissal

DISMISSALS = Table(
    "finding_dismissals",
    metadata,
    Column("project", String(1024), primary_key=True),
    Column("fingerprint", String(64), primary_key=True),
    # Whose reviews it counts in; empty: everybody's.
    Column("owner", String(64), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("dismissed_by", String(64), nullable=False),
    Column("dismissed_at", BigInteger, nullable=False),
    Column("task_id", String(36), nullable=False),
)

REVIEWS = Table(
    "finding_reviews",
    metadata,
    Column("task_id", String(36), primary_key=True),
    Column("project", String(1024), nullable=False),
    Column("commit_id", String(64)),
    Column("noted_at", BigInteger, nullable=False),
    Index("ix_finding_reviews_project", "project", "noted_at"),
)

_FIELDS = [DISMISSALS.c[name] for name in Dismissal._fields]


def _upsert(connection: Connection, table: Table, row: dict[str, Any]) -> None:
    module = sqlite if connection.dialect.name == "sqlite" else postgresql
    keys = [column.name for column in table.primary_key]
    statement = module.insert(table).values(row)
    rest = {name: value for name, value in row.items() if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest))


def dismiss(connection: Connection, dismissal: Dismissal) -> None:
    """Remember it; one of the same owner that was there is replaced."""
    _upsert(connection, DISMISSALS, dismissal._asdict())


def restore(
    connection: Connection, project: str, fingerprint: str, *, owners: Sequence[str]
) -> int:
    """Forget the dismissals of these owners; how many there were."""
    return connection.execute(
        delete(DISMISSALS).where(
            DISMISSALS.c.project == project,
            DISMISSALS.c.fingerprint == fingerprint,
            DISMISSALS.c.owner.in_(owners),
        )
    ).rowcount


def dismissals(
    connection: Connection, project: str, *, owners: Sequence[str]
) -> dict[str, Dismissal]:
    """What these owners have dismissed in a project, by fingerprint."""
    query = (
        select(*_FIELDS)
        .where(DISMISSALS.c.project == project, DISMISSALS.c.owner.in_(owners))
        .order_by(DISMISSALS.c.dismissed_at)
    )
    return {row.fingerprint: Dismissal(*row) for row in connection.execute(query)}


def note_review(
    connection: Connection, task_id: str, *, project: str, commit: str | None, now: int
) -> None:
    """Remember which project, at which commit, a task has reviewed."""
    row = {"task_id": task_id, "project": project, "commit_id": commit, "noted_at": now}
    _upsert(connection, REVIEWS, row)


def project_reviewed(connection: Connection, task_id: str) -> str | None:
    """The project that a task has reviewed."""
    query = select(REVIEWS.c.project).where(REVIEWS.c.task_id == task_id)
    return connection.execute(query).scalar()


def commit_reviewed(connection: Connection, task_id: str) -> str | None:
    """The commit that a task has reviewed."""
    query = select(REVIEWS.c.commit_id).where(REVIEWS.c.task_id == task_id)
    return connection.execute(query).scalar()


def reviews_of(connection: Connection, project: str, *, commit: str, limit: int = 20) -> list[str]:
    """The newest tasks that reviewed a project at a commit, which may be abbreviated."""
    query = (
        select(REVIEWS.c.task_id)
        .where(REVIEWS.c.project == project)
        .where(REVIEWS.c.commit_id.startswith(commit, autoescape=True))
        .order_by(REVIEWS.c.noted_at.desc())
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def purge_reviews(connection: Connection, *, before: int, limit: int = 500) -> int:
    """Forget up to `limit` reviews noted before a moment; how many went."""
    old = select(REVIEWS.c.task_id).where(REVIEWS.c.noted_at < before).limit(limit)
    gone = list(connection.execute(old).scalars())
    if gone:
        connection.execute(delete(REVIEWS).where(REVIEWS.c.task_id.in_(gone)))
    return len(gone)
