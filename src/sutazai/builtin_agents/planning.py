"""From a goal to a workflow: which agents can do what it asks for, in which order, fed by what."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sutazai.agents.contract import AgentError, Colleague
from sutazai.builtin_agents.goals import Wishes, understand

COORDINATION = frozenset({"orchestration", "routing", "ping"})
"""The coordinator's own types; no plan has them."""

ABOUT: Mapping[str, str] = {
    "code_review": "review the code",
    "security_analysis": "look for vulnerabilities",
    "performance_analysis": "find what is slow",
    "test_generation": "write tests",
    "documentation": "write documentation",
    "refactoring": "clean up",
    "dependency_audit": "audit the dependencies",
    "type_check": "check the types",
    "change_summary": "summarise changes",
    "bug_diagnosis": "diagnose a failure",
    "log_analysis": "analyse logs",
    "summarization": "summarise",
    "extraction": "extract data",
    "llm_prompt": "ask a language model",
}

_LOOKING = (
    "code_review",
    "security_analysis",
    "performance_analysis",
    "type_check",
    "bug_diagnosis",
)
_ABOUT_TEXT = ("summarization", "extraction", "llm_prompt")
_FEEDS: Mapping[str, Sequence[str]] = {
    "refactoring": _LOOKING,
    "test_generation": ("code_review", "security_analysis", "bug_diagnosis", "refactoring"),
    "documentation": ("code_review", "security_analysis", "refactoring", "change_summary"),
}
"""By type, whose outputs it is given, and so waits for, where the goal asks for both."""

_MOST_ISSUES = 50
_LONGEST_NAME = 200


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step, why it is there, and which agents could take it now."""

    step_id: str
    type: str
    after: tuple[str, ...]
    why: str
    agents: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow with the reasons for it; `not_understood` is what of the goal it leaves out."""

    workflow: dict[str, Any]
    steps: tuple[PlannedStep, ...]
    not_understood: tuple[str, ...]


class Choice(NamedTuple):
    """What a plan is to do, and why: by the rules, or by a model.

    `order` are pairs of types, the first to be done before the second.
    """

    types: list[str]
    order: frozenset[tuple[str, str]]
    reasons: Mapping[str, str]
    not_understood: tuple[str, ...] = ()


def choose(goal: str, colleagues: Sequence[Colleague]) -> Choice:
    """What the rules make of a goal. AgentError where any of it is nobody's work here."""
    able = doers(colleagues)
    wishes = understand(goal, able)
    types = wishes.types
    for agent in _named_agents(goal, colleagues):
        types += [one for one in agent.capabilities[:1] if not set(types) & set(agent.capabilities)]
    if not types:
        raise AgentError(f"The goal asks for nothing that is done here. {what_there_is(able)}")
    missing = [one for one in types if one not in able]
    if missing:
        reasons = ", ".join(f"{one} (“{'”, “'.join(wishes.words_for(one))}”)" for one in missing)
        raise AgentError(f"Nobody here does {reasons}. {what_there_is(able)}")
    said = {one: _said(one, wishes) for one in types}
    return Choice(types, wishes.order, said, wishes.not_understood)


def make_plan(
    goal: str,
    choice: Choice,
    colleagues: Sequence[Colleague],
    *,
    config: Mapping[str, Mapping[str, Any]],
) -> Plan:
    """The workflow that does what was chosen; `config` goes into the steps, by type.

    AgentError where the order goes round in a circle, or `config` is for what is not in it.
    """
    types = choice.types
    unused = sorted(set(config) - set(types))
    if unused:
        raise AgentError(
            f"`config` is for {', '.join(unused)}, and the plan has only {', '.join(types)}."
        )
    able = doers(colleagues)
    pinned = _named_agents(goal, colleagues)
    before = _dependencies(types, choice.order)
    ids = {one: _step_id(one) for one in types}
    steps, planned = [], []
    for one in types:
        named = next((who for who in pinned if one in who.capabilities), None)
        steps.append(_step(one, ids, before[one], named, config.get(one, {}), goal))
        planned.append(
            PlannedStep(
                step_id=ids[one],
                type=one,
                after=tuple(ids[earlier] for earlier in before[one]),
                why=_why(one, before[one], choice, named),
                agents=tuple(
                    who.agent_id
                    for who in ([named] if named is not None else able[one])
                    if who.is_online
                ),
            )
        )
    name = " ".join(goal.split())[:_LONGEST_NAME]
    workflow = {"name": name, "description": "Planned for a goal.", "steps": steps}
    return Plan(workflow=workflow, steps=tuple(planned), not_understood=choice.not_understood)


def doers(colleagues: Sequence[Colleague]) -> dict[str, list[Colleague]]:
    """Who does what, but for coordination: online ones first, then who does little else."""
    able: dict[str, list[Colleague]] = {}
    for agent in colleagues:
        for capability in agent.capabilities:
            if capability not in COORDINATION:
                able.setdefault(capability, []).append(agent)
    for agents in able.values():
        agents.sort(key=lambda one: (not one.is_online, len(one.capabilities), one.agent_id))
    return able


def what_there_is(able: Mapping[str, Sequence[Colleague]]) -> str:
    """The types that can be asked for, for the user."""
    shown = (f"{one} (“{ABOUT[one]}”)" if one in ABOUT else one for one in sorted(able))
    return f"What can be asked for: {', '.join(shown) or 'nothing, as no agent is registered'}."


