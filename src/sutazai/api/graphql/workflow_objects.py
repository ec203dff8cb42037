"""The graph's types of workflows: what the REST API shows, under the same names in camelCase."""

from collections.abc import Sequence
from typing import Any

import msgspec
import strawberry

from sutazai.api.execution_access import require_own_or
from sutazai.api.graphql.arguments import ItemListing, checked
from sutazai.api.graphql.nodes import field, node
from sutazai.api.graphql.objects import Info, Task, User, moment, task_of
from sutazai.api.graphql.scalars import Json, Moment
from sutazai.api.workflows import in_seconds
from sutazai.errors import not_found
from sutazai.identity.model import require
from sutazai.workflows import definitions, model
from sutazai.workflows.graph import STATUSES

for _status in (model.ExecutionStatus, model.StepStatus):
    strawberry.enum(_status, description=_status.__doc__)


@node
class ForEach:
    """One task for each item of a list."""

    items: str = strawberry.field(description="JMESPath")
    concurrency: int = strawberry.field(description="how many items at once")


@node
class Retry:
    """How often a step's task is tried."""

    max_attempts: int


@node
class StepEvent:
    """The event that answers a step of the type `approval`, as it was defined."""

    event_type: str
    correlation_id: str | None = strawberry.field(description="JMESPath")


@node
class Step:
    """A step as it was defined."""

    step_id: str
    type: str
    agent: str | None
    description: str | None
    depends_on: list[str]
    config: Json
    metadata: Json | None
    input: Json = strawberry.field(description="JMESPath by name")
    when: str | None = strawberry.field(description="JMESPath")
    for_each: ForEach | None
    retry: Retry | None
    timeout_seconds: float | None
    on_failure: Json = strawberry.field(
        description='"fail", "continue", or {compensate: the id of a step}'
    )
    workflow_id: str | None
    event: StepEvent | None

    @classmethod
    def of(cls, step: model.Step) -> "Step":
        """A step as the graph shows it."""
        each, retry, event = step.for_each, step.retry, step.event
        return cls(
            step_id=step.step_id,
            type=step.type,
            agent=step.agent,
            description=step.description,
            depends_on=list(step.depends_on),
            config=Json(step.config),
            metadata=None if step.metadata is None else Json(step.metadata),
            input=Json(step.input),
            when=step.when,
            for_each=None
            if each is None
            else ForEach(items=each.items, concurrency=each.concurrency),
            retry=None if retry is None else Retry(max_attempts=retry.max_attempts),
            timeout_seconds=step.timeout_seconds,
            on_failure=Json(msgspec.to_builtins(step.on_failure)),
            workflow_id=step.workflow_id,
            event=None if event is None else StepEvent(**msgspec.structs.asdict(event)),
        )


@node
class Workflow:
    """A workflow in its newest version."""

    stored: strawberry.Private[model.Workflow]
    workflow_id: str
    name: str
    description: str
    status: str
    version: int
    created_by: str = strawberry.field(description="a user's id")
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, workflow: model.Workflow) -> "Workflow":
        """A workflow as the graph shows it."""
        return cls(
            stored=workflow,
            workflow_id=workflow.workflow_id,
            name=workflow.definition.name,
            description=workflow.definition.description,
            status="created",
            version=workflow.version,
            created_by=workflow.created_by,
            created_at=Moment(workflow.created_at),
            updated_at=Moment(workflow.updated_at),
        )

    @field
    async def steps(self, info: Info) -> list[Step]:
        """What it is made of."""
        steps = self.stored.definition.steps
        info.context.charge_steps(len(steps))
        return [Step.of(one) for one in steps]

    @field
    async def creator(self, info: Info) -> User | None:
        """Who made it; null once deleted. Takes `read` on users, or one's own workflow."""
        return await _user(info, self.created_by)


@node
class WorkflowPage:
    """Workflows, newest first."""

    workflows: list[Workflow]
    next_cursor: str | None = strawberry.field(description="`cursor` of the next page, if any")


@node
class PlannedStep:
    """A step before it runs; seconds within which eight of ten tasks of its type were done."""

    step_id: str
    type: str
    agents: list[str] = strawberry.field(description="those online that could take it")
    cached: bool | None = strawberry.field(
        description="whether it would be answered from the result cache, as everything is now; "
        "null where that cannot be told before it runs"
    )
    shortest_seconds: float | None
    longest_seconds: float | None


