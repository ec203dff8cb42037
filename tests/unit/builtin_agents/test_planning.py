import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert

from sutazai.agents.contract import AgentError, Colleague
from sutazai.builtin_agents.goals import WORDS, understand
from sutazai.builtin_agents.planning import ABOUT, COORDINATION, Plan, choose, find_route, make_plan
from sutazai.workflows.graph import problems
from sutazai.workflows.model import Definition


def agent(agent_id: str, *capabilities: str, is_online: bool = True) -> Colleague:
    return Colleague(
        agent_id=agent_id, name=agent_id, capabilities=capabilities, is_online=is_online
    )


EVERYBODY = [
    agent("master-coordinator", *COORDINATION),
    *(agent(f"{one.replace('_', '-')}-01", one) for one in WORDS),
    agent("printer-01", "print_badge", "resize"),
]


def plan_of(goal: str, colleagues: list[Colleague], **config: dict[str, Any]) -> Plan:
    return make_plan(goal, choose(goal, colleagues), colleagues, config=config)


def planned(goal: str) -> dict[str, tuple[str, ...]]:
    """The plan's steps, each with those before it."""
    return {step.step_id: step.after for step in _plan(goal).steps}


def _plan(goal: str) -> Plan:
    plan = plan_of(goal, EVERYBODY)
    assert not problems(convert(plan.workflow, Definition))
    return plan


@pytest.mark.parametrize(
    ("goal", "steps"),
    [
        (
            "review this package, write tests and docs for it",
            {
                "code_review": (),
                "test_generation": ("code_review",),
                "documentation": ("code_review",),
            },
        ),
        ("write docs and tests", {"documentation": (), "test_generation": ()}),
        (
            "write docs, README and then tests",
            {"documentation": (), "test_generation": ("documentation",)},
        ),
        (
            "write docs then tests",
            {"documentation": (), "test_generation": ("documentation",)},
        ),
        ("write unit and integration tests", {"test_generation": ()}),
        ("check the dependencies and the types", {"dependency_audit": (), "type_check": ()}),
        ("do not write docs or tests, review it", {"code_review": ()}),
        ("Do a security review", {"security_analysis": ()}),
        ("Review the code for security issues", {"security_analysis": ()}),
        ("make it faster", {"performance_analysis": ()}),
        ("add type hints", {"type_check": ()}),
        ("audit dependencies and licences", {"dependency_audit": ()}),
        ("summarise the changes since 1.0", {"change_summary": ()}),
        ("why does test_cart fail? Here is the traceback", {"bug_diagnosis": ()}),
        (
            "review it, then summarise",
            {"code_review": (), "summarization": ("code_review",)},
        ),
        (
            "document it, then review it",
            {"documentation": (), "code_review": ("documentation",)},
        ),
        (
            "write tests before you refactor",
            {"test_generation": (), "refactoring": ("test_generation",)},
        ),
        (
            "Before refactoring, write tests.",
            {"test_generation": (), "refactoring": ("test_generation",)},
        ),
        ("After a review, write docs", {"code_review": (), "documentation": ("code_review",)}),
        ("review it but don\u2019t write tests", {"code_review": ()}),
        ("Without tests and docs, just review", {"code_review": ()}),
        ("run the tests and review the module", {"code_review": ()}),
        ("print badge, then resize", {"print_badge": (), "resize": ("print_badge",)}),
        ("let printer-01 have a go", {"print_badge": ()}),
    ],
)
def test_a_goal_becomes_the_steps_it_asks_for(goal: str, steps: dict[str, tuple[str, ...]]) -> None:
    assert planned(goal) == steps


def test_every_step_says_why_it_is_there_and_who_can_take_it() -> None:
    review, tests = _plan("Review it and write tests").steps
    assert review.why == "The goal says “review”."
    assert tests.why == (
        "The goal says “write tests”; after code_review, whose output it is given."
    )
    assert tests.agents == ("test-generation-01",)


def test_later_steps_are_fed_with_what_earlier_ones_found() -> None:
    _, tests, summary = _plan("Review it, write tests, and summarise").workflow["steps"]
    assert tests["input"].keys() == {"code_review"}
    assert "issues" in tests["input"]["code_review"]
    assert summary["depends_on"] == ["code_review", "test_generation"]
    assert summary["input"]["text"].startswith("join(")


def test_what_is_not_understood_is_said() -> None:
    assert _plan("review and paint my house").not_understood == ("paint my house",)
    assert _plan("review this package, please").not_understood == ()


def test_a_goal_that_names_an_agent_gets_that_agent() -> None:
    others = [*EVERYBODY, agent("other-reviewer", "code_review")]
    plan = plan_of("let other-reviewer review it", others)
    assert plan.workflow["steps"][0]["agent"] == "other-reviewer"
    assert "done by other-reviewer" in plan.steps[0].why


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        ("paint my house", "code_review (“review the code”)"),
        ("do not review it", "asks for nothing"),
        ("docs before tests; tests before docs", "each before the other"),
        ("orchestrate routing and ping", "asks for nothing"),
    ],
)
def test_a_goal_that_leads_nowhere_is_refused_with_what_there_is(goal: str, said: str) -> None:
    with pytest.raises(AgentError, match=re.escape(said)):
        plan_of(goal, EVERYBODY)


def test_what_nobody_does_is_refused_before_anything_is_done() -> None:
    able = [agent("reviewer", "code_review")]
    with pytest.raises(AgentError, match="Nobody here does test_generation"):
        plan_of("review it and write tests", able)
    with pytest.raises(AgentError, match="`config` is for documentation"):
        plan_of("review it", able, documentation={"style": "numpy"})


def test_a_description_is_routed_to_who_does_it() -> None:
    able = [
        agent("generalist", "code_review", "security_analysis"),
        agent("specialist", "security_analysis"),
        agent("sleeper", "documentation", is_online=False),
    ]
    route = find_route("look for vulnerabilities, and review", able)
    assert (route.type, route.agent) == ("security_analysis", "specialist")
    assert [one.type for one in route.candidates] == ["security_analysis", "code_review"]
    assert route.candidates[0].agents == ("specialist", "generalist")
    route = find_route("write docs", able)
    assert (route.type, route.agent) == ("documentation", None)
    assert "online" in route.why
    with pytest.raises(AgentError, match="fits nothing"):
        find_route("paint my house", able)
    with pytest.raises(AgentError, match="Nobody here does"):
        find_route("write tests", able)


def test_every_type_with_words_has_a_line_about_it() -> None:
    assert set(ABOUT) == set(WORDS)


_SAID = """review tests docs then before after and , . not without refactor summary slow the logs
type check printer-01 print_badge security for fix extract"""
_TALK = st.lists(st.sampled_from(_SAID.split()), max_size=25).map(" ".join)


@given(goal=_TALK | st.text(max_size=200))
def test_whatever_the_goal_the_plan_is_a_workflow_or_refused(goal: str) -> None:
    try:
        plan = plan_of(goal, EVERYBODY)
    except AgentError:
        return
    assert not problems(convert(plan.workflow, Definition))
    rejected = {one.type for one in understand(goal, ()).matches if one.rejected}
    assert not rejected & {step.type for step in plan.steps}
