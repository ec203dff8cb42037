"""What can be asked."""

from typing import Annotated

import strawberry

from sutazai import clock
from sutazai.api import task_access
from sutazai.api.graphql.arguments import AgentKey, TaskListing, checked, task_id_of
from sutazai.api.graphql.nodes import field, node
from sutazai.api.graphql.objects import Agent, Info, Task, TaskPage, User, task_of
from sutazai.api.graphql.scalars import Written
from sutazai.api.graphql.workflow_query import WorkflowQuery
from sutazai.identity.model import require
from sutazai.tasks.model import TaskFilter, TaskStatus


@node
class Query(WorkflowQuery):
    """Everything that can be asked."""

    @field
    async def task(self, info: Info, task_id: str) -> Task:
        """A task; one's own, or any with `read` on tasks."""
        return Task.of(await task_of(info.context, task_id_of(task_id)))

    @field
    async def tasks(
        self,
        info: Info,
        status: TaskStatus | None = None,
        type_: Annotated[str | None, strawberry.argument(name="type")] = None,
        agent: str | None = None,
        priority: int | None = None,
        tag: str | None = None,
        submitter: str | None = None,
        created_after: Written | None = None,
        created_before: Written | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> TaskPage:
        """Everybody's tasks for who may read tasks, otherwise one's own; newest first.

        `agent` is the one they were assigned to; `submitter` is a user's id, or `me`.
        """
        asked = checked(
            TaskListing,
            status=status,
            type=type_,
            agent=agent,
            priority=priority,
            tag=tag,
            submitter=submitter,
            created_after=created_after,
            created_before=created_before,
            limit=limit,
            cursor=cursor,
        )
        context = info.context
        context.charge_listed(asked.limit, "tasks")
        after, before = asked.created_after, asked.created_before
        wanted = TaskFilter(
            status=asked.status,
            type=asked.type,
            agent=asked.agent,
            priority=asked.priority,
            tag=asked.tag,
            submitted_by=task_access.listed_submitter(context.principal, asked.submitter),
            created_after=None if after is None else clock.from_datetime(after),
            created_before=None if before is None else clock.from_datetime(before),
        )
        page = await context.services.tasks.list_tasks(
            wanted, limit=asked.limit, cursor=None if asked.cursor is None else str(asked.cursor)
        )
        return TaskPage(
            tasks=[Task.of(one) for one in page.tasks],
            total=page.total,
            total_is_at_least=page.total_is_at_least,
            next_cursor=page.next_cursor,
        )

    @field
    async def agents(self, info: Info) -> list[Agent]:
        """Every agent that has registered. Takes `read` on agents."""
        context = info.context
        require(context.principal, "read", "agents")
        found = await context.services.registry.list_agents()
        return [Agent.of(one) for one in found]

    @field
    async def agent(self, info: Info, agent_id: str) -> Agent:
        """An agent. Takes `read` on agents."""
        context = info.context
        require(context.principal, "read", "agents")
        asked = checked(AgentKey, agent_id=agent_id)
        return Agent.of(await context.services.registry.get_agent(asked.agent_id))

    @field
    async def me(self, info: Info) -> User:
        """Who asks."""
        context = info.context
        return User.of(await context.services.identity.me(context.principal))