@node
class Plan:
    """What an execution would do.

    The times of the whole are those of the longest way through it with enough agents, null where
    nothing is known of a step's type.
    """

    workflow_id: str
    version: int
    order: list[list[str]] = strawberry.field(
        description="the steps that run side by side together"
    )
    steps: list[PlannedStep]
    shortest_seconds: float | None
    longest_seconds: float | None

    @classmethod
    def of(cls, plan: definitions.Plan) -> "Plan":
        """A plan as the graph shows it."""
        return cls(
            workflow_id=plan.workflow.workflow_id,
            version=plan.workflow.version,
            order=plan.stages,
            steps=[
                PlannedStep(
                    step_id=step.step_id,
                    type=step.type,
                    agents=step.agents,
                    cached=step.cached,
                    shortest_seconds=in_seconds(step.shortest),
                    longest_seconds=in_seconds(step.longest),
                )
                for step in plan.steps
            ],
            shortest_seconds=in_seconds(plan.shortest),
            longest_seconds=in_seconds(plan.longest),
        )


@node
class StepError:
    """Why a step, or with it an execution, failed."""

    code: str
    message: str


@node
class ItemRun:
    """One item of a step that is done for each of a list."""

    of_execution: strawberry.Private[str]
    stored: strawberry.Private[model.Run]
    index: int
    status: model.StepStatus
    task_id: str | None
    execution_id: str | None = strawberry.field(
        description="what one of the type `workflow` executes"
    )
    started_at: Moment | None
    ended_at: Moment | None
    error: StepError | None

    @classmethod
    def of(cls, execution_id: str, run: model.Run) -> "ItemRun":
        """An item of an execution's step as the graph shows it."""
        return cls(
            of_execution=execution_id,
            stored=run,
            index=run.item,
            status=run.status,
            task_id=run.task_id,
            execution_id=run.child_id,
            started_at=moment(run.started_at),
            ended_at=moment(run.ended_at),
            error=_error(run.error),
        )

    @field
    async def output(self, info: Info) -> Json | None:
        """What its agent found, or what it executed put out; null before, and where it failed."""
        return await _output(info, self.of_execution, self.stored)

    @field
    async def task(self, info: Info) -> Task | None:
        """The task that it is done by; one's own, or any with `read` on tasks."""
        return await _task(info, self.task_id)

    @field
    async def execution(self, info: Info) -> "Execution | None":
        """What one of the type `workflow` executes."""
        return await _execution(info, self.execution_id)


@node
class AwaitedEvent:
    """The event that answers an approval step, or did."""

    event_type: str
    correlation_id: str | None


@node
class AnsweredStep:
    """A step that an event has answered."""

    workflow_id: str
    execution_id: str
    step_id: str

    @field
    async def execution(self, info: Info) -> "Execution | None":
        """As it is now; one's own, or any with `read` on workflows."""
        return await _execution(info, self.execution_id)


@node
class StepRun:
    """A step of an execution."""

    of_execution: strawberry.Private[str]
    position: strawberry.Private[int]
    run: strawberry.Private[model.Run | None]
    step_id: str
    type: str
    status: model.StepStatus
    task_id: str | None
    execution_id: str | None = strawberry.field(
        description="what a step of the type `workflow` executes"
    )
    started_at: Moment | None
    ended_at: Moment | None
    error: StepError | None

    @field
    async def event(self, info: Info) -> AwaitedEvent | None:
        """What answers one of the type `approval` as a person would."""
        awaited = None if self.run is None else self.run.event
        return None if awaited is None else AwaitedEvent(**awaited._asdict())

    @field
    async def output(self, info: Info) -> Json | None:
        """What expressions of later steps see; null before, and where it failed.

        What its agent found, or who approved; the list of the items' outputs; or the outputs of
        the steps of what it executed, by name.
        """
        if self.run is None:
            return None
        if self.run.value is not None:
            info.context.charge_characters(len(self.run.value))
            return Json(msgspec.Raw(self.run.value.encode()))
        return await _output(info, self.of_execution, self.run)

    @field
    async def items(self, info: Info, limit: int = 100, after: int = -1) -> list[ItemRun] | None:
        """The items behind the index `after`, in order; null where it is not for each of a list."""
        asked = checked(ItemListing, limit=limit, after=after)
        if self.run is None or self.run.items is None:
            return None
        context = info.context
        context.charge_steps(min(asked.limit, self.run.items.total))
        wanted = model.ItemsOf(self.of_execution, self.position, asked.after + 1, asked.limit)
        found = await context.items.load(wanted)
        return [ItemRun.of(self.of_execution, one) for one in found]

    @field
    async def task(self, info: Info) -> Task | None:
        """The task that it is done by; one's own, or any with `read` on tasks."""
        return await _task(info, self.task_id)

    @field
    async def execution(self, info: Info) -> "Execution | None":
        """What a step of the type `workflow` executes."""
        return await _execution(info, self.execution_id)


