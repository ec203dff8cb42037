"""What the end of one task means for those that wait for it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from sutazai.agents.service import AgentDirectory
from sutazai.database import Connection
from sutazai.engine import store as jobs
from sutazai.errors import ErrorCode
from sutazai.events import log
from sutazai.events.model import SYSTEM
from sutazai.tasks import children_store, store
from sutazai.tasks.model import PendingReason, TaskEnded, TaskError, TaskStatus
from sutazai.tasks.notices import notice


class Ends(Protocol):
    """Who runs the hooks around tasks' ends."""

    def before_tasks_end(self, connection: Connection, task_ids: Sequence[str]) -> None:
        """Take the locks that come before those of these tasks, which may be about to end."""
        ...

    def task_ended(self, connection: Connection, over: Sequence[TaskEnded], now: int) -> None:
        """Tell whatever waits for these tasks; in the transaction that ends them."""
        ...


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


def _fail(connection: Connection, bad: Mapping[str, TaskEnded], *, now: int) -> list[TaskEnded]:
    why = {
        task_id: TaskError(
            ErrorCode.CONFLICT,
            f"The task {cause.task_id} it depends on ended as {cause.status}.",
        )
        for task_id, cause in bad.items()
    }
    return fail(connection, why, now=now)


def fail(connection: Connection, why: Mapping[str, TaskError], *, now: int) -> list[TaskEnded]:
    """Inside a unit: end tasks that can never be done, and their jobs; those not ended before.

    Whoever calls it has taken the locks that come before, and tells what waits for the tasks.
    """
    for task_id in sorted(why):  # before the tasks: the order in which locks are taken
        jobs.cancel(connection, task_id)
    failed: list[TaskEnded] = []
    for task in store.lock(connection, list(why)).values():
        if task.status.is_final:
            continue
        error = why[task.task_id]
        values = {"error_code": error.code, "error_message": error.message, "ended_at": now}
        store.move(connection, [store.Move(task, TaskStatus.FAILED, values)])
        after = task._replace(status=TaskStatus.FAILED)
        told = {"code": error.code, "message": error.message}
        log.append(connection, [notice("task.failed", after, SYSTEM, error=told)], now=now)
        failed.append(
            TaskEnded(
                task.task_id,
                task.type,
                TaskStatus.FAILED,
                task.submitted_by,
                task.callback_url,
                error=error,
                parent_id=task.parent_id,
            )
        )
    return failed
