"""The agent that reads logs: `log-analyst-01`."""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from sutazai.agents.contract import AgentDescription, AgentError, Assignment, TaskContext
from sutazai.analysis.logs.report import LogRequest, analyse_logs
from sutazai.analysis.pool import AnalysisPool
from sutazai.builtin_agents.code_input import CodeInput


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
        await context.progress(100, lines_processed=made.lines, templates=made.templates_total)
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
        return answer


def _log(metadata: Mapping[str, Any]) -> str | None:
    log = metadata.get("log")
    if log is None:
        return None
    if not isinstance(log, str) or not log.strip():
        raise AgentError("`log` must be a string that is not empty.")
    return log
