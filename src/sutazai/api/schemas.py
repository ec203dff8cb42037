"""The shapes of the answers, for the OpenAPI document; tests hold the answers to them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from sutazai.agents.contract import FAILURE_CODE
from sutazai.agents.model import AgentStatus, Transport
from sutazai.callbacks.model import DeliveryStatus
from sutazai.errors import ErrorCode
from sutazai.identity.model import Role, Tier
from sutazai.tasks.model import PendingReason, TaskStatus


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class ErrorBody(BaseModel):
    """What went wrong, and where to ask about it."""

    code: ErrorCode
    message: str
    details: list[FieldError] | None = None
    timestamp: datetime
    request_id: str


class Error(BaseModel):
    """The envelope of every error."""

    error: ErrorBody


_REASONS = {
    400: "The request cannot be read",
    401: "No valid access token or API key",
    403: "The caller's roles do not allow it",
    404: "There is no such resource",
    409: "It conflicts with the current state",
    413: "The body is larger than 10 MiB",
    415: "The body does not claim to be JSON",
    422: "A field is wrong; the details say which",
    429: "Too many requests; Retry-After says when to come back",
    500: "Something went wrong on the server's side",
    503: "The database or an agent is out of reach; try again",
    504: "It was not done in time",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an operation beside those that follow from its shape (see `openapi`)."""
    return {status: {"model": Error, "description": _REASONS[status]} for status in statuses}


class Task(BaseModel):
    """A task as it was accepted."""

    task_id: UUID
    type: str
    description: str
    status: TaskStatus
    priority: Annotated[int, Field(ge=1, le=10)]
    estimated_completion: datetime | None
    assigned_agent: str | None
    created_at: datetime
    pending_reason: PendingReason | None = None


class TaskFailure(BaseModel):
    """Why a task failed; `code` is one of the server's codes, or one of its agent's own."""

    code: Annotated[str, Field(pattern=f"^{FAILURE_CODE}$", examples=["VALIDATION_ERROR"])]
    message: str


class TaskDetails(BaseModel):
    """A task as it is now."""

    task_id: UUID
    type: str
    description: str
    status: TaskStatus
    progress: Annotated[int, Field(ge=0, le=100)]
    priority: Annotated[int, Field(ge=1, le=10)]
    assigned_agent: str | None
    attempt: int
    max_attempts: int
    timeout_seconds: float
    created_at: datetime
    started_at: datetime | None
    submitted_by: str
    metadata: dict[str, Any]
    tags: list[str]
    depends_on: list[UUID]
    parent_task_id: UUID | None = None
    run_at: datetime | None = None
    agent: str | None = None
    pending_reason: PendingReason | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    cancelled_at: datetime | None = None
    error: TaskFailure | None = None


class TaskList(BaseModel):
    """A page of tasks."""

    tasks: list[TaskDetails]
    total: int
    limit: int
    offset: int
    next_cursor: UUID | None
    total_is_at_least: bool = False


class CancelledTask(BaseModel):
    """A task that was cancelled."""

    task_id: UUID
    status: Literal[TaskStatus.CANCELLED]
    cancelled_at: datetime


class TaskOutcome(BaseModel):
    """How a task ended."""

    task_id: UUID
    type: str
    status: Literal[TaskStatus.COMPLETED, TaskStatus.FAILED]
    result: Annotated[Any, Field(description="of a failed task: what there is all the same")]
    completed_at: datetime
    error: TaskFailure | None = None


class DismissedFinding(BaseModel):
    """A dismissal; `for_everybody` or for the user alone who made it."""

    fingerprint: str
    reason: str
    dismissed_by: str
    dismissed_at: datetime
    for_everybody: bool


class FindingList(BaseModel):
    """A page of what a task found, as its result has it, each with `dismissed`."""

    findings: list[dict[str, Any]]
    total: int
    limit: int
    offset: int


class AgentHealth(BaseModel):
    """Whether an agent answers."""

    status: Literal["healthy", "offline"]
    last_heartbeat: datetime | None
    uptime_seconds: int


class AgentSummary(BaseModel):
    """An agent in the list."""

    agent_id: str
    name: str
    type: str
    status: AgentStatus
    capabilities: list[str]
    current_load: int
    max_capacity: int
    health: AgentHealth
    transport: Transport | None = None


class AgentMetrics(BaseModel):
    """What an agent has done; durations in seconds, rates from 0 to 1, null before the first."""

    tasks_completed: int
    average_duration: float | None
    success_rate: float | None
    error_rate: float | None
    cache_hit_rate: float | None


class AgentResources(BaseModel):
    """What an agent's processes use: percent of a core, and MiB; null where nothing is known."""

    cpu_usage: float | None
    memory_usage: float | None
    memory_limit: float | None


