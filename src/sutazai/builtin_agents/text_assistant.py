"""The agent for texts: `text-assistant-01`."""

from typing import Any

from sutazai.agents.contract import AgentDescription, AgentError, Assignment, TaskContext
from sutazai.analysis.globs import InputError
from sutazai.builtin_agents.text_input import PromptInput, parse_prompt
from sutazai.errors import ErrorCode
from sutazai.llm.forms import SchemaForm
from sutazai.llm.model import (
    BudgetExceeded,
    Material,
    ModelFailed,
    ModelMissing,
    ModelProblem,
    ModelUnavailable,
    Prompt,
)

_INSTRUCTIONS = "Do what the user asks. Be accurate and brief; say so where you do not know."


class TextAssistant:
    """Answers prompts with a language model."""

    description = AgentDescription(
        agent_id="text-assistant-01",
        name="Text Assistant",
        type="specialist",
        capabilities=("llm_prompt",),
        max_capacity=20,
        needs_model=("llm_prompt",),
    )

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """What the task's type asks for; the result says which model was asked, if any."""
        try:
            wanted = parse_prompt(
                assignment.description, assignment.metadata, assignment.configuration
            )
        except InputError as error:
            raise AgentError(str(error)) from None
        return await _prompt(wanted, context)


async def _prompt(wanted: PromptInput, context: TaskContext) -> dict[str, Any]:
    materials = (Material("The text", wanted.text),) if wanted.text is not None else ()
    prompt = Prompt(
        instructions=wanted.system or _INSTRUCTIONS, question=wanted.prompt, materials=materials
    )
    try:
        if wanted.schema is None:
            output: Any = await context.model.ask(
                prompt, max_tokens=wanted.max_tokens, stream=True, fresh=wanted.is_random
            )
        else:
            form = SchemaForm(wanted.schema)
            output = await context.model.ask_for(
                prompt, form, max_tokens=wanted.max_tokens, stream=True
            )
    except ModelProblem as problem:
        raise failed(problem) from None
    return {"output": output, "model": context.model.report()}


def failed(problem: ModelProblem) -> AgentError:
    """How a task fails that is nothing without the model."""
    match problem:
        case BudgetExceeded():
            return AgentError(str(problem), code=ErrorCode.RATE_LIMIT_EXCEEDED)
        case ModelMissing():
            return AgentError(str(problem), code=ErrorCode.SERVICE_UNAVAILABLE)
        case ModelUnavailable():
            return AgentError(str(problem), code=ErrorCode.SERVICE_UNAVAILABLE, retryable=True)
        case ModelFailed(is_passing=passing):
            return AgentError(str(problem), code=ErrorCode.SERVICE_UNAVAILABLE, retryable=passing)
        case _:
            return AgentError(str(problem), code=ErrorCode.INTERNAL_ERROR)