def _named_agents(goal: str, colleagues: Sequence[Colleague]) -> list[Colleague]:
    said = goal.lower()
    return [
        agent
        for agent in colleagues
        if re.search(rf"(?<![\w-]){re.escape(agent.agent_id.lower())}(?![\w-])", said)
        and not COORDINATION & set(agent.capabilities)
    ]


def _dependencies(types: Sequence[str], order: frozenset[tuple[str, str]]) -> dict[str, list[str]]:
    """By type, those to be done before: the goal's own order first, then what feeds what."""
    before: dict[str, set[str]] = {one: set() for one in types}
    for earlier, later in sorted(order):
        if earlier in before and later in before:
            if _reaches(before, earlier, later):
                raise AgentError(f"The goal wants {earlier} and {later} each before the other.")
            before[later].add(earlier)
    for later in types:
        feeding = types if later in _ABOUT_TEXT else _FEEDS.get(later, ())
        for earlier in feeding:
            usual = earlier in before and earlier != later and earlier not in _ABOUT_TEXT
            if usual and not _reaches(before, earlier, later):
                before[later].add(earlier)
    return {one: [earlier for earlier in types if earlier in before[one]] for one in types}


def _reaches(before: Mapping[str, set[str]], one: str, other: str) -> bool:
    """Whether `other` is to be done before `one`."""
    todo, seen = [one], set()
    while todo:
        at = todo.pop()
        if at == other:
            return True
        if at not in seen:
            seen.add(at)
            todo += before[at]
    return False


def _step_id(task_type: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", task_type)[:64]


def _step(
    task_type: str,
    ids: Mapping[str, str],
    before: Sequence[str],
    agent: Colleague | None,
    config: Mapping[str, Any],
    goal: str,
) -> dict[str, Any]:
    step: dict[str, Any] = {
        "step_id": ids[task_type],
        "type": task_type,
        "description": f"{ABOUT.get(task_type, task_type)}, for the goal: {goal}",
    }
    if agent is not None:
        step["agent"] = agent.agent_id
    if config:
        step["config"] = dict(config)
    if before:
        step["depends_on"] = [ids[one] for one in before]
        step["input"] = _input(task_type, ids, before)
    return step


def _input(task_type: str, ids: Mapping[str, str], before: Sequence[str]) -> dict[str, str]:
    """What earlier steps found, under their types' names; for a text, all in one."""
    summaries = {one: f'not_null(steps."{ids[one]}".output.summary, `""`)' for one in before}
    if task_type in _ABOUT_TEXT:
        lines: list[str] = []
        for summary in summaries.values():
            if len(", ".join([*lines, summary])) < 900:  # an expression has 1,000 characters
                lines.append(summary)
        return {"text": f"join('\\n', [{', '.join(lines)}])"}
    return {
        one: (
            f"{{summary: {summaries[one]}, "
            f'issues: (steps."{ids[one]}".output.issues || `[]`)[:{_MOST_ISSUES}]}}'
        )
        for one in before
    }


def _said(task_type: str, wishes: Wishes) -> str:
    words = wishes.words_for(task_type)
    return "The goal says “" + "”, “".join(words) + "”" if words else "The goal names the agent"


def _why(task_type: str, before: Sequence[str], choice: Choice, agent: Colleague | None) -> str:
    said = choice.reasons[task_type].rstrip(". ")
    if agent is not None and agent.agent_id not in said:
        said += f"; done by {agent.agent_id}, whom it names"
    ordered = [one for one in before if (one, task_type) in choice.order]
    fed = [one for one in before if one not in ordered]
    if ordered:
        said += f"; after {', '.join(ordered)}, as the goal has it"
    if fed:
        said += f"; after {', '.join(fed)}, whose output it is given"
    return f"{said}."


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A type that fits, and who does it, the fittest agent first."""

    type: str
    why: str
    agents: tuple[str, ...]
    online: tuple[str, ...]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Who would do a task that is described in words; the first of `candidates` is the answer."""

    type: str
    agent: str | None
    why: str
    candidates: tuple[Candidate, ...]


def find_route(goal: str, colleagues: Sequence[Colleague]) -> Route:
    """The type that fits a description best, and who does it. AgentError where none fits."""
    able = doers(colleagues)
    wishes = understand(goal, able)
    types = wishes.types
    if not types:
        message = f"The description fits nothing that is done here. {what_there_is(able)}"
        raise AgentError(message)
    # The more of the words ask for it the better; of two that are alike the one said first.
    types.sort(key=lambda one: (one not in able, -sum(map(len, wishes.words_for(one)))))
    if types[0] not in able:
        raise AgentError(f"Nobody here does {', '.join(types)}. {what_there_is(able)}")
    candidates = tuple(
        Candidate(
            type=one,
            why=f"{_said(one, wishes)}.",
            agents=tuple(who.agent_id for who in able.get(one, ())),
            online=tuple(who.agent_id for who in able.get(one, ()) if who.is_online),
        )
        for one in types
    )
    best = candidates[0]
    nobody = "" if best.online else " Nobody who does it is online now."
    return Route(
        type=best.type,
        agent=next(iter(best.online), None),
        why=f"{best.why}{nobody}",
        candidates=candidates,
    )
