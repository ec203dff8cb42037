"""Every type of event there is, and what its data holds; a test sees that none is missing."""

from typing import NamedTuple

PUBLISHED = frozenset({"agents", "tasks", "workflows"})
"""The resources whose events are for channels that know no users, so not what tells of accounts."""

_TASK = ("task_id", "type", "status", "attempt")


class EventType(NamedTuple):
    """One type: `always` and `sometimes` are the fields of its data."""

    name: str
    summary: str
    resource: str
    always: tuple[str, ...]
    sometimes: tuple[str, ...] = ()


def _task(name: str, summary: str, *more: str) -> EventType:
    return EventType(f"task.{name}", summary, "tasks", _TASK, ("assigned_agent", *more))


def _agent(name: str, summary: str, *more: str) -> EventType:
    return EventType(f"agent.{name}", summary, "agents", ("agent_id", *more))


def _session(name: str, summary: str, *more: str) -> EventType:
    return EventType(f"session.{name}", summary, "users", ("user_id", "session_id"), more)


def _execution(name: str, summary: str, *more: str) -> EventType:
    fields = ("execution_id", "workflow_id")
    return EventType(f"workflow.{name}", summary, "workflows", fields, more)


_WORKFLOW = ("workflow_id", "name", "version")
_USER = ("user_id", "username", "roles", "tier", "enabled")
_KEY = ("user_id", "key_id", "name")

EVENT_TYPES = (
    _task("created", "A task was accepted."),
    _task("queued", "A task that was pending can run now."),
    _task("assigned", "An agent has taken a task."),
    _task("started", "An attempt at a task has begun."),
    _task("progress", "An agent reports how far it is.", "progress"),
    _task("waiting", "A task waits for what its agent delegated, and holds no agent."),
    _task("resumed", "A task goes on: what its agent delegated has ended."),
    _task("retrying", "An attempt failed; another follows.", "reason", "run_at"),
    _task("completed", "A task completed; its result is there."),
    _task("failed", "A task failed; no attempt follows.", "error"),
    _task("cancelled", "A task was cancelled."),
    _agent("online", "An agent came online.", "status"),
    _agent("offline", "An agent went offline.", "status"),
    _agent("overloaded", "An agent is at capacity.", "status"),
    _agent("status", "An agent's status changed.", "status"),
    _agent("configured", "An agent's configuration was changed.", "updated_fields"),
    EventType("workflow.created", "A workflow was created.", "workflows", _WORKFLOW),
    EventType("workflow.updated", "A workflow got a new version.", "workflows", _WORKFLOW),
    EventType("workflow.deleted", "A workflow was deleted.", "workflows", _WORKFLOW),
    _execution("started", "An execution has begun."),
    _execution("step", "A step began, waits, or ended.", "step_id", "status", "task_id"),
    _execution("paused", "An execution begins no more steps."),
    _execution("resumed", "A paused execution goes on."),
    _execution("retried", "An execution does again what failed."),
    _execution("completed", "An execution completed."),
    _execution("failed", "An execution failed.", "reason"),
    _execution("cancelled", "An execution was cancelled."),
    EventType("user.created", "A user was created.", "users", _USER),
    EventType("user.updated", "A user was changed.", "users", (*_USER, "changed")),
    EventType("user.deleted", "A user was deleted.", "users", _USER),
    _session("created", "Somebody logged in.", "address"),
    _session("refreshed", "A session got a new pair of tokens."),
    _session("revoked", "A session was ended."),
    _session("reused", "A spent refresh token came again; its session was ended."),
    EventType("api_key.created", "An API key was made.", "users", _KEY),
    EventType("api_key.deleted", "An API key was deleted.", "users", _KEY),
    EventType("callback_secret.created", "A secret was made.", "users", ("user_id",)),
)
