"""The graph's types: what the REST API shows, under the same names in camelCase."""

import msgspec
import strawberry

from sutazai.agents import model as agents
from sutazai.api.graphql.context import Context
from sutazai.api.graphql.nodes import field, node
from sutazai.api.graphql.scalars import Json, Moment
from sutazai.api.task_access import require_readable
from sutazai.errors import not_found
from sutazai.events import model as events
from sutazai.identity import model as identity
from sutazai.identity.model import require
from sutazai.tasks import model as tasks

Info = strawberry.Info[Context, None]

for _status in (tasks.TaskStatus, tasks.PendingReason, agents.AgentStatus):
    strawberry.enum(_status, description=_status.__doc__)


@node
class AgentHealth:
    """Whether an agent answers."""

    status: str
    last_heartbeat: Moment | None
    uptime_seconds: float


@node
class AgentMetrics:
    """What an agent has done; seconds, and rates from 0 to 1, null before the first."""

    tasks_completed: int
    average_duration: float | None
    success_rate: float | None
    error_rate: float | None
    cache_hit_rate: float | None


@node
class AgentResources:
    """What the processes that host an agent use: percent of a core, and MiB."""

    cpu_usage: float | None
    memory_usage: float | None
    memory_limit: float | None


@node
class Agent:
    """Who does tasks of certain capabilities."""

    agent_id: str
    name: str
    type: str
    status: agents.AgentStatus
    capabilities: list[str]
    current_load: int
    max_capacity: int
    health: AgentHealth
    configuration: Json
    metrics: AgentMetrics
    resources: AgentResources
    transport: str | None = strawberry.field(
        description="how one from outside gets its work: `http` or `redis`; null for ours"
    )

    @classmethod
    def of(cls, agent: agents.Agent) -> "Agent":
        """An agent as the graph shows it."""
        online = agent.status is not agents.AgentStatus.OFFLINE
        heartbeat = agent.last_heartbeat_at
        metrics = agent.metrics
        return cls(
            agent_id=agent.agent_id,
            name=agent.name,
            type=agent.type,
            status=agent.status,
            capabilities=list(agent.capabilities),
            current_load=agent.current_load,
            max_capacity=agent.max_capacity,
            health=AgentHealth(
                status="healthy" if online else "offline",
                last_heartbeat=None if heartbeat is None else Moment(heartbeat),
                uptime_seconds=agent.uptime_seconds,
            ),
            configuration=Json(agent.configuration),
            metrics=AgentMetrics(
                tasks_completed=metrics.tasks_completed,
                average_duration=metrics.average_duration,
                success_rate=metrics.success_rate,
                error_rate=metrics.error_rate,
                cache_hit_rate=metrics.cache_hit_rate,
            ),
            resources=AgentResources(
                cpu_usage=agent.cpu_usage,
                memory_usage=agent.memory_usage,
                memory_limit=agent.memory_limit,
            ),
            transport=agent.transport,
        )


@node
class User:
    """An account."""

    user_id: str
    username: str
    roles: list[str]
    tier: str
    enabled: bool
    created_at: Moment
    permissions: list[str]

    @classmethod
    def of(cls, user: identity.User) -> "User":
        """An account as the graph shows it."""
        return cls(
            user_id=user.user_id,
            username=user.username,
            roles=list(user.roles),
            tier=user.tier,
            enabled=user.enabled,
            created_at=Moment(user.created_at),
            permissions=list(identity.permissions_of(user.roles)),
        )


@node
class TaskError:
    """Why a task failed."""

    code: str
    message: str


