"""The agent that reads logs: `log-analyst-01`."""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from sutazai.agents.contract import AgentDescription, AgentError, Assignment, TaskContext
from sutazai.analysis.logs.report import LogRequest, analyse_logs
from sutazai.analysis.pool import AnalysisPool
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.model_comments import (
    BY,
    Brief,
    Comment,
    Comments,
    Fact,
    Question,
    asks_model,
    clean,
    strange,
)

_MOST_EXPLAINED = 9
"""Templates that a model is asked about, the worst first."""


class _Meaning(Comment, kw_only=True):
    quote: Brief
    meaning: Brief
    likely_cause: Brief


_MEANING = Question(
    _Meaning,
    "You explain log messages to those who run the program. For each candidate quote the words of "
    "the template that matter, say in one sentence what the message means, and in one what the "
    "likely cause is. Name nothing that is not in the material.",
)


class LogAnalyst:
    """Reads logs given inline, or files of the workspace.

    The pool is the caller's to close.
    """

    def __init__(self, *, pool: AnalysisPool, code: CodeInput) -> None:
        self._pool = pool
        self._code = code
        self._description = AgentDescription(
            agent_id="log-analyst-01",
            name="Log Analyst",
            type="specialist",
            capabilities=("log_analysis",),
            max_capacity=3,
        )

    @property
    def description(self) -> AgentDescription:
        """Who this is."""
        return self._description

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """`templates`, `bursts`, `first_occurrences`, `followers`, `shared_ids`, `exceptions`."""
        started = time.perf_counter()
        metadata = dict(assignment.metadata)
        log = _log(metadata)
        if log is not None:
            metadata = {"code": log}  # so that it is checked as text is, and nothing is opened
        await context.progress(5)
        async with self._code.opened(metadata) as given:
            request = LogRequest(
                now=time.time(), log=log, what=None if log is not None else given.what
            )
            made = await self._pool.call(analyse_logs, request)
        answer: dict[str, Any] = msgspec.to_builtins(made)
        levels = answer.pop("levels")
        answer["time_range"] = {"start": answer.pop("start"), "end": answer.pop("end")}
        answer["metrics"] = {
            "files_analyzed": answer.pop("files"),
            "lines_analyzed": answer.pop("lines"),
            "lines_folded": answer.pop("folded_lines"),
            "entries": answer.pop("entries"),
            "templates": answer.pop("templates_total"),
            "by_severity": levels,
            "time_taken": round(time.perf_counter() - started, 3),
        }
        answer["model"] = None
        if asks_model(assignment.metadata, context):
            answer["model"] = await _explain(answer["templates"], context)
        await context.progress(100, lines_processed=made.lines, templates=made.templates_total)
        return answer


async def _explain(templates: list[dict[str, Any]], context: TaskContext) -> dict[str, Any]:
    """Put into templates what a model says they mean; what it says of itself."""
    comments = Comments(context)
    by_key = {str(one["id"]): one for one in templates[:_MOST_EXPLAINED]}
    facts = [
        Fact(
            key=key,
            label=f"{one['severity']}, {one['count']} times",
            text="\n".join([one["template"], *(sample["text"] for sample in one["samples"][:3])]),
        )
        for key, one in by_key.items()
    ]
    async with comments.asking():
        async for fact, told in comments.on(facts, _MEANING, _unfounded):
            by_key[fact.key]["comment"] = {
                "by": BY,
                "quote": clean(told.quote),
                "meaning": clean(told.meaning),
                "likely_cause": clean(told.likely_cause),
            }
    return comments.report()


def _unfounded(fact: Fact, told: _Meaning) -> str | None:
    """Why an explanation does not count: it must quote the template, and name nothing else."""
    template = clean(fact.text.split("\n", 1)[0])
    quote = clean(told.quote)
    if not quote or quote.lower() not in template.lower():
        return "it quotes something else"
    unknown = strange(f"{told.meaning} {told.likely_cause}", fact.text)
    return None if unknown is None else f"the template has no {unknown}"


def _log(metadata: Mapping[str, Any]) -> str | None:
    log = metadata.get("log")
    if log is None:
        return None
    if not isinstance(log, str) or not log.strip():
        raise AgentError("`log` must be a string that is not empty.")
    return log
