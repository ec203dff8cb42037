"""What a plan can tell of its steps' input before anything runs."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from sutazai.workflows.expressions import Budget, ExpressionError, compiled, is_true
from sutazai.workflows.model import APPROVAL, SUB_WORKFLOW, Definition, Step

MOST_ASKED = 20
"""Different inputs that are asked about for one plan; looking costs the reading of files."""
_SECONDS = 15.0


class Foresees(Protocol):
    """Tells whether a task would be answered from the cache; None where nobody knows."""

    async def is_cached(
        self, task_type: str, agent_id: str | None, metadata: Mapping[str, Any]
    ) -> bool | None:
        """See `tasks.foresight.Foresight`."""
        ...


async def cached_steps(
    foresees: Foresees, definition: Definition, given: dict[str, Any]
) -> dict[str, bool | None]:
    """For each step whether it would be answered from the cache, None where that is open."""
    cached: dict[str, bool | None] = {step.step_id: None for step in definition.steps}
    answers: dict[tuple[str, str | None, bytes], bool | None] = {}
    budget = Budget()
    try:
        async with asyncio.timeout(_SECONDS):
            for step in definition.steps:
                metadata = await asyncio.to_thread(known_metadata, step, given, budget)
                if metadata is None:
                    continue
                key = (step.type, step.agent, msgspec.json.encode(metadata, order="sorted"))
                if key not in answers:
                    if len(answers) == MOST_ASKED:
                        continue
                    answers[key] = await foresees.is_cached(step.type, step.agent, metadata)
                cached[step.step_id] = answers[key]
    except TimeoutError:
        pass  # what was found out by then is true
    return cached


def known_metadata(step: Step, given: dict[str, Any], budget: Budget) -> dict[str, Any] | None:
    """The metadata of the step's one task; None if it depends on other steps, or there is none."""
    if step.type in (APPROVAL, SUB_WORKFLOW) or step.for_each is not None:
        return None
    scope = {"input": given}
    try:
        if step.when is not None:
            condition = compiled(step.when)
            if condition.steps or not is_true(condition.evaluate(scope, budget=budget)):
                return None
        expressions = {name: compiled(text) for name, text in step.input.items()}
        if any(one.steps for one in expressions.values()):
            return None
        values = {name: one.evaluate(scope, budget=budget) for name, one in expressions.items()}
    except ExpressionError:
        return None
    return {**(given if step.metadata is None else step.metadata), **step.config, **values}
