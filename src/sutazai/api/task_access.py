"""Whose tasks one may list, read and cancel: the same rule at every door."""

from sutazai.errors import ErrorCode, SutazaiError
from sutazai.events.model import Origin
from sutazai.identity.model import Principal, require
from sutazai.tasks.model import Task
from sutazai.tasks.service import Tasks


def require_readable(principal: Principal, resource: str, task: Task | None) -> None:
    """FORBIDDEN unless the principal may read the resource, or submitted the task.

    None stands for a task that does not exist: who may not read must not learn that.
    """
    if task is None or task.submitted_by != principal.user_id:
        require(principal, "read", resource)


async def readable_task(
    tasks: Tasks, principal: Principal, task_id: str, resource: str = "tasks"
) -> Task:
    """The task; FORBIDDEN or NOT_FOUND, see `require_readable`."""
    try:
        task = await tasks.get(task_id)
    except SutazaiError as error:
        if error.code is ErrorCode.NOT_FOUND:
            require_readable(principal, resource, None)
        raise
    require_readable(principal, resource, task)
    return task


def listed_submitter(principal: Principal, submitter: str | None) -> str | None:
    """Whose tasks a list is narrowed to: None for everybody's, which takes `read` on tasks.

    `submitter` is what was asked for: a user's id, or `me`.
    """
    mine = principal.user_id
    wanted = mine if submitter == "me" else submitter
    if principal.may("read", "tasks"):
        return wanted
    if wanted not in (None, mine):
        require(principal, "read", "tasks")
    return mine


async def cancel_task(tasks: Tasks, principal: Principal, task_id: str, *, origin: Origin) -> Task:
    """Cancel one's own task, or any with `write` on tasks; see `Tasks.cancel`."""
    if not principal.may("write", "tasks"):
        task = await readable_task(tasks, principal, task_id)
        if task.submitted_by != principal.user_id:
            require(principal, "write", "tasks")
    return await tasks.cancel(task_id, origin=origin)
