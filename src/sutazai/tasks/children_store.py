"""What tasks have had done for them: other tasks, and executions of workflows."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    String,
    Table,
    bindparam,
    func,
    insert,
    select,
    update,
)

from sutazai.database import Connection, metadata
from sutazai.tasks.store import TASKS

CHILDREN = Table(
    "task_children",
    metadata,
    Column("parent_id", String(36), primary_key=True),
    # By what name the parent finds it again, in whichever attempt.
    Column("call", String(128), primary_key=True),
    # task | execution
    Column("kind", String(16), nullable=False),
    Column("child_id", String(64), nullable=False),
    Column("ended_at", BigInteger),
    Index("ix_task_children_child_id", "child_id"),
)


class Child(NamedTuple):
    """One thing that a task has had done; `ended_at` (µs) is None while it is under way."""

    parent_id: str
    call: str
    kind: str
    child_id: str
    ended_at: int | None


_CHILD = select(
    CHILDREN.c.parent_id,
    CHILDREN.c.call,
    CHILDREN.c.kind,
    CHILDREN.c.child_id,
    CHILDREN.c.ended_at,
)


def add(connection: Connection, child: Child) -> None:
    """Write a child of a locked task."""
    connection.execute(insert(CHILDREN).values(child._asdict()))


def get(connection: Connection, parent_id: str, call: str) -> Child | None:
    """What a task has had done by this name."""
    query = _CHILD.where(CHILDREN.c.parent_id == parent_id, CHILDREN.c.call == call)
    row = connection.execute(query).one_or_none()
    return None if row is None else Child(*row)


def count(connection: Connection, parent_id: str) -> int:
    """How much a task has had done."""
    query = select(func.count()).where(CHILDREN.c.parent_id == parent_id)
    return connection.execute(query).scalar_one()


# Made once, because every end of a task asks.
_OPEN = (
    _CHILD.where(
        CHILDREN.c.parent_id.in_(bindparam("ids", expanding=True)), CHILDREN.c.ended_at.is_(None)
    )
    .order_by(CHILDREN.c.parent_id, CHILDREN.c.call)
    .with_for_update()
)
_EXECUTIONS = select(CHILDREN.c.child_id).where(
    CHILDREN.c.parent_id.in_(bindparam("ids", expanding=True)),
    CHILDREN.c.kind == "execution",
    CHILDREN.c.ended_at.is_(None),
)


def open_children(connection: Connection, parent_ids: Sequence[str]) -> list[Child]:
    """What is under way for these tasks, locked, so that none of it ends unnoticed."""
    return [Child(*row) for row in connection.execute(_OPEN, {"ids": list(parent_ids)})]


def executions(connection: Connection, parent_ids: Sequence[str]) -> list[str]:
    """The executions that are under way for these tasks."""
    return list(connection.execute(_EXECUTIONS, {"ids": list(parent_ids)}).scalars())


def parents_of(connection: Connection, child_ids: Sequence[str]) -> list[Child]:
    """Those of these ids that are under way for some task."""
    query = _CHILD.where(CHILDREN.c.child_id.in_(child_ids), CHILDREN.c.ended_at.is_(None))
    return [Child(*row) for row in connection.execute(query.order_by(CHILDREN.c.parent_id))]


def close(connection: Connection, child: Child, *, now: int) -> None:
    """Note that it has ended."""
    connection.execute(
        update(CHILDREN)
        .where(CHILDREN.c.parent_id == child.parent_id, CHILDREN.c.call == child.call)
        .values(ended_at=now)
    )


class Ancestor(NamedTuple):
    """A task on the way up from another: who does it, and of which type."""

    task_id: str
    agent_id: str | None
    type: str


def lineage(connection: Connection, task_id: str, *, most: int) -> list[Ancestor]:
    """A task and those above it, the nearest first; `most` of them at most."""
    found: list[Ancestor] = []
    at: str | None = task_id
    while at is not None and len(found) < most:
        columns = (TASKS.c.parent_id, TASKS.c.assigned_agent, TASKS.c.type)
        # A handful of rows, each known only from the one before.
        query = select(*columns).where(TASKS.c.task_id == at)
        row = connection.execute(query).one_or_none()  # sutazai: ignore[query-in-loop]
        if row is None:
            break
        found.append(Ancestor(at, row.assigned_agent, row.type))
        at = row.parent_id
    return found
