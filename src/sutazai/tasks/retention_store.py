"""Deletes tasks that nobody needs any more, with all of theirs."""

from collections import Counter

from sqlalchemy import delete, select

from sutazai.database import Connection
from sutazai.tasks import counts_store
from sutazai.tasks.children_store import CHILDREN
from sutazai.tasks.model import TaskStatus
from sutazai.tasks.store import DEPENDENCIES, RESULTS, TAGS, TASKS

_FINAL = tuple(status.value for status in TaskStatus if status.is_final)


def remove_ended(connection: Connection, *, before: int, limit: int = 500) -> int:
    """Delete up to `limit` tasks that ended before a moment, with all of theirs; how many went."""
    rows = connection.execute(
        select(TASKS.c.task_id, TASKS.c.type, TASKS.c.status)
        .where(TASKS.c.status.in_(_FINAL), TASKS.c.ended_at < before)
        .order_by(TASKS.c.task_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    gone = [row.task_id for row in rows]
    if gone:
        connection.execute(delete(CHILDREN).where(CHILDREN.c.parent_id.in_(gone)))
        for table in (RESULTS, TAGS, DEPENDENCIES, TASKS):
            connection.execute(delete(table).where(table.c.task_id.in_(gone)))
        changes = Counter((row.type, row.status) for row in rows)
        counts_store.count(connection, {key: -number for key, number in changes.items()})
    return len(gone)
