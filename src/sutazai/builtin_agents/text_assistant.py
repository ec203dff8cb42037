"""The agent for texts: `text-assistant-01`."""

from collections.abc import Mapping
from typing import Any

from sutazai.agents.contract import AgentDescription, AgentError, Assignment, TaskContext
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.summaries import Summary, Text, split, summarise, unsupported, words
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.text_input import (
    ExtractionInput,
    PromptInput,
    SummaryInput,
    parse_extraction,
    parse_prompt,
    parse_summary,
)
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
_SUMMARISE = (
    "Summarise the text in plain sentences, in the text's language. Use only what the text says: "
    "no opinion, nothing from elsewhere, no headings."
)
_EXTRACT = (
    "Extract what the JSON schema asks for from the text. Copy values as they stand there; invent "
    "nothing."
)
_MOST_READ = 12_000
"""Characters of a text that a model is sent; of a longer one, the sentences that say most."""
_MOST_CHOSEN = 80


class TextAssistant:
    """Summarises with or without a language model; extracts and answers prompts with one.

    The pool is the caller's to close; `code` opens the files that tasks name.
    """

    description = AgentDescription(
        agent_id="text-assistant-01",
        name="Text Assistant",
        type="specialist",
        capabilities=("summarization", "extraction", "llm_prompt"),
        max_capacity=20,
        needs_model=("extraction", "llm_prompt"),
    )

    def __init__(self, *, pool: AnalysisPool, code: CodeInput) -> None:
        self._pool = pool
        self._code = code

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """What the task's type asks for; the result says which model was asked, if any."""
        metadata = assignment.metadata
        try:
            match assignment.type:
                case "summarization":
                    return await self._summarise(metadata, context)
                case "extraction":
                    return await _extract(parse_extraction(metadata), context)
                case _:
                    wanted = parse_prompt(
                        assignment.description, metadata, assignment.configuration
                    )
                    return await _prompt(wanted, context)
        except InputError as error:
            raise AgentError(str(error)) from None

    async def _summarise(self, metadata: Mapping[str, Any], context: TaskContext) -> dict[str, Any]:
        wanted = parse_summary(metadata)
        if wanted.text is not None:
            asked = Text(text=wanted.text, sentences=wanted.sentences)
            found = await self._pool.call(summarise, asked)
        else:
            async with self._code.opened(metadata) as given:
                asked = Text(what=given.what, sentences=wanted.sentences)
                found = await self._pool.call(summarise, asked)
        answer: dict[str, Any] = {
            "summary": " ".join(sentence.text for sentence in found.sentences),
            "method": "extractive",
            "sentences": [
                {"text": one.text, "position": one.position, "score": one.score}
                for one in found.sentences
            ],
            "sentences_total": found.total,
            "model": None,
        }
        if wanted.may_ask and context.model.is_available:
            answer |= await self._rewritten(found, wanted, context)
        return answer

    async def _rewritten(
        self, found: Summary, wanted: SummaryInput, context: TaskContext
    ) -> dict[str, Any]:
        """The same in a model's words, as far as the source bears it out."""
        source = found.source
        if len(source) > _MOST_READ:
            asked = Text(text=source, sentences=_MOST_CHOSEN)
            best = await self._pool.call(summarise, asked)
            source = "\n".join(sentence.text for sentence in best.sentences)[:_MOST_READ]
        prompt = Prompt(
            instructions=_SUMMARISE,
            question=f"Summarise it in at most {len(found.sentences)} sentences.",
            materials=(Material("The text", source),),
        )
        try:
            text = await context.model.ask(prompt, max_tokens=wanted.max_tokens, stream=True)
        except ModelProblem as problem:
            return {"model": (context.model.report() or {}) | {"problem": str(problem)}}
        known = frozenset(words(found.source))
        kept, dropped = [], []
        for sentence in split(text):
            reason = unsupported(sentence, found.source, known)
            if reason is None:
                kept.append(sentence)
            else:
                dropped.append({"text": sentence, "reason": reason})
        answer: dict[str, Any] = {"model": context.model.report(), "dropped": dropped}
        if kept:
            answer |= {"summary": " ".join(kept), "method": "abstractive"}
        return answer


async def _extract(wanted: ExtractionInput, context: TaskContext) -> dict[str, Any]:
    prompt = Prompt(
        instructions=_EXTRACT,
        question="Extract it.",
        materials=(Material("The text", wanted.text),),
    )
    try:
        value = await context.model.ask_for(
            prompt, SchemaForm(wanted.schema), max_tokens=wanted.max_tokens
        )
    except ModelProblem as problem:
        raise failed(problem, context) from None
    return {
        "output": value,
        "not_in_text": sorted(_not_in(value, wanted.text.lower(), "$")),
        "model": context.model.report(),
    }


def _not_in(value: Any, text: str, path: str) -> list[str]:
    """The paths of the texts and numbers that the source does not have literally."""
    match value:
        case dict():
            below = [(f"{path}.{key}", part) for key, part in value.items()]
        case list():
            below = [(f"{path}[{at}]", part) for at, part in enumerate(value)]
        case bool() | None:
            return []
        case _:
            return [] if str(value).lower() in text else [path]
    return [one for where, part in below for one in _not_in(part, text, where)]


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
        raise failed(problem, context) from None
    return {"output": output, "model": context.model.report()}


def failed(problem: ModelProblem, context: TaskContext) -> AgentError:
    """How a task fails that is nothing without the model; with what was spent on it."""
    code, retryable = ErrorCode.SERVICE_UNAVAILABLE, False
    match problem:
        case BudgetExceeded():
            code = ErrorCode.RATE_LIMIT_EXCEEDED
        case ModelMissing():
            pass
        case ModelUnavailable():
            retryable = True
        case ModelFailed(is_passing=passing):
            retryable = passing
        case _:
            code = ErrorCode.INTERNAL_ERROR
    result = {"output": None, "model": context.model.report()}
    return AgentError(str(problem), code=code, retryable=retryable, result=result)
