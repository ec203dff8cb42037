"""What an event is."""

from typing import Any

import msgspec


class Origin(msgspec.Struct, frozen=True):
    """Who caused a change: `user:<id>`, `agent:<id>` or `system`, and in which request."""

    actor: str
    request_id: str | None = None


SYSTEM = Origin("system")


class NewEvent(msgspec.Struct, frozen=True):
    """An event about to be written.

    `resource` is what a reader needs the `read` permission on (`tasks`, `agents`, `users` …);
    `owner` is the user who may read it even without.
    """

    event_type: str
    data: dict[str, Any]
    origin: Origin
    resource: str
    owner: str | None = None


class Event(msgspec.Struct, frozen=True):
    """An event of the log; `timestamp` in microseconds, `data` as the JSON text written."""

    id: int
    event_type: str
    timestamp: int
    actor: str
    request_id: str | None
    resource: str
    owner: str | None
    data: str


class EventPage(msgspec.Struct, frozen=True):
    """Events in id order, the cursor to ask for more with, and whether this was the end by now."""

    events: list[Event]
    next_after: int
    at_end: bool
