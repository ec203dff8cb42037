"""The tables of workflows: their versions, their executions, and what was done for each step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    text,
    tuple_,
    update,
)

from sutazai.database import Connection, metadata
from sutazai.workflows.model import (
    Definition,
    EventKey,
    Execution,
    ExecutionStatus,
    Items,
    Parent,
    Run,
    StepError,
    StepStatus,
    Workflow,
)

WORKFLOWS = Table(
    "workflows",
    metadata,
    Column("workflow_id", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    # Its executions, running ones among them, keep the versions they have.
    Column("deleted_at", BigInteger),
    Index("ix_workflows_created_at", "created_at", "workflow_id"),
)

VERSIONS = Table(
    "workflow_versions",
    metadata,
    Column("workflow_id", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("definition", Text, nullable=False),
)

EXECUTIONS = Table(
    "workflow_executions",
    metadata,
    Column("execution_id", String(64), primary_key=True),
    Column("workflow_id", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    # A letter a step: see `graph`.
    Column("state", Text, nullable=False),
    Column("input", Text, nullable=False),
    Column("submitted_by", String(64), nullable=False),
    Column("request_id", String(128)),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("error_code", String(32)),
    Column("error_message", Text),
    Column("parent_id", String(64)),
    Column("parent_position", Integer),
    Column("parent_item", Integer),
    Column("depth", SmallInteger, nullable=False),
    # The task that had it executed.
    Column("task_id", String(36)),
    Index("ix_workflow_executions_workflow_id", "workflow_id", "started_at", "execution_id"),
    Index("ix_workflow_executions_ended_at", "ended_at"),
)

RUNS = Table(
    "workflow_runs",
    metadata,
    Column("execution_id", String(64), primary_key=True),
    Column("position", Integer, primary_key=True),
    # -1: the step itself.
    Column("item", Integer, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("task_id", String(36)),
    Column("child_id", String(64)),
    Column("value", Text),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("error_code", String(32)),
    Column("error_message", Text),
    Column("items_total", Integer),
    Column("items_next", Integer),
    Column("items_running", Integer),
    Column("items_failed", Integer),
    # The event that answers a step which waits for a person.
    Column("event_type", String(64)),
    Column("correlation_id", String(200)),
    Index("ix_workflow_runs_task_id", "task_id"),
    Index(
        "ix_workflow_runs_event",
        "event_type",
        "correlation_id",
        postgresql_where=text("event_type IS NOT NULL"),
        sqlite_where=text("event_type IS NOT NULL"),
    ),
)

_INSERT_RUN = insert(RUNS)


# --- workflows


def add_workflow(connection: Connection, workflow: Workflow) -> None:
    """Write a new workflow in its first version."""
    connection.execute(
        insert(WORKFLOWS).values(
            workflow_id=workflow.workflow_id,
            version=workflow.version,
            created_by=workflow.created_by,
            created_at=workflow.created_at,
            updated_at=workflow.updated_at,
        )
    )
    _add_version(connection, workflow)


def _add_version(connection: Connection, workflow: Workflow) -> None:
    text = msgspec.json.encode(workflow.definition).decode()
    connection.execute(
        insert(VERSIONS).values(
            workflow_id=workflow.workflow_id, version=workflow.version, definition=text
        )
    )


def add_version(connection: Connection, workflow: Workflow) -> None:
    """Write a locked workflow's next version."""
    connection.execute(
        update(WORKFLOWS)
        .where(WORKFLOWS.c.workflow_id == workflow.workflow_id)
        .values(version=workflow.version, updated_at=workflow.updated_at)
    )
    _add_version(connection, workflow)


NEWEST = (
    select(
        WORKFLOWS.c.workflow_id,
        WORKFLOWS.c.version,
        VERSIONS.c.definition,
        WORKFLOWS.c.created_by,
        WORKFLOWS.c.created_at,
        WORKFLOWS.c.updated_at,
    )
    .join(
        VERSIONS,
        (VERSIONS.c.workflow_id == WORKFLOWS.c.workflow_id)
        & (VERSIONS.c.version == WORKFLOWS.c.version),
    )
    .where(WORKFLOWS.c.deleted_at.is_(None))
)


def workflow_of(row: Any) -> Workflow:
    """A workflow from a row of `NEWEST`."""
    return Workflow(
        workflow_id=row[0],
        version=row[1],
        definition=decoded(row[2]),
        created_by=row[3],
        created_at=row[4],
        updated_at=row[5],
    )


def decoded(text: str) -> Definition:
    """A definition as it was written."""
    return msgspec.json.decode(text, type=Definition)