@node
class Task:
    """What a user asked for."""

    stored: strawberry.Private[tasks.Task]
    task_id: str
    type: str
    description: str
    status: tasks.TaskStatus
    pending_reason: tasks.PendingReason | None
    progress: int = strawberry.field(description="0 to 100")
    priority: int = strawberry.field(description="1 to 10; 10 goes first")
    attempt: int
    max_attempts: int
    timeout_seconds: float
    metadata: Json = strawberry.field(
        description="as submitted, with the counters that the agent reports while it runs"
    )
    tags: list[str]
    depends_on: list[str] = strawberry.field(description="ids of tasks")
    parent_task_id: str | None = strawberry.field(description="the task that had it done")
    pinned_agent_id: str | None = strawberry.field(description="the only agent that may do it")
    assigned_agent_id: str | None
    submitted_by: str = strawberry.field(description="a user's id")
    created_at: Moment
    run_at: Moment | None
    started_at: Moment | None
    completed_at: Moment | None
    failed_at: Moment | None
    cancelled_at: Moment | None
    error: TaskError | None
    estimated_completion: Moment | None = strawberry.field(
        default=None, description="only in what createTask answers"
    )

    @classmethod
    def of(cls, task: tasks.Task, *, estimated_completion: int | None = None) -> "Task":
        """A task as the graph shows it."""
        ended = {task.status: moment(task.ended_at)}
        error = task.error
        return cls(
            stored=task,
            task_id=task.task_id,
            type=task.type,
            description=task.description,
            status=task.status,
            pending_reason=task.pending_reason,
            progress=task.progress,
            priority=task.priority,
            attempt=task.attempt,
            max_attempts=task.max_attempts,
            timeout_seconds=task.timeout_seconds,
            metadata=Json({**task.counters, **task.metadata}),
            tags=list(task.tags),
            depends_on=list(task.depends_on),
            parent_task_id=task.parent_task_id,
            pinned_agent_id=task.agent,
            assigned_agent_id=task.assigned_agent,
            submitted_by=task.submitted_by,
            created_at=Moment(task.created_at),
            run_at=moment(task.run_at),
            started_at=moment(task.started_at),
            completed_at=ended.get(tasks.TaskStatus.COMPLETED),
            failed_at=ended.get(tasks.TaskStatus.FAILED),
            cancelled_at=ended.get(tasks.TaskStatus.CANCELLED),
            error=None if error is None else TaskError(code=error.code, message=error.message),
            estimated_completion=moment(estimated_completion),
        )

    @field
    async def result(self, info: Info) -> Json | None:
        """What the agent found; null before.

        Takes `read` on results, or one's own task.
        """
        context = info.context
        require_readable(context.principal, "results", self.stored)
        if not self.stored.status.is_final:
            return None
        text = await context.results.load(self.task_id)
        if text is None:
            return None
        context.charge_characters(len(text))
        return Json(msgspec.Raw(text.encode()))

    @field
    async def assigned_agent(self, info: Info) -> Agent | None:
        """Who does it, or did. Takes `read` on agents."""
        context = info.context
        require(context.principal, "read", "agents")
        if self.assigned_agent_id is None:
            return None
        agent = await context.agents.load(self.assigned_agent_id)
        return None if agent is None else Agent.of(agent)

    @field
    async def submitter(self, info: Info) -> User | None:
        """Who asked for it; null once deleted. Takes `read` on users, or one's own task."""
        context = info.context
        if self.submitted_by != context.principal.user_id:
            require(context.principal, "read", "users")
        user = await context.users.load(self.submitted_by)
        return None if user is None else User.of(user)


def moment(at: int | None) -> Moment | None:
    """A moment that there may be none of."""
    return None if at is None else Moment(at)


@node
class TaskPage:
    """Tasks, newest first, and how many there are in all."""

    tasks: list[Task]
    total: int
    total_is_at_least: bool = strawberry.field(description="whether `total` is a lower bound")
    next_cursor: str | None = strawberry.field(description="`cursor` of the next page, if any")


@node
class Event:
    """Something that changed."""

    id: strawberry.ID = strawberry.field(description="increasing; `since` of a later subscription")
    event_type: str
    timestamp: Moment
    actor: str
    request_id: str | None
    data: Json

    @classmethod
    def of(cls, event: events.Event) -> "Event":
        """An event as the graph shows it."""
        return cls(
            id=strawberry.ID(str(event.id)),
            event_type=event.event_type,
            timestamp=Moment(event.timestamp),
            actor=event.actor,
            request_id=event.request_id,
            data=Json(msgspec.Raw(event.data.encode())),
        )


async def task_of(context: Context, task_id: str) -> tasks.Task:
    """The task, loaded together with others; FORBIDDEN or NOT_FOUND as by `readable_task`."""
    task = await context.tasks.load(task_id)
    require_readable(context.principal, "tasks", task)
    if task is None:
        raise not_found("task", task_id)
    return task
