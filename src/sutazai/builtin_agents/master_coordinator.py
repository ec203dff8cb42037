"""The coordinator: plans workflows for goals and has them executed, routes, and answers `ping`."""

from collections.abc import Mapping
from typing import Any

import msgspec

from sutazai.agents.contract import (
    AgentDescription,
    AgentError,
    Assignment,
    StepOutcome,
    TaskContext,
    WorkflowOutcome,
)
from sutazai.builtin_agents import model_planning
from sutazai.builtin_agents.goals import LONGEST_GOAL
from sutazai.builtin_agents.planning import Choice, Plan, choose, find_route, make_plan
from sutazai.errors import ErrorCode
from sutazai.llm.model import ModelProblem

_OWN_FIELDS = frozenset({"goal", "input", "dry_run", "config", "planner"})
_PLANNERS = ("auto", "rules", "model")


class _Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an orchestration's metadata says, checked."""

    goal: str
    given: dict[str, Any]
    dry_run: bool
    config: dict[str, dict[str, Any]]
    planner: str


class _Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, who made it, and what the model came to if one was asked."""

    plan: Plan
    planner: str
    note: str | None
    model: dict[str, Any] | None


class MasterCoordinator:
    """Answers at once, or waits without a place for what it had begun; so it takes many tasks."""

    description = AgentDescription(
        agent_id="master-coordinator",
        name="Master Coordinator",
        type="orchestrator",
        capabilities=("routing", "orchestration", "ping"),
        max_capacity=100,
    )

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """The metadata of a `ping`; who would do what a `routing` describes; a goal's outcome."""
        match assignment.type:
            case "orchestration":
                return await _orchestrate(assignment, context)
            case "routing":
                goal = _goal(assignment)
                route = find_route(goal, context.colleagues())
                return {"goal": goal, **msgspec.to_builtins(route)}
            case _:
                return assignment.metadata


async def _orchestrate(assignment: Assignment, context: TaskContext) -> dict[str, Any]:
    """Plan, execute, and tell of both; what fails tells of the plan all the same."""
    order = _order(assignment)
    planned = await _plan(assignment, order, context)
    plan = planned.plan
    shown = {
        "goal": order.goal,
        "planner": planned.planner,
        "planner_note": planned.note,
        "model": planned.model,
        "plan": msgspec.to_builtins(plan),
    }
    if order.dry_run:
        steps = ", ".join(step.step_id for step in plan.steps)
        return {"summary": f"Planned, not executed: {steps}", "status": "planned", **shown}
    outcome = await context.execute(plan.workflow, order.given, key="plan")
    result = {
        "summary": _summary(outcome),
        "status": outcome.status,
        "execution_id": outcome.execution_id,
        "steps": [_step_view(step) for step in outcome.steps],
        **shown,
    }
    if outcome.status == "completed":
        return result
    raise AgentError(
        outcome.error or f"The execution {outcome.execution_id} was {outcome.status}.",
        code=outcome.error_code or ErrorCode.CONFLICT,
        result=result,
    )


async def _plan(assignment: Assignment, order: _Order, context: TaskContext) -> _Planned:
    """The task's plan, kept: who is online may be others when its execution has ended."""
    key = f"plan of {assignment.task_id}"
    kept = (await context.cache.get_many([key])).get(key)
    if kept is not None:
        return msgspec.json.decode(kept, type=_Planned)
    choice, planner, note = await _choice(order, context)
    planned = _Planned(
        plan=make_plan(order.goal, choice, context.colleagues(), config=order.config),
        planner=planner,
        note=note,
        model=context.model.report(),
    )
    await context.check_workflow(planned.plan.workflow)
    await context.cache.put_many({key: msgspec.json.encode(planned)})
    return planned


async def _choice(order: _Order, context: TaskContext) -> tuple[Choice, str, str | None]:
    """What to do, who says so, and a remark: the model is asked where the rules do not do.

    They do for a goal that they understand throughout; then asking costs time and adds nothing.
    """
    colleagues = context.colleagues()
    by_rules: Choice | AgentError | None = None
    if order.planner != "model":
        try:
            by_rules = choose(order.goal, colleagues)
        except AgentError as error:
            by_rules = error
        understood = isinstance(by_rules, Choice) and not by_rules.not_understood
        if order.planner == "rules" or understood or not context.model.is_available:
            if isinstance(by_rules, Choice):
                return by_rules, "rules", None
            raise by_rules
    try:
        return await model_planning.ask(order.goal, colleagues, context.model), "model", None
    except ModelProblem as problem:
        if isinstance(by_rules, Choice):
            return by_rules, "rules", f"The model made no plan: {problem}"
        if by_rules is not None:
            raise by_rules from None
        code = ErrorCode.SERVICE_UNAVAILABLE
        raise AgentError(f"The model made no plan: {problem}", code=code) from None


def _order(assignment: Assignment) -> _Order:
    metadata = assignment.metadata
    given = metadata.get("input", {})
    if not isinstance(given, dict):
        raise AgentError("`input` must be an object: what the steps work on, as `files` or `code`.")
    dry_run = metadata.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise AgentError("`dry_run` must be true or false.")
    config = metadata.get("config", {})
    if not isinstance(config, dict) or not all(isinstance(one, dict) for one in config.values()):
        raise AgentError("`config` must have an object for each type of step.")
    planner = metadata.get("planner", "auto")
    if planner not in _PLANNERS:
        raise AgentError(f"`planner` must be one of {', '.join(_PLANNERS)}.")
    rest = {name: value for name, value in metadata.items() if name not in _OWN_FIELDS}
    return _Order(
        goal=_goal(assignment),
        given={**rest, **given},
        dry_run=dry_run,
        config=config,
        planner=planner,
    )


def _goal(assignment: Assignment) -> str:
    goal = assignment.metadata.get("goal", assignment.description)
    if not isinstance(goal, str) or not goal.strip():
        raise AgentError("`goal` must say in words what is to be done.")
    if len(goal) > LONGEST_GOAL:
        raise AgentError(f"`goal` has {len(goal)} characters; at most {LONGEST_GOAL} are read.")
    return goal.strip()


def _step_view(step: StepOutcome) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "step_id": step.step_id,
        "type": step.type,
        "status": step.status,
        "task_id": step.task_id,
    }
    if step.error is not None:
        shown["error"] = step.error
    said = _said(step.output)
    if said is not None:
        shown["summary"] = said
    return shown


def _said(output: Any) -> str | None:
    said = output.get("summary") if isinstance(output, Mapping) else None
    return said if isinstance(said, str) else None


def _summary(outcome: WorkflowOutcome) -> str:
    done = sum(step.status == "completed" for step in outcome.steps)
    parts = [f"{step.step_id}: {said}" for step in outcome.steps if (said := _said(step.output))]
    told = f". {'; '.join(parts)}" if parts else ""
    return f"{done} of {len(outcome.steps)} steps done{told}"
