"""Looking up, and locking, many workflows, executions and runs at once."""

from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, select, tuple_

from sutazai.database import Connection
from sutazai.workflows.model import (
    Definition,
    EventKey,
    Execution,
    ExecutionStatus,
    ItemsOf,
    Run,
    StepStatus,
    Version,
    Workflow,
)
from sutazai.workflows.store import (
    EXECUTIONS,
    NEWEST,
    RUNS,
    VERSIONS,
    WORKFLOWS,
    TasksRun,
    decoded,
    execution_of,
    run_of,
    workflow_of,
)


def find_workflows(connection: Connection, workflow_ids: Sequence[str]) -> list[Workflow]:
    """Those of these workflows that were not deleted, in their newest versions."""
    query = NEWEST.where(WORKFLOWS.c.workflow_id.in_(workflow_ids))
    return [workflow_of(row) for row in connection.execute(query)]


def find_definitions(
    connection: Connection, versions: Sequence[Version]
) -> dict[Version, Definition]:
    """These versions' definitions, of deleted workflows too."""
    key = tuple_(VERSIONS.c.workflow_id, VERSIONS.c.version)
    query = select(VERSIONS.c.workflow_id, VERSIONS.c.version, VERSIONS.c.definition)
    rows = connection.execute(query.where(key.in_(versions)))
    return {Version(row[0], row[1]): decoded(row[2]) for row in rows}


def find_executions(connection: Connection, execution_ids: Sequence[str]) -> list[Execution]:
    """Those of these executions that there are."""
    query = select(EXECUTIONS).where(EXECUTIONS.c.execution_id.in_(execution_ids))
    return [execution_of(row) for row in connection.execute(query)]


def page_of_executions(
    connection: Connection,
    workflow_id: str,
    *,
    limit: int,
    before: str | None,
    status: ExecutionStatus | None = None,
) -> list[Execution]:
    """A workflow's executions, newest first, from behind the one named."""
    query = select(EXECUTIONS).where(EXECUTIONS.c.workflow_id == workflow_id)
    if status is not None:
        query = query.where(EXECUTIONS.c.status == status.value)
    order = (EXECUTIONS.c.started_at, EXECUTIONS.c.execution_id)
    if before is not None:
        place = select(*order).where(EXECUTIONS.c.execution_id == before)
        row = connection.execute(place).one_or_none()
        if row is None:
            return []
        query = query.where(tuple_(*order) < tuple(row))
    query = query.order_by(*(column.desc() for column in order)).limit(limit)
    return [execution_of(row) for row in connection.execute(query)]


def all_runs(
    connection: Connection, execution_ids: Sequence[str], *, limit: int
) -> dict[str, list[Run]]:
    """What was done for these executions, items and all, in order; so many runs at most."""
    query = select(RUNS).where(RUNS.c.execution_id.in_(execution_ids))
    query = query.order_by(RUNS.c.execution_id, RUNS.c.position, RUNS.c.item).limit(limit)
    found: dict[str, list[Run]] = {}
    for row in connection.execute(query):
        found.setdefault(row.execution_id, []).append(run_of(row))
    return found


def find_runs(connection: Connection, execution_ids: Sequence[str]) -> dict[str, dict[int, Run]]:
    """What was done for each step of these executions, by position; without items."""
    query = select(RUNS).where(RUNS.c.execution_id.in_(execution_ids), RUNS.c.item == -1)
    found: dict[str, dict[int, Run]] = {}
    for row in connection.execute(query):
        found.setdefault(row.execution_id, {})[row.position] = run_of(row)
    return found


_ITEMS = (
    select(RUNS)
    .where(
        RUNS.c.execution_id == bindparam("of_execution"),
        RUNS.c.position == bindparam("of_position"),
        RUNS.c.item >= bindparam("first"),
        RUNS.c.item >= 0,
    )
    .order_by(RUNS.c.item)
    .limit(bindparam("most"))
)


def items(connection: Connection, wanted: ItemsOf) -> list[Run]:
    """Some items of a step, in order."""
    execution_id, position, first, limit = wanted
    values = {"of_execution": execution_id, "of_position": position, "first": first, "most": limit}
    return [run_of(row) for row in connection.execute(_ITEMS, values)]


