"""What can be asked about workflows and executions."""

from typing import Annotated

import strawberry

from sutazai.api.graphql.arguments import (
    ExecutionListing,
    WorkflowListing,
    checked,
    execution_id_of,
    workflow_id_of,
)
from sutazai.api.graphql.nodes import field, node
from sutazai.api.graphql.objects import Info
from sutazai.api.graphql.scalars import Json
from sutazai.api.graphql.workflow_objects import (
    Execution,
    ExecutionPage,
    Plan,
    Workflow,
    WorkflowPage,
    execution_of,
)
from sutazai.api.workflows import ExecuteRequest
from sutazai.identity.model import require


@node
class WorkflowQuery:
    """The part of `Query` that is about workflows."""

    @field
    async def workflow(self, info: Info, workflow_id: str) -> Workflow:
        """A workflow in its newest version. Takes `read` on workflows."""
        context = info.context
        require(context.principal, "read", "workflows")
        asked = workflow_id_of(workflow_id)
        return Workflow.of(await context.services.workflows.definitions.get(asked))

    @field
    async def workflows(
        self, info: Info, limit: int = 20, cursor: str | None = None
    ) -> WorkflowPage:
        """Every workflow in its newest version, newest first. Takes `read` on workflows."""
        context = info.context
        require(context.principal, "read", "workflows")
        asked = checked(WorkflowListing, limit=limit, cursor=cursor)
        context.charge_listed(asked.limit, "workflows")
        definitions = context.services.workflows.definitions
        page = await definitions.list_workflows(limit=asked.limit, cursor=asked.cursor)
        return WorkflowPage(
            workflows=[Workflow.of(one) for one in page.workflows], next_cursor=page.next_cursor
        )

    @field
    async def plan_workflow(
        self,
        info: Info,
        workflow_id: str,
        input_: Annotated[Json | None, strawberry.argument(name="input")] = None,
    ) -> Plan:
        """What an execution with this input would do; executes nothing.

        Takes `read` on workflows.
        """
        context = info.context
        require(context.principal, "read", "workflows")
        asked = workflow_id_of(workflow_id)
        request = checked(ExecuteRequest, input={} if input_ is None else input_)
        plan = await context.services.workflows.definitions.plan(asked, request.input)
        context.charge_steps(len(plan.steps))
        return Plan.of(plan)

    @field
    async def execution(self, info: Info, execution_id: str) -> Execution:
        """An execution; one's own, or any with `read` on workflows."""
        return Execution.of(await execution_of(info, execution_id_of(execution_id)))

    @field
    async def executions(
        self, info: Info, workflow_id: str, limit: int = 20, cursor: str | None = None
    ) -> ExecutionPage:
        """A workflow's executions, newest first; those of a deleted one as well.

        Takes `read` on workflows.
        """
        context = info.context
        require(context.principal, "read", "workflows")
        asked = checked(ExecutionListing, workflow_id=workflow_id, limit=limit, cursor=cursor)
        context.charge_listed(asked.limit, "executions")
        page = await context.services.workflows.executions.list_executions(
            asked.workflow_id, limit=asked.limit, cursor=asked.cursor
        )
        return ExecutionPage(
            executions=[Execution.of(one) for one in page.executions],
            next_cursor=page.next_cursor,
        )
