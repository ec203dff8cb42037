"""The tasks' tables: one function writes a task, one moves it, the rest read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    bindparam,
    func,
    insert,
    select,
    text,
    update,
)

from sutazai.database import Connection, metadata, tally
from sutazai.tasks import counts_store, ends_store
from sutazai.tasks.model import (
    TRANSITIONS,
    NewTask,
    PendingReason,
    Task,
    TaskError,
    TaskStatus,
)

TASKS = Table(
    "tasks",
    metadata,
    Column("task_id", String(36), primary_key=True),
    Column("type", String(64), nullable=False),
    Column("description", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("pending_reason", String(16)),
    Column("priority", SmallInteger, nullable=False),
    Column("progress", SmallInteger, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("counters", Text),
    Column("tags", Text),
    Column("depends_on", Text),
    Column("agent", String(64)),
    Column("assigned_agent", String(64)),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("timeout_seconds", Float, nullable=False),
    Column("submitted_by", String(64), nullable=False),
    Column("request_id", String(128)),
    Column("created_at", BigInteger, nullable=False),
    Column("run_at", BigInteger),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("error_code", String(32)),
    Column("error_message", Text),
    Column("callback_url", Text),
    # The task that had this one done: see `children_store`, and executions of workflows.
    Column("parent_id", String(36)),
    Index("ix_tasks_status", "status", "task_id"),
    Index("ix_tasks_type", "type", "task_id"),
    Index("ix_tasks_priority", "priority", "task_id"),
    Index("ix_tasks_submitted_by", "submitted_by", "task_id"),
    Index("ix_tasks_assigned_agent", "assigned_agent", "task_id"),
    Index(
        "ix_tasks_parent_id",
        "parent_id",
        "task_id",
        postgresql_where=text("parent_id IS NOT NULL"),
        sqlite_where=text("parent_id IS NOT NULL"),
    ),
)

RESULTS = Table(
    "task_results",
    metadata,
    Column("task_id", String(36), primary_key=True),
    Column("result", Text, nullable=False),
)

TAGS = Table(
    "task_tags",
    metadata,
    Column("tag", String(64), primary_key=True),
    Column("task_id", String(36), primary_key=True),
)

DEPENDENCIES = Table(
    "task_dependencies",
    metadata,
    Column("depends_on", String(36), primary_key=True),
    Column("task_id", String(36), primary_key=True),
)

_INSERT_TASK = insert(TASKS)
_INSERT_RESULT = insert(RESULTS)


class Moving(NamedTuple):
    """A locked task: what its moves and their events need to know."""

    task_id: str
    type: str
    status: TaskStatus
    attempt: int
    assigned_agent: str | None
    submitted_by: str
    request_id: str | None
    started_at: int | None
    agent: str | None
    callback_url: str | None
    pending_reason: str | None
    parent_id: str | None


def add(
    connection: Connection,
    tasks: Sequence[NewTask],
    *,
    submitted_by: str,
    request_id: str | None,
    now: int,
) -> None:
    """Write new tasks."""
    rows = [
        {
            "task_id": task_id,
            "type": draft.type,
            "description": draft.description,
            "status": status.value,
            "pending_reason": reason,
            "priority": draft.priority,
            "progress": 0,
            "metadata": msgspec.json.encode(draft.metadata).decode(),
            "tags": _list_text(draft.tags),
            "depends_on": _list_text(draft.depends_on),
            "agent": draft.agent,
            "attempt": 0,
            "max_attempts": draft.max_attempts,
            "timeout_seconds": draft.timeout_seconds,
            "submitted_by": submitted_by,
            "request_id": request_id,
            "created_at": now,
            "run_at": draft.run_at,
            "callback_url": draft.callback_url,
            "parent_id": draft.parent_id,
        }
        for task_id, draft, status, reason in tasks
    ]
    connection.execute(_INSERT_TASK, rows if len(rows) > 1 else rows[0])
    tags = [{"tag": tag, "task_id": one.task_id} for one in tasks for tag in one.draft.tags]
    if tags:
        connection.execute(insert(TAGS), tags)
    pairs = [(other, one.task_id) for one in tasks for other in one.draft.depends_on]
    if pairs:
        rows = [{"depends_on": other, "task_id": task_id} for other, task_id in pairs]
        connection.execute(insert(DEPENDENCIES), rows)
    counts_store.count(connection, Counter((one.draft.type, one.status.value) for one in tasks))
    for one in tasks:
        tally(connection, "tasks_accepted", one.draft.type)


def _list_text(values: Sequence[str]) -> str | None:
    return msgspec.json.encode(values).decode() if values else None


_MOVING = (
    TASKS.c.task_id,
    TASKS.c.type,
    TASKS.c.status,
    TASKS.c.attempt,
    TASKS.c.assigned_agent,
    TASKS.c.submitted_by,
    TASKS.c.request_id,
    TASKS.c.started_at,
    TASKS.c.agent,
    TASKS.c.callback_url,
    TASKS.c.pending_reason,
    TASKS.c.parent_id,
)


_AMONG = TASKS.c.task_id.in_(bindparam("task_ids", expanding=True))
# Made once, as all that every task meets: making a statement costs more than running it.
_LOCK = select(*_MOVING).where(_AMONG).order_by(TASKS.c.task_id).with_for_update()


def lock(connection: Connection, task_ids: Sequence[str]) -> dict[str, Moving]:
    """Tasks about to be moved, locked for this transaction; absent ids are left out."""
    rows = connection.execute(_LOCK, {"task_ids": task_ids})
    return {row[0]: _moving(row) for row in rows}


def _moving(row: Any) -> Moving:
    return Moving(row[0], row[1], TaskStatus(row[2]), *row[3:])


class Move(NamedTuple):
    """Where a locked task goes, and what is written with it."""

    task: Moving
    to: TaskStatus
    values: Mapping[str, Any]


_updates: dict[tuple[str, ...], Any] = {}


def _update_for(columns: tuple[str, ...]) -> Any:
    statement = _updates.get(columns)
    if statement is None:
        statement = _updates[columns] = (
            update(TASKS)
            .where(TASKS.c.task_id == bindparam("of_task"))
            .values({column: bindparam(f"new_{column}") for column in columns})
        )
    return statement


def move(connection: Connection, moves: Sequence[Move]) -> None:
    """The one way a task's status changes; ValueError for a move the state machine lacks."""
    counts: dict[tuple[str, str], int] = {}
    batches: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    ends: list[ends_store.End] = []
    for task, to, values in moves:
        if to not in TRANSITIONS[task.status]:
            raise ValueError(f"task {task.task_id} cannot go from {task.status} to {to}")
        if to is not task.status:
            before, after = (task.type, task.status.value), (task.type, to.value)
            counts[before] = counts.get(before, 0) - 1
            counts[after] = counts.get(after, 0) + 1
        if to.is_final:
            tally(connection, "tasks_ended", task.type, to.value)
            if to is not TaskStatus.CANCELLED and task.started_at is not None:
                ends.append(ends_store.End(to.value, task.started_at, values["ended_at"]))
        columns = ("status", "pending_reason", *values)
        row = {"of_task": task.task_id, "new_status": to.value, "new_pending_reason": None}
        row.update((f"new_{column}", value) for column, value in values.items())
        batches.setdefault(columns, []).append(row)
    for columns, rows in batches.items():
        connection.execute(_update_for(columns), rows if len(rows) > 1 else rows[0])
    counts_store.count(connection, counts)
    ends_store.record(connection, ends)


