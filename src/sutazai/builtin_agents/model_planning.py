"""A language model's choice of what a goal needs, held to what there is; the rest is by rules."""

from collections.abc import Mapping, Sequence

import msgspec

from sutazai.agents.contract import Colleague
from sutazai.builtin_agents.goals import understand
from sutazai.builtin_agents.planning import ABOUT, Choice, doers
from sutazai.llm.forms import StructForm
from sutazai.llm.model import Material, Prompt
from sutazai.llm.port import Model

_MOST_TOKENS = 1_024
_LONGEST_WHY = 300
_INSTRUCTIONS = """You plan work. Choose from the list of task types those that the goal needs, and
no others. Put into `after` the types whose results a step needs, or that the goal wants done
first. Say in one short sentence why each step is there. Put into `not_understood` the parts of
the goal that no type covers."""


class _Step(msgspec.Struct, kw_only=True):
    type: str
    why: str
    after: list[str] = []


class _Chosen(msgspec.Struct, kw_only=True):
    steps: list[_Step]
    not_understood: list[str] = []


async def ask(goal: str, colleagues: Sequence[Colleague], model: Model) -> Choice:
    """The model's choice. Raises ModelProblem where it makes none that could be planned."""
    able = doers(colleagues)
    there = "\n".join(f"- {one}: {_about(one, able)}" for one in sorted(able))
    rejected = {one.type for one in understand(goal, able).matches if one.rejected}

    def check(chosen: _Chosen) -> None:
        types = [step.type for step in chosen.steps]
        if not types:
            raise ValueError("there must be at least one step")
        unknown = [one for one in types if one not in able]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no type of the list")
        if len(set(types)) < len(types):
            raise ValueError("each type can be used once")
        if rejected & set(types):
            raise ValueError(f"the goal does not want {min(rejected & set(types))}")
        for number, step in enumerate(chosen.steps):
            strange = [one for one in step.after if one not in types[:number]]
            if strange:
                raise ValueError(f"{step.type} is after {strange[0]!r}, which is no earlier step")

    prompt = Prompt(
        instructions=_INSTRUCTIONS,
        question=f"The task types there are:\n{there}\n\nPlan the goal.",
        materials=(Material("The goal", goal),),
    )
    chosen = await model.ask_for(prompt, StructForm(_Chosen, check), max_tokens=_MOST_TOKENS)
    return Choice(
        types=[step.type for step in chosen.steps],
        order=frozenset((one, step.type) for step in chosen.steps for one in step.after),
        reasons={step.type: f"The model says: {step.why[:_LONGEST_WHY]}" for step in chosen.steps},
        not_understood=tuple(one[:_LONGEST_WHY] for one in chosen.not_understood[:20]),
    )


def _about(task_type: str, able: Mapping[str, Sequence[Colleague]]) -> str:
    return ABOUT.get(task_type) or f"what {able[task_type][0].name} does"
