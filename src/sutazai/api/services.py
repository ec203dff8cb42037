"""What the HTTP edge calls; bootstrap fills it in."""

from collections.abc import Callable
from dataclasses import dataclass

from sutazai.agents.service import AgentRegistry
from sutazai.callbacks.service import Callbacks
from sutazai.events.feed import EventFeed
from sutazai.events.streams import EventStreams
from sutazai.identity.service import Identity
from sutazai.limits.idempotency import Idempotency
from sutazai.tasks.service import Tasks


@dataclass(frozen=True, kw_only=True)
class Services:
    """One of each feature's service; `started_at` in microseconds."""

    version: str
    started_at: int
    identity: Identity
    idempotency: Idempotency
    tasks: Tasks
    callbacks: Callbacks
    registry: AgentRegistry
    events: EventFeed
    streams: EventStreams
    engine_is_healthy: Callable[[], bool]
