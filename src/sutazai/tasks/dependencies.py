"""What the end of one task means for those that wait for it."""

from collections.abc import Sequence

from sutazai.agents.service import AgentDirectory
from sutazai.database import Connection
from sutazai.engine import store as jobs
from sutazai.errors import ErrorCode
from sutazai.events import log
from sutazai.events.model import SYSTEM
from sutazai.tasks import children_store, store
from sutazai.tasks.model import PendingReason, TaskEnded, TaskError, TaskStatus
from sutazai.tasks.notices import notice


def make_queued(
    connection: Connection, task_ids: Sequence[str], directory: AgentDirectory, *, now: int
) -> None:
    """Move pending tasks that have become runnable to queued, or say that they lack an agent."""
    waiting = [
        task
        for task in store.lock(connection, task_ids).values()
        if task.status is TaskStatus.PENDING
    ]
    able = [task for task in waiting if directory.serves(task.type, task.agent)]
    unable = [task for task in waiting if not directory.serves(task.type, task.agent)]
    for reason in (PendingReason.NO_AGENT, PendingReason.NO_MODEL):
        lack = [one.task_id for one in unable if lacking(one.type, one.agent, directory) is reason]
        store.set_pending_reason(connection, lack, reason)
    store.move(connection, [store.Move(task, TaskStatus.QUEUED, {}) for task in able])
    queued = [task._replace(status=TaskStatus.QUEUED) for task in able]
    log.append(connection, [notice("task.queued", task, SYSTEM) for task in queued], now=now)


def lacking(task_type: str, agent_id: str | None, directory: AgentDirectory) -> PendingReason:
    """What is missing where nobody online would take a task."""
    waits = directory.waits_for_model(task_type, agent_id)
    return PendingReason.NO_MODEL if waits else PendingReason.NO_AGENT


def let_go_idle(connection: Connection, parked: Sequence[str], *, now: int) -> None:
    """Inside the unit that parks tasks: let those go on whose last child has ended meanwhile."""
    busy = {child.parent_id for child in children_store.open_children(connection, parked)}
    idle = [task_id for task_id in parked if task_id not in busy]
    if idle:
        jobs.unhold(connection, idle, now=now)


def follow(
    connection: Connection, over: Sequence[TaskEnded], directory: AgentDirectory, *, now: int
) -> list[TaskEnded]:
    """Release or fail the dependents of tasks that just ended; those that failed through it."""
    ended = {task.task_id: task for task in over}
    if not ended:
        return []
    bad: dict[str, TaskEnded] = {}
    perhaps_free: dict[str, None] = {}
    for task_id, other in store.dependents(connection, list(ended)):
        if ended[other].status is TaskStatus.COMPLETED:
            perhaps_free[task_id] = None
        else:
            bad[task_id] = ended[other]
    # Of two transactions that end what one task waits for, the later one is to see the earlier.
    jobs.lock(connection, list(perhaps_free))
    free = [
        task_id
        for task_id in perhaps_free
        if task_id not in bad and not store.unfinished_dependencies(connection, task_id)
    ]
    if free:
        ready = jobs.unhold(connection, free, now=now)
        make_queued(connection, [job.key for job in ready], directory, now=now)
        store.set_pending_reason(
            connection, sorted(set(free) - {job.key for job in ready}), PendingReason.SCHEDULED
        )
    return _fail(connection, bad, now=now) if bad else []


def _fail(connection: Connection, bad: dict[str, TaskEnded], *, now: int) -> list[TaskEnded]:
    failed: list[TaskEnded] = []
    for task_id in sorted(bad):  # before the tasks: the order in which locks are taken
        jobs.cancel(connection, task_id)
    for task in store.lock(connection, list(bad)).values():
        if task.status.is_final:
            continue
        cause = bad[task.task_id]
        message = f"The task {cause.task_id} it depends on ended as {cause.status}."
        values = {"error_code": ErrorCode.CONFLICT, "error_message": message, "ended_at": now}
        store.move(connection, [store.Move(task, TaskStatus.FAILED, values)])
        error = {"code": ErrorCode.CONFLICT, "message": message}
        after = task._replace(status=TaskStatus.FAILED)
        log.append(connection, [notice("task.failed", after, SYSTEM, error=error)], now=now)
        told = TaskError(ErrorCode.CONFLICT, message)
        failed.append(
            TaskEnded(
                task.task_id,
                task.type,
                TaskStatus.FAILED,
                task.submitted_by,
                task.callback_url,
                error=told,
                parent_id=task.parent_id,
            )
        )
    return failed