def save_results(connection: Connection, results: Mapping[str, str]) -> None:
    """Store results once; IntegrityError where a task already has one."""
    rows = [{"task_id": task_id, "result": text} for task_id, text in results.items()]
    if rows:
        connection.execute(_INSERT_RESULT, rows if len(rows) > 1 else rows[0])


_PROGRESS = (
    update(TASKS)
    .where(
        TASKS.c.task_id == bindparam("of_task"),
        TASKS.c.attempt == bindparam("of_attempt"),
        TASKS.c.status == TaskStatus.PROCESSING.value,
    )
    .values(progress=bindparam("new_progress"), counters=bindparam("new_counters"))
    .returning(*_MOVING)
)


def set_progress(
    connection: Connection, task_id: str, *, attempt: int, progress: int, counters: dict[str, int]
) -> Moving | None:
    """Note how far an attempt is; None when it is no longer the one that runs."""
    row = connection.execute(
        _PROGRESS,
        {
            "of_task": task_id,
            "of_attempt": attempt,
            "new_progress": progress,
            "new_counters": msgspec.json.encode(counters).decode(),
        },
    ).one_or_none()
    return None if row is None else _moving(row)


_OF_WORK = (
    TASKS.c.task_id,
    TASKS.c.type,
    TASKS.c.description,
    TASKS.c.metadata,
    TASKS.c.request_id,
    TASKS.c.submitted_by,
    TASKS.c.created_at,
    TASKS.c.run_at,
)
_WORK = select(*_OF_WORK).where(_AMONG)
# In one select what `lock` and `work` say, by position: some columns are there twice.
_LOCK_WITH_WORK = (
    select(*_MOVING, *(column.label(f"of_work_{column.name}") for column in _OF_WORK))
    .where(_AMONG)
    .order_by(TASKS.c.task_id)
    .with_for_update()
)


class Work(NamedTuple):
    """What an agent is given of a task."""

    task_id: str
    type: str
    description: str
    metadata: dict[str, Any]
    request_id: str | None
    submitted_by: str
    could_start_at: int
    goes_on: bool = False


def work(connection: Connection, task_ids: Sequence[str]) -> dict[str, Work]:
    """What to do for each of these tasks."""
    rows = connection.execute(_WORK, {"task_ids": task_ids})
    return {row[0]: _work(row) for row in rows}


def _work(row: Any) -> Work:
    """What the columns of `_OF_WORK` hold."""
    task_id, type_, description, metadata_text, request_id, submitted_by, created_at, run_at = row
    return Work(
        task_id,
        type_,
        description,
        msgspec.json.decode(metadata_text),
        request_id,
        submitted_by,
        max(created_at, run_at or 0),
    )


