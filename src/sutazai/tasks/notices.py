"""The events about tasks, all of one shape."""

from typing import Any

from sutazai.events.model import NewEvent, Origin
from sutazai.tasks.store import Moving

RESOURCE = "tasks"


def notice(event_type: str, task: Moving, origin: Origin, **more: Any) -> NewEvent:
    """An event about a task as it is after the change."""
    data = {
        "task_id": task.task_id,
        "type": task.type,
        "status": task.status,
        "attempt": task.attempt,
    }
    if task.assigned_agent is not None:
        data["assigned_agent"] = task.assigned_agent
    data.update(more)
    return NewEvent(event_type, data, origin, RESOURCE, task.submitted_by)
