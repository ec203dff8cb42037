"""What users do with workflows themselves: create, read, change, delete, plan."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from sutazai import clock, ids
from sutazai.agents.service import AgentDirectory
from sutazai.database import Connection, Database
from sutazai.errors import Detail, ErrorCode, SutazaiError, not_found
from sutazai.events import log
from sutazai.events.model import NewEvent, Origin
from sutazai.limits.idempotency import Replayable
from sutazai.tasks.service import Tasks
from sutazai.workflows import finding_store, graph, store
from sutazai.workflows.changes import RESOURCE
from sutazai.workflows.foreseen import Foresees, cached_steps
from sutazai.workflows.model import (
    APPROVAL,
    MOST_DEPTH,
    SUB_WORKFLOW,
    Definition,
    Step,
    Version,
    Workflow,
    WorkflowPage,
)
from sutazai.workflows.starting import description_of

ScheduledBy = Callable[[Connection, str], list[str]]
"""The ids of the schedules that will still execute a workflow."""

_MOST_NAMED = 10


class PlannedStep(NamedTuple):
    """A step before it runs: who can do it now, and how long (µs) tasks of its type took.

    `cached`: it would be answered from the result cache; None where that cannot be told.
    """

    step_id: str
    type: str
    agents: list[str]
    shortest: int | None
    longest: int | None
    cached: bool | None = None


class Plan(NamedTuple):
    """What an execution would do: stages of steps that run side by side, and its time (µs).

    The times are None where some type was never completed, or people and other workflows are
    waited for.
    """

    workflow: Workflow
    stages: list[list[str]]
    steps: list[PlannedStep]
    shortest: int | None
    longest: int | None


class Definitions:
    """The definitions."""

    def __init__(
        self,
        *,
        database: Database,
        tasks: Tasks,
        directory: AgentDirectory,
        foresees: Foresees,
        scheduled_by: ScheduledBy,
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._directory = directory
        self._foresees = foresees
        self._scheduled_by = scheduled_by

    async def create(
        self,
        definition: Definition,
        *,
        created_by: str,
        origin: Origin,
        replay: Replayable | None = None,
    ) -> Workflow:
        """Keep a new workflow; VALIDATION_ERROR with a detail for everything wrong with it."""
        await self.check(definition)

        def make(connection: Connection) -> Workflow:
            workflow = _add(connection, definition, created_by)
            _tell(connection, "created", workflow, origin)
            return workflow

        def unit(connection: Connection) -> Workflow:
            if replay is None:
                return make(connection)
            return replay(connection, Workflow, partial(make, connection))

        return await self._database.run(unit)

    async def check(self, definition: Definition) -> None:
        """VALIDATION_ERROR with a detail for everything wrong with it by itself."""
        await asyncio.to_thread(self._check, definition)

    def _check(self, definition: Definition) -> None:
        wrong = graph.problems(definition)
        for number, step in enumerate(definition.steps):
            if step.type not in (APPROVAL, SUB_WORKFLOW):
                found = self._tasks.problems(step.type, step.agent)
                if not found and step.metadata is not None:
                    description = description_of(step, definition)
                    given = {**step.metadata, **step.config}
                    what = (step.type, step.agent, description, given, step.input.keys())
                    unfit = self._tasks.input_problem(*what)
                    found = [unfit] if unfit is not None else []
                for detail in found:
                    wrong.append(Detail(f"steps.{number}.{detail.field}", detail.message))
        if wrong:
            raise _invalid([_with_step(definition, one) for one in wrong])

    async def get(self, workflow_id: str) -> Workflow:
        """A workflow in its newest version; NOT_FOUND without it."""
        return await self._database.read(partial(existing, workflow_id))

    async def find(self, workflow_ids: Sequence[str]) -> dict[str, Workflow]:
        """Those of these workflows that were not deleted, by id."""
        found = await self._database.read(
            partial(finding_store.find_workflows, workflow_ids=workflow_ids)
        )
        return {one.workflow_id: one for one in found}

    async def find_versions(self, versions: Sequence[Version]) -> dict[Version, Definition]:
        """These versions' definitions."""
        return await self._database.read(partial(finding_store.find_definitions, versions=versions))

    async def list_workflows(self, *, limit: int, cursor: str | None = None) -> WorkflowPage:
        """A page of workflows, newest first."""
        read = partial(store.page_of_workflows, limit=limit + 1, before=cursor)
        found = await self._database.read(read)
        more = len(found) > limit
        found = found[:limit]
        return WorkflowPage(found, found[-1].workflow_id if more else None)

    async def update(self, workflow_id: str, definition: Definition, *, origin: Origin) -> Workflow:
        """Make a new version; executions keep theirs."""
        await self.check(definition)

        def unit(connection: Connection) -> Workflow:
            before = existing(workflow_id, connection, lock=True)
            after = msgspec.structs.replace(
                before,
                version=before.version + 1,
                definition=definition,
                updated_at=clock.now(),
            )
            _check_children(connection, after)
            store.add_version(connection, after)
            _tell(connection, "updated", after, origin)
            return after

        return await self._database.run(unit)

    async def delete(self, workflow_id: str, *, origin: Origin) -> None:
        """Take a workflow away; what is being executed goes on, and executions can be read.

        CONFLICT where other workflows, as they are now, or schedules execute it.
        """

        def unit(connection: Connection) -> None:
            workflow = existing(workflow_id, connection, lock=True)
            _check_unused(
                finding_store.executing(connection, workflow_id),
                self._scheduled_by(connection, workflow_id),
            )
            store.mark_deleted(connection, workflow_id, now=clock.now())
            _tell(connection, "deleted", workflow, origin)

        await self._database.run(unit)

    async def plan(self, workflow_id: str, given: dict[str, Any]) -> Plan:
        """What an execution with this input would do now; executes nothing."""
        plan = await self._database.read(partial(self._plan, workflow_id))
        cached = await cached_steps(self._foresees, plan.workflow.definition, given)
        steps = [step._replace(cached=cached[step.step_id]) for step in plan.steps]
        return plan._replace(steps=steps)

    def _plan(self, workflow_id: str, connection: Connection) -> Plan:
        workflow = existing(workflow_id, connection)
        shape = graph.Graph(workflow.definition)
        known: dict[str, tuple[int | None, int | None]] = {
            APPROVAL: (None, None),
            SUB_WORKFLOW: (None, None),
        }
        for step in shape.steps:
            if step.type not in known:
                taken = sorted(self._tasks.recent_durations(connection, step.type))
                known[step.type] = _range(taken)
        planned = [
            PlannedStep(step.step_id, step.type, self._agents_for(step), *known[step.type])
            for step in shape.steps
        ]
        ordinary = [one for stage in shape.stages() for one in stage]
        lengths = [(planned[one].shortest, planned[one].longest) for one in ordinary]
        shortest, longest = (
            _critical(shape, dict(zip(ordinary, column, strict=True)))
            for column in zip(*lengths, strict=True)
        )
        stages = [[shape.steps[one].step_id for one in stage] for stage in shape.stages()]
        return Plan(workflow, stages, planned, shortest, longest)

    def _agents_for(self, step: Step) -> list[str]:
        if step.agent is not None:
            return [step.agent] if self._directory.is_online(step.agent) else []
        online = (self._directory.agent(one) for one in sorted(self._directory.online_agents))
        return [one.agent_id for one in online if one and step.type in one.capabilities]


