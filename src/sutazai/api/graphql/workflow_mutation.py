"""What can be done with workflows and executions."""

from dataclasses import fields
from typing import Annotated, Any

import msgspec
import strawberry

from sutazai.api.events import EventRequest
from sutazai.api.execution_access import check_own_or
from sutazai.api.executions import ApprovalRequest
from sutazai.api.graphql.arguments import StepKey, checked, execution_id_of, workflow_id_of
from sutazai.api.graphql.nodes import field, given, node
from sutazai.api.graphql.objects import Info
from sutazai.api.graphql.once import replayable
from sutazai.api.graphql.scalars import Json
from sutazai.api.graphql.workflow_objects import AnsweredStep, Execution, Workflow
from sutazai.api.rates import CountedSubmission
from sutazai.api.workflows import ExecuteRequest, WorkflowRequest
from sutazai.identity.model import require
from sutazai.workflows.model import DEFAULT_CONCURRENCY, EventKey


@given
class ForEachInput:
    """One task for each item of a list."""

    items: str = strawberry.field(description="JMESPath")
    concurrency: int = strawberry.field(
        default=DEFAULT_CONCURRENCY, description="how many items at once"
    )


@given
class RetryInput:
    """How often to try."""

    max_attempts: int


@given
class AwaitedEventInput:
    """The event that answers a step of the type `approval`, as a person would."""

    event_type: str
    correlation_id: str | None = strawberry.field(default=None, description="JMESPath")


@given
class StepInput:
    """A step of a workflow."""

    step_id: str
    type: str
    agent: str | None = None
    description: str | None = None
    depends_on: list[str] | None = None
    config: Json | None = None
    metadata: Json | None = None
    input: Json | None = strawberry.field(default=None, description="JMESPath by name")
    when: str | None = strawberry.field(default=None, description="JMESPath")
    for_each: ForEachInput | None = None
    retry: RetryInput | None = None
    timeout_seconds: float | None = None
    on_failure: Json | None = strawberry.field(
        default=None, description='"fail", "continue", or {compensate: the id of a step}'
    )
    workflow_id: str | None = None
    event: AwaitedEventInput | None = None