def open_runs(
    connection: Connection, execution_id: str, *, positions: Sequence[int] | None = None
) -> list[Run]:
    """What has not ended of an execution; of some steps only."""
    query = select(RUNS).where(RUNS.c.execution_id == execution_id, RUNS.c.ended_at.is_(None))
    if positions is not None:
        query = query.where(RUNS.c.position.in_(positions))
    return [run_of(row) for row in connection.execute(query.order_by(RUNS.c.position, RUNS.c.item))]


def pending_items(
    connection: Connection, execution_id: str, position: int, *, first: int, limit: int
) -> list[Run]:
    """The next items of a step that have not begun, from one on."""
    query = (
        select(RUNS)
        .where(RUNS.c.execution_id == execution_id, RUNS.c.position == position)
        .where(RUNS.c.item >= first, RUNS.c.status == StepStatus.PENDING.value)
        .order_by(RUNS.c.item)
        .limit(limit)
    )
    return [run_of(row) for row in connection.execute(query)]


def has_cancelled_items(connection: Connection, execution_id: str, position: int) -> bool:
    """Whether items of a step were cancelled."""
    query = (
        select(RUNS.c.item)
        .where(RUNS.c.execution_id == execution_id, RUNS.c.position == position)
        .where(RUNS.c.item >= 0, RUNS.c.status == StepStatus.CANCELLED.value)
    )
    return connection.execute(query.limit(1)).first() is not None


def runs_awaiting(connection: Connection, event: EventKey, *, limit: int) -> list[TasksRun]:
    """The steps that this event would answer now, by execution."""
    event_type, correlation_id = event
    column = RUNS.c.correlation_id
    query = (
        select(RUNS)
        # As the partial index has it.
        .where(RUNS.c.event_type.is_not(None), RUNS.c.event_type == event_type)
        .where(column.is_(None) if correlation_id is None else column == correlation_id)
        .where(RUNS.c.status == StepStatus.WAITING.value)
        .order_by(RUNS.c.execution_id, RUNS.c.position)
        .limit(limit)
    )
    return [TasksRun(row.execution_id, run_of(row)) for row in connection.execute(query)]


# --- locks


_OF_TASKS = (
    select(RUNS.c.execution_id)
    .distinct()
    .where(RUNS.c.task_id.in_(bindparam("task_ids", expanding=True)))
)


def executions_of_tasks(connection: Connection, task_ids: Sequence[str]) -> list[str]:
    """The executions that these tasks are for; most tasks are for none."""
    return list(connection.execute(_OF_TASKS, {"task_ids": task_ids}).scalars())


def outermost(connection: Connection, execution_ids: Iterable[str]) -> set[str]:
    """The executions that these are steps of, at any depth, or are themselves."""
    found: set[str] = set()
    left = set(execution_ids)
    while left:
        query = select(EXECUTIONS.c.execution_id, EXECUTIONS.c.parent_id)
        rows = connection.execute(query.where(EXECUTIONS.c.execution_id.in_(left))).all()
        found |= {row[0] for row in rows if row[1] is None}
        left = {row[1] for row in rows if row[1] is not None}
    return found


def lock_executions(connection: Connection, execution_ids: Iterable[str]) -> None:
    """Lock executions for this transaction, in the order of their ids."""
    ids = sorted(execution_ids)
    if ids:
        query = select(EXECUTIONS.c.execution_id).where(EXECUTIONS.c.execution_id.in_(ids))
        connection.execute(query.order_by(EXECUTIONS.c.execution_id).with_for_update())


def is_known(connection: Connection, workflow_id: str) -> bool:
    """Whether there is, or was, such a workflow."""
    query = select(WORKFLOWS.c.workflow_id).where(WORKFLOWS.c.workflow_id == workflow_id)
    return connection.execute(query).first() is not None


def executing(connection: Connection, workflow_id: str) -> list[str]:
    """The workflows with a step, in their newest versions, that executes this one; by id."""
    mentions = VERSIONS.c.definition.contains(f'"{workflow_id}"', autoescape=True)
    found = (workflow_of(row) for row in connection.execute(NEWEST.where(mentions)))
    return sorted(
        one.workflow_id
        for one in found
        if any(step.workflow_id == workflow_id for step in one.definition.steps)
    )


def hold_workflows(connection: Connection, workflow_ids: Iterable[str]) -> None:
    """Lock workflows for this transaction, in the order of their ids."""
    ids = sorted(workflow_ids)
    if ids:
        query = select(WORKFLOWS.c.workflow_id).where(WORKFLOWS.c.workflow_id.in_(ids))
        connection.execute(query.order_by(WORKFLOWS.c.workflow_id).with_for_update()).all()