def lock_with_work(
    connection: Connection, task_ids: Sequence[str]
) -> dict[str, tuple[Moving, Work]]:
    """As `lock`, with what to do for each."""
    rows = connection.execute(_LOCK_WITH_WORK, {"task_ids": task_ids})
    size = len(_MOVING)
    return {row[0]: (_moving(row[:size]), _work(row[size:])) for row in rows}


def task(row: Any) -> Task:
    """A row of TASKS as the model has it."""
    code = row.error_code
    return Task(
        task_id=row.task_id,
        type=row.type,
        description=row.description,
        status=TaskStatus(row.status),
        pending_reason=PendingReason(row.pending_reason) if row.pending_reason else None,
        priority=row.priority,
        progress=row.progress,
        metadata=msgspec.json.decode(row.metadata),
        counters=msgspec.json.decode(row.counters) if row.counters else {},
        tags=tuple(msgspec.json.decode(row.tags)) if row.tags else (),
        depends_on=tuple(msgspec.json.decode(row.depends_on)) if row.depends_on else (),
        agent=row.agent,
        assigned_agent=row.assigned_agent,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        timeout_seconds=row.timeout_seconds,
        submitted_by=row.submitted_by,
        created_at=row.created_at,
        run_at=row.run_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        error=TaskError(code, row.error_message) if code else None,
        parent_task_id=row.parent_id,
    )


_GET = select(TASKS).where(TASKS.c.task_id == bindparam("task_id"))


def get(connection: Connection, task_id: str) -> Task | None:
    """One task."""
    row = connection.execute(_GET, {"task_id": task_id}).one_or_none()
    return None if row is None else task(row)


def find(connection: Connection, task_ids: Sequence[str]) -> dict[str, Task]:
    """Those of these tasks that there are."""
    rows = connection.execute(select(TASKS).where(TASKS.c.task_id.in_(task_ids)))
    return {row.task_id: task(row) for row in rows}


_GET_RESULT = select(RESULTS.c.result).where(RESULTS.c.task_id == bindparam("task_id"))


def get_result(connection: Connection, task_id: str) -> str | None:
    """A completed task's result as JSON text."""
    return connection.execute(_GET_RESULT, {"task_id": task_id}).scalar()


def size_of_results(connection: Connection, task_ids: Sequence[str]) -> int:
    """The characters of these tasks' results together."""
    size = func.coalesce(func.sum(func.length(RESULTS.c.result)), 0)
    return int(connection.execute(select(size).where(RESULTS.c.task_id.in_(task_ids))).scalar_one())


def find_results(connection: Connection, task_ids: Sequence[str]) -> dict[str, str]:
    """The results of those of these tasks that have one, as JSON text."""
    query = select(RESULTS.c.task_id, RESULTS.c.result).where(RESULTS.c.task_id.in_(task_ids))
    return {row.task_id: row.result for row in connection.execute(query)}


_DEPENDENTS = (
    select(DEPENDENCIES.c.task_id, DEPENDENCIES.c.depends_on)
    .where(DEPENDENCIES.c.depends_on.in_(bindparam("task_ids", expanding=True)))
    .order_by(DEPENDENCIES.c.task_id)
)


def dependents(connection: Connection, task_ids: Sequence[str]) -> list[tuple[str, str]]:
    """(waiting task, task it waits for) for whatever waits for one of these."""
    rows = connection.execute(_DEPENDENTS, {"task_ids": task_ids})
    return [(row[0], row[1]) for row in rows]


def set_pending_reason(
    connection: Connection, task_ids: Sequence[str], reason: PendingReason
) -> None:
    """Say anew why tasks that stay pending do."""
    if task_ids:
        connection.execute(
            update(TASKS)
            .where(TASKS.c.task_id.in_(task_ids), TASKS.c.status == TaskStatus.PENDING.value)
            .values(pending_reason=reason)
        )


def unfinished_dependencies(connection: Connection, task_id: str) -> int:
    """How many tasks this one still waits for."""
    return connection.execute(
        select(func.count())
        .select_from(DEPENDENCIES.join(TASKS, TASKS.c.task_id == DEPENDENCIES.c.depends_on))
        .where(DEPENDENCIES.c.task_id == task_id)
        .where(TASKS.c.status != TaskStatus.COMPLETED.value)
    ).scalar_one()


def recent_durations(connection: Connection, task_type: str, *, limit: int = 50) -> list[int]:
    """How long (µs) the last completed tasks of a type took, among its newest few hundred."""
    newest = (
        select(TASKS.c.status, TASKS.c.started_at, TASKS.c.ended_at)
        .where(TASKS.c.type == task_type)
        .order_by(TASKS.c.task_id.desc())
        .limit(limit * 6)
        .subquery()
    )
    rows = connection.execute(
        select(newest.c.ended_at - newest.c.started_at)
        .where(newest.c.status == TaskStatus.COMPLETED.value)
        .limit(limit)
    )
    return [row[0] for row in rows]