@node
class WorkflowMutation:
    """The part of `Mutation` that is about workflows."""

    @field
    async def create_workflow(
        self,
        info: Info,
        name: str,
        steps: list[StepInput],
        description: str = "",
        idempotency_key: str | None = None,
    ) -> Workflow:
        """Check and keep a workflow. Takes `write` on workflows."""
        context = info.context
        require(context.principal, "write", "workflows")
        request = _workflow_request(name, description, steps)
        replay = replayable(info, request, idempotency_key)
        workflow = await context.services.workflows.definitions.create(
            request.definition(),
            created_by=context.principal.user_id,
            origin=context.origin,
            replay=replay,
        )
        context.done(replay)
        return Workflow.of(workflow)

    @field
    async def update_workflow(
        self,
        info: Info,
        workflow_id: str,
        name: str,
        steps: list[StepInput],
        description: str = "",
    ) -> Workflow:
        """Make the next version; executions keep theirs. Takes `write` on workflows."""
        context = info.context
        require(context.principal, "write", "workflows")
        asked = workflow_id_of(workflow_id)
        workflow = await context.services.workflows.definitions.update(
            asked, _workflow_request(name, description, steps).definition(), origin=context.origin
        )
        context.done()
        return Workflow.of(workflow)

    @field
    async def delete_workflow(self, info: Info, workflow_id: str) -> str:
        """Take a workflow away; its executions go on. Its id. Takes `write` on workflows."""
        context = info.context
        require(context.principal, "write", "workflows")
        asked = workflow_id_of(workflow_id)
        await context.services.workflows.definitions.delete(asked, origin=context.origin)
        context.done()
        return asked

    @field
    async def execute_workflow(
        self,
        info: Info,
        workflow_id: str,
        input_: Annotated[Json | None, strawberry.argument(name="input")] = None,
        idempotency_key: str | None = None,
    ) -> Execution:
        """Begin a workflow, which then survives any crash. Takes `execute` on workflows."""
        context = info.context
        principal = context.principal
        require(principal, "execute", "workflows")
        asked = workflow_id_of(workflow_id)
        request = checked(ExecuteRequest, input={} if input_ is None else input_)
        replay = replayable(info, request, idempotency_key, asked)
        async with CountedSubmission(context.services, context.scope, principal, replay):
            execution = await context.services.workflows.executions.execute(
                asked,
                request.input,
                submitted_by=principal.user_id,
                origin=context.origin,
                replay=replay,
            )
        context.done(replay)
        return Execution.of(execution)

    @field
    async def cancel_execution(self, info: Info, execution_id: str) -> Execution:
        """End an execution and its tasks; one's own, or any with `write` on workflows."""
        context = info.context
        asked = execution_id_of(execution_id)
        executions = context.services.workflows.executions
        await check_own_or(executions, context.principal, asked, "write")
        execution = await executions.cancel(asked, origin=context.origin)
        context.done()
        return Execution.of(execution)

    @field
    async def retry_execution(
        self, info: Info, execution_id: str, idempotency_key: str | None = None
    ) -> Execution:
        """Do again what failed or was cancelled. Takes `execute` on workflows."""
        context = info.context
        require(context.principal, "execute", "workflows")
        asked = execution_id_of(execution_id)
        replay = replayable(info, None, idempotency_key, asked)
        execution = await context.services.workflows.executions.retry(
            asked, origin=context.origin, replay=replay
        )
        context.done(replay)
        return Execution.of(execution)

    @field
    async def pause_execution(self, info: Info, execution_id: str) -> Execution:
        """Begin no more steps; what runs goes on. Takes `execute` on workflows."""
        context = info.context
        require(context.principal, "execute", "workflows")
        asked = execution_id_of(execution_id)
        execution = await context.services.workflows.executions.pause(asked, origin=context.origin)
        context.done()
        return Execution.of(execution)

    @field
    async def resume_execution(self, info: Info, execution_id: str) -> Execution:
        """Go on with a paused execution. Takes `execute` on workflows."""
        context = info.context
        require(context.principal, "execute", "workflows")
        asked = execution_id_of(execution_id)
        execution = await context.services.workflows.executions.resume(asked, origin=context.origin)
        context.done()
        return Execution.of(execution)

    @field
    async def approve_step(
        self,
        info: Info,
        execution_id: str,
        step_id: str,
        approved: bool,
        comment: str = "",
        idempotency_key: str | None = None,
    ) -> Execution:
        """Let a step that waits for a person go on, or fail. Takes `execute` on workflows."""
        context = info.context
        require(context.principal, "execute", "workflows")
        asked = checked(StepKey, execution_id=execution_id, step_id=step_id)
        request = checked(ApprovalRequest, approved=approved, comment=comment)
        replay = replayable(info, request, idempotency_key, asked.execution_id, asked.step_id)
        execution = await context.services.workflows.executions.approve(
            asked.execution_id,
            asked.step_id,
            approved=request.approved,
            comment=request.comment,
            user_id=context.principal.user_id,
            origin=context.origin,
            replay=replay,
        )
        context.done(replay)
        return Execution.of(execution)

    @field
    async def post_event(
        self,
        info: Info,
        event_type: str,
        data: Json,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> list[AnsweredStep]:
        """Answer the approval steps that wait for an event; those. Takes `execute` on workflows."""
        context = info.context
        require(context.principal, "execute", "workflows")
        request = checked(
            EventRequest, event_type=event_type, correlation_id=correlation_id, data=data
        )
        replay = replayable(info, request, idempotency_key)
        answered = await context.services.workflows.executions.post_event(
            EventKey(request.event_type, request.correlation_id),
            request.data.model_dump(exclude_unset=True),
            user_id=context.principal.user_id,
            origin=context.origin,
            replay=replay,
        )
        context.done(replay)
        return [AnsweredStep(**msgspec.structs.asdict(one)) for one in answered]


def _workflow_request(name: str, description: str, steps: list[StepInput]) -> WorkflowRequest:
    said = [_plain(step) for step in steps]
    return checked(WorkflowRequest, name=name, description=description, steps=said)


def _plain(value: Any) -> dict[str, Any]:
    """An input as REST takes it; what was not given, or is null, is left out."""
    said = {}
    for one in fields(value):
        inner = getattr(value, one.name)
        if inner is not None:
            nested = isinstance(inner, (AwaitedEventInput, ForEachInput, RetryInput))
            said[one.name] = _plain(inner) if nested else inner
    return said