def get_workflow(
    connection: Connection, workflow_id: str, *, lock: bool = False
) -> Workflow | None:
    """A workflow that was not deleted, in its newest version."""
    if lock:
        held = select(WORKFLOWS.c.version).where(WORKFLOWS.c.workflow_id == workflow_id)
        connection.execute(held.with_for_update())
    query = NEWEST.where(WORKFLOWS.c.workflow_id == workflow_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else workflow_of(row)


def page_of_workflows(connection: Connection, *, limit: int, before: str | None) -> list[Workflow]:
    """Newest first, from behind the one named."""
    query = NEWEST
    if before is not None:
        # A deleted one still has its place in the order.
        place = select(WORKFLOWS.c.created_at, WORKFLOWS.c.workflow_id).where(
            WORKFLOWS.c.workflow_id == before
        )
        row = connection.execute(place).one_or_none()
        if row is None:
            return []
        query = query.where(tuple_(WORKFLOWS.c.created_at, WORKFLOWS.c.workflow_id) < tuple(row))
    query = query.order_by(WORKFLOWS.c.created_at.desc(), WORKFLOWS.c.workflow_id.desc())
    return [workflow_of(row) for row in connection.execute(query.limit(limit))]


def mark_deleted(connection: Connection, workflow_id: str, *, now: int) -> bool:
    """Delete a workflow for everybody but its executions; whether it was there."""
    return (
        connection.execute(
            update(WORKFLOWS)
            .where(WORKFLOWS.c.workflow_id == workflow_id, WORKFLOWS.c.deleted_at.is_(None))
            .values(deleted_at=now)
        ).rowcount
        > 0
    )


def get_definition(connection: Connection, workflow_id: str, version: int) -> Definition:
    """One version's definition, of deleted workflows too."""
    return decoded(
        connection.execute(
            select(VERSIONS.c.definition).where(
                VERSIONS.c.workflow_id == workflow_id, VERSIONS.c.version == version
            )
        ).scalar_one()
    )


# --- executions


def add_execution(connection: Connection, execution: Execution) -> None:
    """Write a new execution."""
    parent_id, parent_position, parent_item = execution.parent or (None, None, None)
    connection.execute(
        insert(EXECUTIONS).values(
            execution_id=execution.execution_id,
            workflow_id=execution.workflow_id,
            version=execution.version,
            status=execution.status.value,
            state=execution.state,
            input=msgspec.json.encode(execution.input).decode(),
            submitted_by=execution.submitted_by,
            request_id=execution.request_id,
            started_at=execution.started_at,
            parent_id=parent_id,
            parent_position=parent_position,
            parent_item=parent_item,
            depth=execution.depth,
            task_id=execution.task_id,
        )
    )


def _parent_of(row: Any) -> Parent | None:
    if row.parent_id is None:
        return None
    # Those that began before items could be workflows say nothing of an item.
    return Parent(
        row.parent_id, row.parent_position, -1 if row.parent_item is None else row.parent_item
    )


def execution_of(row: Any) -> Execution:
    """An execution from its row."""
    error = StepError(row.error_code, row.error_message) if row.error_code else None
    return Execution(
        execution_id=row.execution_id,
        workflow_id=row.workflow_id,
        version=row.version,
        status=ExecutionStatus(row.status),
        state=row.state,
        input=msgspec.json.decode(row.input),
        submitted_by=row.submitted_by,
        request_id=row.request_id,
        started_at=row.started_at,
        ended_at=row.ended_at,
        error=error,
        parent=_parent_of(row),
        depth=row.depth,
        task_id=row.task_id,
    )


_EXECUTION = select(EXECUTIONS).where(EXECUTIONS.c.execution_id == bindparam("execution_id"))
_LOCKED = _EXECUTION.with_for_update()


def get_execution(
    connection: Connection, execution_id: str, *, lock: bool = False
) -> Execution | None:
    """One execution, locked for this transaction where it is about to change."""
    query = _LOCKED if lock else _EXECUTION
    row = connection.execute(query, {"execution_id": execution_id}).one_or_none()
    return None if row is None else execution_of(row)


def update_execution(connection: Connection, execution: Execution) -> None:
    """Write where a locked execution stands now."""
    error = execution.error
    connection.execute(
        update(EXECUTIONS)
        .where(EXECUTIONS.c.execution_id == execution.execution_id)
        .values(
            status=execution.status.value,
            state=execution.state,
            ended_at=execution.ended_at,
            error_code=None if error is None else error.code,
            error_message=None if error is None else error.message,
        )
    )


# --- runs


def add_runs(connection: Connection, execution_id: str, runs: Sequence[Run]) -> None:
    """Write what begins, or began and ended, for an execution's steps."""
    rows = [{"execution_id": execution_id, **_row(run)} for run in runs]
    if rows:
        connection.execute(_INSERT_RUN, rows if len(rows) > 1 else rows[0])


def _row(run: Run) -> dict[str, Any]:
    items = run.items or (None, None, None, None)
    event = run.event or (None, None)
    return {
        "position": run.position,
        "item": run.item,
        "status": run.status.value,
        "task_id": run.task_id,
        "child_id": run.child_id,
        "value": run.value,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "error_code": None if run.error is None else run.error.code,
        "error_message": None if run.error is None else run.error.message,
        "items_total": items[0],
        "items_next": items[1],
        "items_running": items[2],
        "items_failed": items[3],
        "event_type": event[0],
        "correlation_id": event[1],
    }


_CHANGING = (
    "status", "task_id", "child_id", "value", "started_at", "ended_at",
    "error_code", "error_message", "items_next", "items_running", "items_failed",
)  # fmt: skip
_UPDATE_RUN = (
    update(RUNS)
    .where(
        RUNS.c.execution_id == bindparam("of_execution"),
        RUNS.c.position == bindparam("of_position"),
        RUNS.c.item == bindparam("of_item"),
    )
    .values({name: bindparam(f"new_{name}") for name in _CHANGING})
)


def update_runs(connection: Connection, execution_id: str, runs: Sequence[Run]) -> None:
    """Write runs again as they are now."""
    rows = []
    for run in runs:
        row = _row(run)
        new = {f"new_{name}": row[name] for name in _CHANGING}
        key = {"of_execution": execution_id, "of_position": run.position, "of_item": run.item}
        rows.append({**key, **new})
    if rows:
        connection.execute(_UPDATE_RUN, rows if len(rows) > 1 else rows[0])


def run_of(row: Any) -> Run:
    """A run from its row."""
    items = None
    if row.items_total is not None:
        items = Items(row.items_total, row.items_next, row.items_running, row.items_failed)
    return Run(
        position=row.position,
        item=row.item,
        status=StepStatus(row.status),
        task_id=row.task_id,
        child_id=row.child_id,
        value=row.value,
        started_at=row.started_at,
        ended_at=row.ended_at,
        error=StepError(row.error_code, row.error_message) if row.error_code else None,
        items=items,
        event=None if row.event_type is None else EventKey(row.event_type, row.correlation_id),
    )


class TasksRun(NamedTuple):
    """The run that a task is for."""

    execution_id: str
    run: Run


_RUNS_OF_TASKS = select(RUNS).where(RUNS.c.task_id.in_(bindparam("task_ids", expanding=True)))


def runs_of_tasks(connection: Connection, task_ids: Sequence[str]) -> dict[str, TasksRun]:
    """The runs that these tasks are for, by task; most tasks are for none."""
    rows = connection.execute(_RUNS_OF_TASKS, {"task_ids": task_ids})
    return {row.task_id: TasksRun(row.execution_id, run_of(row)) for row in rows}


def runs(
    connection: Connection,
    execution_id: str,
    *,
    positions: Sequence[int] | None = None,
    item: int | None = None,
) -> list[Run]:
    """What was done for an execution, in order; of some steps only, of one item only."""
    query = select(RUNS).where(RUNS.c.execution_id == execution_id)
    if positions is not None:
        query = query.where(RUNS.c.position.in_(positions))
    if item is not None:
        query = query.where(RUNS.c.item == item)
    return [run_of(row) for row in connection.execute(query.order_by(RUNS.c.position, RUNS.c.item))]


def cancel_items(
    connection: Connection, execution_id: str, positions: Sequence[int], *, now: int
) -> None:
    """End the items of some steps that have not begun."""
    connection.execute(
        update(RUNS)
        .where(RUNS.c.execution_id == execution_id, RUNS.c.position.in_(positions))
        .where(RUNS.c.item >= 0, RUNS.c.status == StepStatus.PENDING.value)
        .values(status=StepStatus.CANCELLED.value, ended_at=now)
    )


def remove_runs(connection: Connection, execution_id: str, positions: Sequence[int]) -> None:
    """Forget what was done for some steps, so that they can be done again."""
    connection.execute(
        delete(RUNS).where(RUNS.c.execution_id == execution_id, RUNS.c.position.in_(positions))
    )


def purge(connection: Connection, *, before: int, limit: int = 200) -> int:
    """Delete up to `limit` executions that ended before a moment, with theirs; how many went."""
    old = (
        select(EXECUTIONS.c.execution_id)
        .where(EXECUTIONS.c.ended_at < before)
        .order_by(EXECUTIONS.c.ended_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    gone = list(connection.execute(old).scalars())
    for table in (RUNS, EXECUTIONS):
        connection.execute(delete(table).where(table.c.execution_id.in_(gone)))
    return len(gone)


def purge_deleted(connection: Connection, *, limit: int = 200) -> int:
    """Delete up to `limit` deleted workflows that have no execution left; how many went."""
    used = select(EXECUTIONS.c.workflow_id).where(
        EXECUTIONS.c.workflow_id == WORKFLOWS.c.workflow_id
    )
    unused = (
        select(WORKFLOWS.c.workflow_id)
        .where(WORKFLOWS.c.deleted_at.is_not(None), ~used.exists())
        .limit(limit)
    )
    gone = list(connection.execute(unused).scalars())
    for table in (VERSIONS, WORKFLOWS):
        connection.execute(delete(table).where(table.c.workflow_id.in_(gone)))
    return len(gone)
