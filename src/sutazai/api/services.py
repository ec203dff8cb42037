"""What the HTTP edge calls; bootstrap fills it in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sutazai.agents.outside import OutsideAgents
from sutazai.agents.service import AgentRegistry
from sutazai.callbacks.service import Callbacks
from sutazai.events.feed import EventFeed
from sutazai.events.streams import EventStreams
from sutazai.findings.service import Findings
from sutazai.identity.service import Identity
from sutazai.limits.idempotency import Idempotency
from sutazai.limits.rates import RateLimits
from sutazai.llm.service import Models
from sutazai.metrics import Metrics
from sutazai.schedules.service import Schedules
from sutazai.tasks.assignments import Assignments
from sutazai.tasks.service import Tasks
from sutazai.telemetry.instruments import Instruments
from sutazai.workflows.service import Workflows


@dataclass(frozen=True, kw_only=True)
class Services:
    """One of each feature's service; `started_at` in microseconds.

    `rates` is None where requests are not limited, `redis_is_healthy` where there is no Redis.
    """

    version: str
    started_at: int
    identity: Identity
    idempotency: Idempotency
    tasks: Tasks
    workflows: Workflows
    schedules: Schedules
    callbacks: Callbacks
    findings: Findings
    registry: AgentRegistry
    outside: OutsideAgents
    assignments: Assignments
    events: EventFeed
    streams: EventStreams
    rates: RateLimits | None
    redis_is_healthy: Callable[[], Awaitable[bool]] | None
    metrics: Metrics
    instruments: Instruments
    engine_is_healthy: Callable[[], bool]
    models: Models
