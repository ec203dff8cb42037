"""Listing tasks: filters, pages by offset or cursor, totals that stay cheap."""

from typing import Any

from sqlalchemy import Select, func, select

from sutazai.clock import SECOND
from sutazai.database import Connection
from sutazai.tasks.counts_store import COUNTS
from sutazai.tasks.model import Task, TaskFilter
from sutazai.tasks.store import TAGS, TASKS, task

MOST_COUNTED = 10_000
"""Totals of filters without a kept counter are exact up to here."""

# An id is made a moment before its row's created_at, perhaps by another machine's clock.
_SLACK = 60 * SECOND


def _narrow(query: Select[Any], wanted: TaskFilter) -> Select[Any]:
    equal = {
        TASKS.c.status: wanted.status,
        TASKS.c.type: wanted.type,
        TASKS.c.assigned_agent: wanted.agent,
        TASKS.c.priority: wanted.priority,
        TASKS.c.submitted_by: wanted.submitted_by,
        TASKS.c.parent_id: wanted.parent,
    }
    for column, value in equal.items():
        if value is not None:
            query = query.where(column == value)
    if wanted.tag is not None:
        query = query.join(TAGS, TAGS.c.task_id == TASKS.c.task_id).where(TAGS.c.tag == wanted.tag)
    # Ids begin with their time, so the primary key finds the range and created_at trims it.
    if (after := wanted.created_after) is not None:
        query = query.where(TASKS.c.created_at >= after, TASKS.c.task_id >= _id_at(after - _SLACK))
    if (before := wanted.created_before) is not None:
        query = query.where(TASKS.c.created_at < before, TASKS.c.task_id < _id_at(before + _SLACK))
    return query


def _id_at(moment: int) -> str:
    """The smallest UUID version 7 of a moment (microseconds)."""
    digits = f"{max(0, moment // 1000):012x}"
    return f"{digits[:8]}-{digits[8:12]}-7000-8000-000000000000"


def page(
    connection: Connection, wanted: TaskFilter, *, limit: int, offset: int, before: str | None
) -> list[Task]:
    """Newest first; `before` is the id of the last task of the page before."""
    query = _narrow(select(TASKS), wanted)
    if before is not None:
        query = query.where(TASKS.c.task_id < before)
    query = query.order_by(TASKS.c.task_id.desc()).limit(limit).offset(offset)
    return [task(row) for row in connection.execute(query)]


def total(connection: Connection, wanted: TaskFilter) -> tuple[int, bool]:
    """How many there are, and whether that is only a lower bound."""
    if wanted.is_only_by_status:
        kept = select(func.coalesce(func.sum(COUNTS.c.count), 0))
        if wanted.status is not None:
            kept = kept.where(COUNTS.c.status == wanted.status)
        return int(connection.execute(kept).scalar_one()), False
    some = _narrow(select(TASKS.c.task_id), wanted).limit(MOST_COUNTED + 1).subquery()
    found = connection.execute(select(func.count()).select_from(some)).scalar_one()
    return min(found, MOST_COUNTED), found > MOST_COUNTED