def _range(taken: Sequence[int]) -> tuple[int | None, int | None]:
    """Between which durations eight of ten were."""
    if not taken:
        return None, None
    last = len(taken) - 1
    return taken[round(last * 0.1)], taken[round(last * 0.9)]


def _critical(shape: graph.Graph, lengths: dict[int, int | None]) -> int | None:
    """How long the longest way through the graph takes."""
    ends: dict[int, int] = {}
    for position in graph.order_of(shape.needs):
        if position in lengths:
            length = lengths[position]
            if length is None:
                return None
            ends[position] = length + max((ends[one] for one in shape.needs[position]), default=0)
    return max(ends.values())


def _add(connection: Connection, definition: Definition, created_by: str) -> Workflow:
    now = clock.now()
    workflow = Workflow(
        workflow_id=ids.new_id("wf"),
        version=1,
        definition=definition,
        created_by=created_by,
        created_at=now,
        updated_at=now,
    )
    _check_children(connection, workflow)
    store.add_workflow(connection, workflow)
    return workflow


def add_unlisted(connection: Connection, definition: Definition, created_by: str) -> Workflow:
    """Inside a unit: keep a checked workflow for one execution, and for nobody else to find."""
    workflow = _add(connection, definition, created_by)
    store.mark_deleted(connection, workflow.workflow_id, now=workflow.created_at)
    return workflow


