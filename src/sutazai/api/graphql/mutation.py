"""What can be done."""

from typing import Annotated

import strawberry

from sutazai.api import task_access
from sutazai.api.graphql.arguments import checked, task_id_of
from sutazai.api.graphql.nodes import field, node
from sutazai.api.graphql.objects import Info, Task
from sutazai.api.graphql.once import replayable
from sutazai.api.graphql.scalars import Json, Written
from sutazai.api.graphql.workflow_mutation import WorkflowMutation
from sutazai.api.rates import CountedSubmission
from sutazai.api.tasks import TaskRequest
from sutazai.identity.model import require
from sutazai.tasks import model


@node
class Mutation(WorkflowMutation):
    """Everything that can be done; several in one request are done one after the other."""

    @field
    async def create_task(
        self,
        info: Info,
        type_: Annotated[str, strawberry.argument(name="type")],
        description: str,
        priority: int = model.DEFAULT_PRIORITY,
        metadata: Json | None = None,
        timeout_seconds: float = model.DEFAULT_TIMEOUT_SECONDS,
        max_attempts: int = model.DEFAULT_ATTEMPTS,
        run_at: Written | None = None,
        depends_on: list[str] | None = None,
        agent: str | None = None,
        tags: list[str] | None = None,
        callback_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Submit a task. Takes `execute` on tasks.

        With an idempotency key (here, or in the header Idempotency-Key) a repeated request answers
        with the task that the first one made, as it is now.
        """
        context = info.context
        require(context.principal, "execute", "tasks")
        request = checked(
            TaskRequest,
            type=type_,
            description=description,
            priority=priority,
            metadata={} if metadata is None else metadata,
            timeout_seconds=timeout_seconds,
            max_attempts=max_attempts,
            run_at=run_at,
            depends_on=depends_on or [],
            agent=agent,
            tags=tags or [],
            callback_url=callback_url,
        )
        replay = replayable(info, request, idempotency_key)
        principal = context.principal
        async with CountedSubmission(context.services, context.scope, principal, replay):
            submitted = await context.services.tasks.submit(
                request.draft(),
                submitted_by=principal.user_id,
                origin=context.origin,
                replay=replay,
            )
        context.done(replay)
        task = await context.services.tasks.get(submitted.task_id)
        return Task.of(task, estimated_completion=submitted.estimated_completion)

    @field
    async def cancel_task(self, info: Info, task_id: str) -> Task:
        """End a task that is waiting or running; one's own, or any with `write` on tasks.

        Cancelling it again changes nothing.
        """
        context = info.context
        task = await task_access.cancel_task(
            context.services.tasks, context.principal, task_id_of(task_id), origin=context.origin
        )
        context.done()
        return Task.of(task)