@node
class Execution:
    """A workflow being executed, or one that was."""

    stored: strawberry.Private[model.Execution]
    execution_id: str
    workflow_id: str
    version: int
    status: model.ExecutionStatus
    steps_completed: int
    steps_total: int
    input: Json
    submitted_by: str = strawberry.field(description="a user's id")
    parent_execution_id: str | None = strawberry.field(
        description="the execution that this is a step of"
    )
    started_at: Moment
    completed_at: Moment | None
    failed_at: Moment | None
    cancelled_at: Moment | None
    error: StepError | None

    @classmethod
    def of(cls, execution: model.Execution) -> "Execution":
        """An execution as the graph shows it."""
        ended = {execution.status: moment(execution.ended_at)}
        return cls(
            stored=execution,
            execution_id=execution.execution_id,
            workflow_id=execution.workflow_id,
            version=execution.version,
            status=execution.status,
            steps_completed=execution.steps_completed,
            steps_total=execution.steps_total,
            input=Json(execution.input),
            submitted_by=execution.submitted_by,
            parent_execution_id=execution.parent and execution.parent[0],
            started_at=Moment(execution.started_at),
            completed_at=ended.get(model.ExecutionStatus.COMPLETED),
            failed_at=ended.get(model.ExecutionStatus.FAILED),
            cancelled_at=ended.get(model.ExecutionStatus.CANCELLED),
            error=_error(execution.error),
        )

    @field
    async def steps(self, info: Info) -> list[StepRun]:
        """Every step of its version, with what was done for it."""
        context, stored = info.context, self.stored
        context.charge_steps(stored.steps_total)
        definition = await context.definitions.load(
            model.Version(stored.workflow_id, stored.version)
        )
        runs = await context.runs.load(stored.execution_id)
        return _step_runs(stored, definition.steps, runs)

    @field
    async def workflow(self, info: Info) -> Workflow | None:
        """What is executed, in its newest version; null once deleted. Takes `read` on workflows."""
        context = info.context
        require(context.principal, "read", "workflows")
        workflow = await context.workflows.load(self.workflow_id)
        return None if workflow is None else Workflow.of(workflow)

    @field
    async def submitter(self, info: Info) -> User | None:
        """Who executed it; null once deleted. Takes `read` on users, or one's own execution."""
        return await _user(info, self.submitted_by)


@node
class ExecutionPage:
    """A workflow's executions, newest first."""

    executions: list[Execution]
    next_cursor: str | None = strawberry.field(description="`cursor` of the next page, if any")


async def execution_of(info: Info, execution_id: str) -> model.Execution:
    """The execution, loaded together with others; FORBIDDEN or NOT_FOUND as over REST."""
    execution = await info.context.executions.load(execution_id)
    require_own_or(info.context.principal, "read", execution)
    if execution is None:
        raise not_found("execution", execution_id)
    return execution


def _step_runs(
    execution: model.Execution, steps: Sequence[model.Step], runs: dict[int, model.Run]
) -> list[StepRun]:
    shown = []
    for position, (step, letter) in enumerate(zip(steps, execution.state, strict=True)):
        run = runs.get(position)
        done: dict[str, Any] = dict.fromkeys(
            ("task_id", "execution_id", "started_at", "ended_at", "error")
        )
        if run is not None:
            done = {
                "task_id": run.task_id,
                "execution_id": run.child_id,
                "started_at": moment(run.started_at),
                "ended_at": moment(run.ended_at),
                "error": _error(run.error),
            }
        shown.append(
            StepRun(
                of_execution=execution.execution_id,
                position=position,
                run=run,
                step_id=step.step_id,
                type=step.type,
                status=STATUSES[letter],
                **done,
            )
        )
    return shown


def _error(error: model.StepError | None) -> StepError | None:
    return None if error is None else StepError(code=error.code, message=error.message)


async def _execution(info: Info, execution_id: str | None) -> Execution | None:
    if execution_id is None:
        return None
    return Execution.of(await execution_of(info, execution_id))


async def _output(info: Info, execution_id: str, run: model.Run) -> Json | None:
    if run.status is not model.StepStatus.COMPLETED:
        return None
    if run.task_id is not None:
        text = await info.context.results.load(run.task_id)
    else:
        made = await info.context.outputs.load((execution_id, run.position))
        text = made.get(model.RunKey(run.position, run.item))
    if text is None:
        return None
    info.context.charge_characters(len(text))
    return Json(msgspec.Raw(text.encode()))


async def _task(info: Info, task_id: str | None) -> Task | None:
    return None if task_id is None else Task.of(await task_of(info.context, task_id))


async def _user(info: Info, user_id: str) -> User | None:
    context = info.context
    if user_id != context.principal.user_id:
        require(context.principal, "read", "users")
    user = await context.users.load(user_id)
    return None if user is None else User.of(user)