def existing(workflow_id: str, connection: Connection, *, lock: bool = False) -> Workflow:
    """The workflow; NOT_FOUND without it."""
    workflow = store.get_workflow(connection, workflow_id, lock=lock)
    if workflow is None:
        raise not_found("workflow", workflow_id)
    return workflow


def _invalid(wrong: Sequence[Detail]) -> SutazaiError:
    return SutazaiError(ErrorCode.VALIDATION_ERROR, "Invalid input data", details=wrong)


def _with_step(definition: Definition, detail: Detail) -> Detail:
    """The detail with the step's name in its message, beside its place in the field."""
    _, number, *_ = detail.field.split(".")
    name = repr(definition.steps[int(number)].step_id)
    if name in detail.message:
        return detail
    return detail._replace(message=f"{detail.message} (in the step {name})")


def _check_unused(workflow_ids: Sequence[str], schedule_ids: Sequence[str]) -> None:
    users = [*workflow_ids, *schedule_ids]
    if users:
        named = ", ".join(users[:_MOST_NAMED])
        more = f" and {len(users) - _MOST_NAMED} more" if len(users) > _MOST_NAMED else ""
        message = f"It is executed by {named}{more}. Change or delete these first."
        raise SutazaiError(ErrorCode.CONFLICT, message)


def _check_children(connection: Connection, workflow: Workflow) -> None:
    """VALIDATION_ERROR where a workflow would execute itself, what is not there, or too deep."""
    steps = workflow.definition.steps
    wrong = _problems_below(connection, workflow.workflow_id, _executed_by(workflow))
    details = [
        Detail(f"steps.{number}.workflow_id", wrong[step.workflow_id])
        for number, step in enumerate(steps)
        if step.workflow_id in wrong
    ]
    if details:
        raise _invalid([_with_step(workflow.definition, one) for one in details])


def _executed_by(workflow: Workflow) -> set[str]:
    return {step.workflow_id for step in workflow.definition.steps if step.workflow_id is not None}


def _problems_below(connection: Connection, above: str, executed: set[str]) -> dict[str, str]:
    """What is wrong with some of the workflows that one would execute, or with those below them.

    Level by level, each in one query, however many ways lead to it.
    """
    # Held, so that none is deleted at the same time.
    finding_store.hold_workflows(connection, executed)
    wrong: dict[str, str] = {}
    known: dict[str, Workflow] = {}
    # What is reached at a level, each with those of `executed` that lead there.
    level = {one: {one} for one in executed}
    for depth in range(1, MOST_DEPTH + 2):
        for one in finding_store.find_workflows(connection, sorted(level.keys() - known.keys())):
            known[one.workflow_id] = one
        following: dict[str, set[str]] = {}
        for workflow_id, first in level.items():
            if workflow_id == above:
                message = "The workflow would execute itself"
            elif depth > MOST_DEPTH:
                message = f"Workflows may execute each other {MOST_DEPTH} deep"
            elif workflow_id not in known:
                message = f"There is no workflow with the id {workflow_id!r}"
            else:
                for child in _executed_by(known[workflow_id]):
                    following.setdefault(child, set()).update(first)
                continue
            for one_of_first in first:
                wrong.setdefault(one_of_first, message)
        level = following
    return wrong


def _tell(connection: Connection, what: str, workflow: Workflow, origin: Origin) -> None:
    data = {
        "workflow_id": workflow.workflow_id,
        "name": workflow.definition.name,
        "version": workflow.version,
    }
    event = NewEvent(f"workflow.{what}", data, origin, RESOURCE, workflow.created_by)
    log.append(connection, [event], now=clock.now())
