"""The tables of schedules, and of what became of their due times."""

from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from sutazai.database import Connection, metadata
from sutazai.schedules.model import (
    MOST_KEPT,
    Firing,
    Misfire,
    Outcome,
    Schedule,
    ScheduleFilter,
    ScheduleStatus,
    Timing,
    WorkflowCall,
)
from sutazai.tasks.model import TaskDraft

SCHEDULES = Table(
    "schedules",
    metadata,
    Column("schedule_id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    # tasks | workflows: what one needs a permission on.
    Column("resource", String(32), nullable=False),
    # The task or the call of the workflow, as JSON.
    Column("target", Text, nullable=False),
    Column("cron", String(200)),
    Column("timezone", String(64), nullable=False),
    Column("run_at", BigInteger),
    Column("misfire", String(16), nullable=False),
    Column("grace", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("next_run_at", BigInteger),
    Column("last_due_at", BigInteger),
    Column("owner", String(64), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("ix_schedules_created_at", "created_at", "schedule_id"),
)

FIRINGS = Table(
    "schedule_firings",
    metadata,
    Column("schedule_id", String(64), primary_key=True),
    # With the schedule the key: a due time is dealt with once.
    Column("due_at", BigInteger, primary_key=True),
    Column("happened_at", BigInteger, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("missed", Integer, nullable=False),
    Column("task_id", String(36)),
    Column("execution_id", String(64)),
    Column("reason", Text),
)


# --- schedules


def _row(schedule: Schedule) -> dict[str, Any]:
    target = schedule.workflow if schedule.task is None else schedule.task
    return {
        "schedule_id": schedule.schedule_id,
        "name": schedule.name,
        "resource": schedule.resource,
        "target": msgspec.json.encode(target).decode(),
        "cron": schedule.timing.cron,
        "timezone": schedule.timing.timezone,
        "run_at": schedule.timing.at,
        "misfire": schedule.misfire.value,
        "grace": schedule.grace,
        "status": schedule.status.value,
        "next_run_at": schedule.next_run_at,
        "last_due_at": schedule.last_due_at,
        "owner": schedule.owner,
        "created_at": schedule.created_at,
        "updated_at": schedule.updated_at,
    }


def _schedule(row: Any) -> Schedule:
    is_task = row.resource == "tasks"
    return Schedule(
        schedule_id=row.schedule_id,
        name=row.name,
        timing=Timing(cron=row.cron, timezone=row.timezone, at=row.run_at),
        task=msgspec.json.decode(row.target, type=TaskDraft) if is_task else None,
        workflow=None if is_task else msgspec.json.decode(row.target, type=WorkflowCall),
        misfire=Misfire(row.misfire),
        grace=row.grace,
        status=ScheduleStatus(row.status),
        next_run_at=row.next_run_at,
        last_due_at=row.last_due_at,
        owner=row.owner,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def add(connection: Connection, schedule: Schedule) -> None:
    """Write a new schedule."""
    connection.execute(insert(SCHEDULES).values(_row(schedule)))


def replace(connection: Connection, schedule: Schedule) -> None:
    """Write a locked schedule again as it is now."""
    changed = update(SCHEDULES).where(SCHEDULES.c.schedule_id == schedule.schedule_id)
    connection.execute(changed.values(_row(schedule)))


def get(connection: Connection, schedule_id: str, *, lock: bool = False) -> Schedule | None:
    """One schedule, locked for this transaction where it is about to change."""
    query = select(SCHEDULES).where(SCHEDULES.c.schedule_id == schedule_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _schedule(row)


def number_of(connection: Connection, owner: str) -> int:
    """How many schedules a user has."""
    query = select(func.count()).select_from(SCHEDULES).where(SCHEDULES.c.owner == owner)
    return connection.execute(query).scalar_one()


def page(
    connection: Connection, wanted: ScheduleFilter, *, limit: int, before: str | None
) -> list[Schedule]:
    """Newest first, from behind the one named."""
    seen = SCHEDULES.c.resource.in_(sorted(wanted.resources)) | (SCHEDULES.c.owner == wanted.reader)
    query = select(SCHEDULES).where(seen)
    if wanted.owner is not None:
        query = query.where(SCHEDULES.c.owner == wanted.owner)
    if wanted.status is not None:
        query = query.where(SCHEDULES.c.status == wanted.status.value)
    order = (SCHEDULES.c.created_at, SCHEDULES.c.schedule_id)
    if before is not None:
        place = select(*order).where(SCHEDULES.c.schedule_id == before)
        row = connection.execute(place).one_or_none()
        if row is None:
            return []
        query = query.where(tuple_(*order) < tuple(row))
    query = query.order_by(*(column.desc() for column in order)).limit(limit)
    return [_schedule(row) for row in connection.execute(query)]


def remove(connection: Connection, schedule_id: str) -> None:
    """Delete a schedule with its history."""
    for table in (FIRINGS, SCHEDULES):
        connection.execute(delete(table).where(table.c.schedule_id == schedule_id))


# --- firings


def add_firing(connection: Connection, schedule_id: str, firing: Firing) -> None:
    """Write what became of a due time; forgets the oldest where there are too many."""
    row = msgspec.structs.asdict(firing) | {"outcome": firing.outcome.value}
    connection.execute(insert(FIRINGS).values(schedule_id=schedule_id, **row))
    oldest_kept = (
        select(FIRINGS.c.due_at)
        .where(FIRINGS.c.schedule_id == schedule_id)
        .order_by(FIRINGS.c.due_at.desc())
        .offset(MOST_KEPT - 1)
        .limit(1)
        .scalar_subquery()
    )
    connection.execute(
        delete(FIRINGS).where(FIRINGS.c.schedule_id == schedule_id, FIRINGS.c.due_at < oldest_kept)
    )


def firings(
    connection: Connection, schedule_id: str, *, limit: int, before: int | None = None
) -> list[Firing]:
    """What became of a schedule's due times, newest first."""
    query = select(FIRINGS).where(FIRINGS.c.schedule_id == schedule_id)
    if before is not None:
        query = query.where(FIRINGS.c.due_at < before)
    rows = connection.execute(query.order_by(FIRINGS.c.due_at.desc()).limit(limit))
    return [
        Firing(
            due_at=row.due_at,
            happened_at=row.happened_at,
            outcome=Outcome(row.outcome),
            missed=row.missed,
            task_id=row.task_id,
            execution_id=row.execution_id,
            reason=row.reason,
        )
        for row in rows
    ]


def executing(connection: Connection, workflow_id: str) -> list[str]:
    """The schedules that are not over and execute a workflow, by id."""
    query = select(SCHEDULES).where(
        SCHEDULES.c.resource == "workflows",
        SCHEDULES.c.status != ScheduleStatus.COMPLETED.value,
        SCHEDULES.c.target.contains(f'"{workflow_id}"', autoescape=True),
    )
    found = map(_schedule, connection.execute(query))
    return sorted(
        one.schedule_id for one in found if one.workflow and one.workflow.workflow_id == workflow_id
    )
