"""Agents with a model on top of their facts, and a script that answers by what it is asked."""

import json
from collections.abc import Callable
from typing import Any

from sutazai.agents.contract import Agent, Assignment
from sutazai.llm.port import Model
from tests.scripted_model import Say
from tests.unit.builtin_agents.lent import Context

JSON = dict[str, Any]
Answer = Callable[[str], JSON]
"""Given the material and the question."""


async def handled(agent: Agent, task_type: str, lent: Model | None, /, **metadata: Any) -> JSON:
    """The result of a task, with a model or without."""
    context = Context()
    if lent is not None:
        context.model = lent
    assignment = Assignment(
        assignment_id="as-1-1",
        task_id="task",
        type=task_type,
        description="Do it",
        metadata=metadata,
        attempt=1,
        configuration={},
    )
    return await agent.handle(assignment, context)


def saying(**answers: Answer) -> Callable[[JSON], Say]:
    """Answers by a word of the instructions: `Rewrite=…` what is asked to rewrite."""

    def script(body: JSON) -> Say:
        system, user = (body["messages"][at]["content"] for at in (0, -1))
        for word, answer in answers.items():
            if word in system:
                return Say(json.dumps(answer(user)))
        return Say(json.dumps({"comments": [], "observations": []}))

    return script


def each(**told: Any) -> Answer:
    """The same comment on every candidate."""

    def answer(user: str) -> JSON:
        count = user.count("Candidate ")
        return {"comments": [{"candidate": number + 1, **told} for number in range(count)]}

    return answer


CONFIRMED = {"verdict": "confirmed", "reason": "because", "explanation": "so", "importance": 5}
ADDED = ("assessment", "fix", "comment", "by")


def facts(result: JSON) -> list[JSON]:
    """What the analysis said, without what a model added, in an order of its own."""
    issues = [
        {key: value for key, value in issue.items() if key not in ADDED}
        for issue in result["issues"]
        if issue.get("by") != "model"
    ]
    return sorted(issues, key=lambda issue: str(issue["fingerprint"]))
