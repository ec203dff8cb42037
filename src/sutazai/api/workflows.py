"""`/workflows`: define, read, change, delete, plan, execute."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from sutazai import clock
from sutazai.api.executions import EXECUTION_ID, execution_view
from sutazai.api.rates import CountedSubmission
from sutazai.api.requests import (
    Clean,
    CurrentServices,
    IdempotencyKey,
    Input,
    StrictRoute,
    Whole,
    answer,
    location_of,
    needs,
    origin_of,
    replayable,
)
from sutazai.api.schemas import errors
from sutazai.api.workflow_schemas import (
    Execution,
    ExecutionList,
    Plan,
    Workflow,
    WorkflowDetails,
    WorkflowList,
)
from sutazai.clock import SECOND
from sutazai.identity.model import Principal
from sutazai.workflows import model
from sutazai.workflows.expressions import LONGEST

router = APIRouter(prefix="/workflows", tags=["workflows"], route_class=StrictRoute)

StepId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Name = Annotated[str, Field(min_length=1, max_length=64), Clean]
Expression = Annotated[str, Field(min_length=1, max_length=LONGEST, description="JMESPath"), Clean]
WORKFLOW_ID = r"^wf-[0-9a-z]+$"
WorkflowId = Annotated[str, Path(max_length=64, pattern=WORKFLOW_ID)]


class ForEachRequest(Input):
    """One task for each item of a list."""

    items: Expression
    concurrency: Annotated[int, Field(ge=1, le=model.MOST_CONCURRENCY, strict=True), Whole] = (
        model.DEFAULT_CONCURRENCY
    )


class RetryRequest(Input):
    """How often to try."""

    max_attempts: Annotated[int, Field(ge=1, le=20, strict=True), Whole]


class CompensateRequest(Input):
    """The step to run once this one has failed."""

    compensate: StepId


class AwaitedEventRequest(Input):
    """The event that answers a step of the type `approval`, as a person would."""

    event_type: Annotated[str, Field(min_length=1, max_length=64), Clean]
    correlation_id: Expression | None = None


class StepRequest(Input):
    """A step of a workflow."""

    step_id: StepId
    type: Name
    agent: Name | None = None
    description: Annotated[str, Field(max_length=20_000), Clean] | None = None
    depends_on: Annotated[list[StepId], Field(max_length=model.MOST_STEPS)] = Field(
        default_factory=list
    )
    config: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] | None = None
    input: Annotated[dict[Name, Expression], Field(max_length=100)] = Field(default_factory=dict)
    when: Expression | None = None
    for_each: ForEachRequest | None = None
    retry: RetryRequest | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=2_592_000, strict=True)] | None = None
    on_failure: Literal["fail", "continue"] | CompensateRequest = "fail"
    workflow_id: Annotated[str, Field(max_length=64), Clean] | None = None
    event: AwaitedEventRequest | None = None


class WorkflowRequest(Input):
    """A workflow to be kept."""

    name: Annotated[str, Field(min_length=1, max_length=200), Clean]
    description: Annotated[str, Field(max_length=20_000), Clean] = ""
    steps: Annotated[list[StepRequest], Field(min_length=1, max_length=model.MOST_STEPS)]

    def definition(self) -> model.Definition:
        """What the service takes."""
        given = self.model_dump(exclude_unset=True)
        return msgspec.convert(given, model.Definition)


class ExecuteRequest(Input):
    """What to execute a workflow with, or to plan it for."""

    input: dict[str, Any] = Field(default_factory=dict)


@router.post(
    "",
    operation_id="createWorkflow",
    summary="Create a workflow",
    status_code=201,
    response_model=Workflow,
    responses=errors(403, 409),
)
async def create_workflow(
    request: Request,
    body: WorkflowRequest,
    services: CurrentServices,
    principal: Principal = needs("write", "workflows"),
    key: IdempotencyKey = None,
) -> Response:
    """Check and keep a workflow."""
    replay = await replayable(request, key, principal=principal.actor)
    workflow = await services.workflows.definitions.create(
        body.definition(),
        created_by=principal.user_id,
        origin=origin_of(request, principal),
        replay=replay,
    )
    location = location_of(request, f"/workflows/{workflow.workflow_id}")
    return answer(_summary(workflow), status=201, replay=replay, location=location)


@router.get(
    "",
    operation_id="listWorkflows",
    summary="List workflows, newest first",
    response_model=WorkflowList,
    responses=errors(403),
    dependencies=[needs("read", "workflows")],
)
async def list_workflows(
    services: CurrentServices,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[
        str | None, Query(max_length=64, pattern=WORKFLOW_ID, description="`next_cursor`")
    ] = None,
) -> Response:
    """Every workflow in its newest version."""
    page = await services.workflows.definitions.list_workflows(limit=limit, cursor=cursor)
    return answer(
        {
            "workflows": [_view(workflow) for workflow in page.workflows],
            "limit": limit,
            "next_cursor": page.next_cursor,
        }
    )


@router.get(
    "/{workflow_id}",
    operation_id="getWorkflow",
    summary="Get a workflow",
    response_model=WorkflowDetails,
    responses=errors(403, 404),
    dependencies=[needs("read", "workflows")],
)
async def get_workflow(workflow_id: WorkflowId, services: CurrentServices) -> Response:
    """A workflow in its newest version."""
    return answer(_view(await services.workflows.definitions.get(workflow_id)))


@router.put(
    "/{workflow_id}",
    operation_id="updateWorkflow",
    summary="Make a workflow's next version",
    response_model=WorkflowDetails,
    responses=errors(403, 404),
)
async def update_workflow(
    request: Request,
    workflow_id: WorkflowId,
    body: WorkflowRequest,
    services: CurrentServices,
    principal: Principal = needs("write", "workflows"),
) -> Response:
    """Replace the definition; executions keep the version that they began with."""
    workflow = await services.workflows.definitions.update(
        workflow_id, body.definition(), origin=origin_of(request, principal)
    )
    return answer(_view(workflow))


@router.delete(
    "/{workflow_id}",
    operation_id="deleteWorkflow",
    summary="Delete a workflow",
    status_code=204,
    responses=errors(403, 404, 409),
)
async def delete_workflow(
    request: Request,
    workflow_id: WorkflowId,
    services: CurrentServices,
    principal: Principal = needs("write", "workflows"),
) -> Response:
    """Take it away; its executions go on and can still be read.

    Not while workflows, as they are now, or schedules that are not over execute it.
    """
    await services.workflows.definitions.delete(workflow_id, origin=origin_of(request, principal))
    return Response(status_code=204)


@router.post(
    "/{workflow_id}/execute",
    operation_id="executeWorkflow",
    summary="Execute a workflow",
    status_code=202,
    response_model=Execution,
    responses=errors(403, 404, 409),
)
async def execute_workflow(
    request: Request,
    workflow_id: WorkflowId,
    services: CurrentServices,
    body: ExecuteRequest | None = None,
    principal: Principal = needs("execute", "workflows"),
    key: IdempotencyKey = None,
) -> Response:
    """Begin it. Once this has answered, the execution survives any crash of the server."""
    replay = await replayable(request, key, principal=principal.actor) if key else None
    async with CountedSubmission(services, request.scope, principal, replay):
        execution = await services.workflows.executions.execute(
            workflow_id,
            {} if body is None else body.input,
            submitted_by=principal.user_id,
            origin=origin_of(request, principal),
            replay=replay,
        )
    location = location_of(request, f"/executions/{execution.execution_id}")
    return answer(execution_view(execution), status=202, replay=replay, location=location)


@router.get(
    "/{workflow_id}/executions",
    operation_id="listExecutions",
    summary="List a workflow's executions, newest first",
    response_model=ExecutionList,
    responses=errors(403, 404),
    dependencies=[needs("read", "workflows")],
)
async def list_executions(
    workflow_id: WorkflowId,
    services: CurrentServices,
    status: model.ExecutionStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[
        str | None, Query(max_length=64, pattern=EXECUTION_ID, description="`next_cursor`")
    ] = None,
) -> Response:
    """Those of a deleted workflow as well."""
    page = await services.workflows.executions.list_executions(
        workflow_id, limit=limit, cursor=cursor, status=status
    )
    return answer(
        {
            "executions": [execution_view(one) for one in page.executions],
            "limit": limit,
            "next_cursor": page.next_cursor,
        }
    )


@router.post(
    "/{workflow_id}/plan",
    operation_id="planWorkflow",
    summary="Say what an execution would do",
    response_model=Plan,
    responses=errors(403, 404),
    dependencies=[needs("read", "workflows")],
)
async def plan_workflow(
    workflow_id: WorkflowId, services: CurrentServices, body: ExecuteRequest | None = None
) -> Response:
    """The order, who could take each step now, how long it should take, and what is done already.

    Executes nothing.
    """
    given = {} if body is None else body.input
    plan = await services.workflows.definitions.plan(workflow_id, given)
    return answer(
        {
            "workflow_id": plan.workflow.workflow_id,
            "version": plan.workflow.version,
            "order": plan.stages,
            "steps": [
                {
                    "step_id": step.step_id,
                    "type": step.type,
                    "agents": step.agents,
                    "cached": step.cached,
                    "shortest_seconds": in_seconds(step.shortest),
                    "longest_seconds": in_seconds(step.longest),
                }
                for step in plan.steps
            ],
            "shortest_seconds": in_seconds(plan.shortest),
            "longest_seconds": in_seconds(plan.longest),
        }
    )


def in_seconds(duration: int | None) -> float | None:
    """A plan's time as it is shown, None where nothing is known."""
    return None if duration is None else round(duration / SECOND, 6)


def _summary(workflow: model.Workflow) -> dict[str, Any]:
    return {
        "workflow_id": workflow.workflow_id,
        "name": workflow.definition.name,
        "status": "created",
        "created_at": clock.to_iso(workflow.created_at),
        "version": workflow.version,
    }


def _view(workflow: model.Workflow) -> dict[str, Any]:
    return {
        **_summary(workflow),
        "description": workflow.definition.description,
        "created_by": workflow.created_by,
        "updated_at": clock.to_iso(workflow.updated_at),
        "steps": workflow.definition.steps,
    }