class AgentDetails(AgentSummary):
    """An agent with its configuration and figures."""

    configuration: dict[str, Any]
    metrics: AgentMetrics
    resources: AgentResources


class AgentList(BaseModel):
    """Every agent; `active` are online, `idle` have no load, `busy` are at capacity."""

    agents: list[AgentSummary]
    total: int
    active: int
    idle: int
    busy: int


class AgentConfiguration(BaseModel):
    """An agent's configuration after a change."""

    agent_id: str
    updated_fields: list[str]
    configuration: dict[str, Any]


class Tokens(BaseModel):
    """A session's tokens; `expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"]
    expires_in: int


class User(BaseModel):
    """An account."""

    user_id: str
    username: str
    roles: list[Role]
    tier: Tier
    enabled: bool
    created_at: datetime


class Me(User):
    """The caller's own account."""

    permissions: list[str]


class UserList(BaseModel):
    """A page of accounts."""

    users: list[User]
    total: int
    limit: int
    offset: int


class ApiKey(BaseModel):
    """An API key without its secret."""

    key_id: str
    user_id: str
    name: str
    hint: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewApiKey(ApiKey):
    """A key just made, with the secret that is shown this once."""

    api_key: str


class ApiKeyList(BaseModel):
    """The caller's API keys."""

    keys: list[ApiKey]


class LogEvent(BaseModel):
    """An event of the log."""

    id: int
    event_type: str
    timestamp: datetime
    actor: str
    request_id: str | None
    data: dict[str, Any]


class EventList(BaseModel):
    """Events in order, and the cursor to go on with."""

    events: list[LogEvent]
    next_after: int


class Ticket(BaseModel):
    """What opens one event stream, once, within so many seconds."""

    ticket: str
    expires_in: int


class CallbackSecret(BaseModel):
    """A secret just made, shown this once; the one before signs beside it for a while."""

    secret: Annotated[str, Field(pattern="^whsec_")]
    created_at: datetime
    previous_valid_until: datetime | None


class CallbackAttempt(BaseModel):
    """One try at a delivery; `error` says why it does not count as delivered."""

    started_at: datetime
    duration_seconds: float
    status_code: int | None
    error: str | None


class CallbackDelivery(BaseModel):
    """A message about one task's end; its id is the `webhook-id` of every attempt."""

    delivery_id: UUID
    task_id: UUID
    user_id: str
    url: str
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: datetime | None
    ended_at: datetime | None
    attempts: list[CallbackAttempt]


class CallbackDeliveryList(BaseModel):
    """A page of deliveries."""

    deliveries: list[CallbackDelivery]
    limit: int
    next_cursor: UUID | None


class TaskCallback(BaseModel):
    """What a callback says; under 20 kB, with `result_url` instead of a larger result."""

    task_id: UUID
    status: Literal[TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED]
    result: Any
    error: TaskFailure | None = None
    result_url: str | None = None


class PartsHealth(BaseModel):
    """How each part of the server is."""

    database: Literal["healthy", "unhealthy"]
    redis: Literal["embedded", "healthy", "unhealthy"]
    ollama: Literal["unavailable"]
    agents: Literal["healthy", "degraded", "unhealthy"]
    engine: Literal["healthy", "unhealthy"]


class Health(BaseModel):
    """How the server is; `uptime` in seconds."""

    status: Literal["healthy", "degraded", "unhealthy"]
    version: str
    uptime: int
    services: PartsHealth
    timestamp: datetime


class SystemMetrics(BaseModel):
    """The machine, or the container where that is limited: per cent, and memory in MiB."""

    cpu_usage: float
    memory_usage: int
    memory_total: int
    disk_usage: float


class AgentFigures(BaseModel):
    """The agents, and their tasks; today began at midnight UTC."""

    total: int
    active: int
    tasks_queued: int
    tasks_processing: int
    tasks_completed_today: int


class PerformanceMetrics(BaseModel):
    """Seconds, and rates from 0 to 1, of the last hour; null where nothing was measured."""

    average_task_duration: float | None
    p95_task_duration: float | None
    cache_hit_rate: float | None = Field(description="of all look-ups so far")
    error_rate: float | None = Field(description="of the tasks that ran")


class ModelMetrics(BaseModel):
    """Use of language models since midnight UTC."""

    calls_today: int
    tokens_today: int
    cost_today: float | None = Field(description="USD; null where a price is missing")


class MetricsReport(BaseModel):
    """How everything is doing."""

    system: SystemMetrics
    agents: AgentFigures
    performance: PerformanceMetrics
    models: ModelMetrics
