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


def _schedule(name: str, summary: str, *more: str) -> EventType:
    # Those of a workflow's schedule need `read` on workflows instead.
    return EventType(f"schedule.{name}", summary, "tasks", ("schedule_id", "name"), more)


_WORKFLOW = ("workflow_id", "name", "version")
_DUE = ("due_at", "missed")
_USER = ("user_id", "username", "roles", "tier", "enabled")
_KEY = ("user_id", "key_id", "name")

EVENT_TYPES = (
    _task("created", "A task was accepted."),
    _task("queued", "A task that was pending can run now."),
    _task("assigned", "An agent has taken a task."),
    _task("started", "An attempt at a task has begun."),
    _task("progress", "An agent reports how far it is.", "progress"),
    _task("output", "A piece of what an agent is writing.", "text", "call", "offset", "truncated"),
    _task("waiting", "A task waits for what its agent delegated, and holds no agent."),
    _task("resumed", "A task goes on: what its agent delegated has ended."),
    _task("retrying", "An attempt failed; another follows.", "reason", "run_at"),
    _task("completed", "A task completed; its result is there."),
    _task("failed", "A task failed; no attempt follows.", "error"),
    _task("cancelled", "A task was cancelled."),
    EventType(
        "finding.dismissed",
        "A finding was dismissed.",
        "tasks",
        ("task_id", "fingerprint", "reason"),
    ),
    EventType(
        "finding.restored",
        "A dismissal was taken back.",
        "tasks",
        ("task_id", "fingerprint"),
    ),
    _agent("online", "An agent came online.", "status"),
    _agent("offline", "An agent went offline.", "status"),
    _agent("overloaded", "An agent is at capacity.", "status"),
    _agent("status", "An agent's status changed.", "status"),
    _agent("configured", "An agent's configuration was changed.", "updated_fields"),
    _agent("registered", "An agent from outside joined."),
    _agent("updated", "An agent from outside says something else of itself."),
    _agent("key_renewed", "An agent from outside got a new key; the old one ended."),
    _agent("deleted", "An agent from outside was deleted."),
    EventType("workflow.created", "A workflow was created.", "workflows", _WORKFLOW),
    EventType("workflow.updated", "A workflow got a new version.", "workflows", _WORKFLOW),
    EventType("workflow.deleted", "A workflow was deleted.", "workflows", _WORKFLOW),
    _execution("started", "An execution has begun."),
    _execution("step", "A step began, waits, or ended.", "step_id", "status", "task_id"),
    _execution(
        "answered",
        "A person, or an event, answered a step that waits for one.",
        "step_id",
        "approved",
        "event_type",
        "correlation_id",
    ),
    _execution("paused", "An execution begins no more steps."),
    _execution("resumed", "A paused execution goes on."),
    _execution("retried", "An execution does again what failed."),
    _execution("completed", "An execution completed."),
    _execution("failed", "An execution failed.", "reason"),
    _execution("cancelled", "An execution was cancelled."),
    _schedule("created", "A schedule was created."),
    _schedule("updated", "A schedule was changed.", "changed"),
    _schedule("paused", "A schedule fires no more for now."),
    _schedule("resumed", "A schedule has a next due time again."),
    _schedule("deleted", "A schedule was deleted."),
    _schedule("fired", "A due time began something.", *_DUE, "task_id", "execution_id"),
    _schedule("skipped", "No server was there at a due time.", *_DUE, "reason"),
    _schedule("refused", "A due time could begin nothing.", *_DUE, "reason"),
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
