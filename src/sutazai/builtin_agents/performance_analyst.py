"""The agent that looks for what makes code slow: `performance-analyst-01`."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sutazai.agents.contract import AgentDescription, AgentError, Assignment, TaskContext
from sutazai.analysis.complexity import Measured
from sutazai.analysis.findings import Finding, FindingType
from sutazai.analysis.globs import InputError
from sutazai.analysis.performance.measuring import Measurement, measure
from sutazai.analysis.performance.profiling import (
    Command,
    NotProfiled,
    Profile,
    Row,
    hottest,
    is_of_project,
    parsed_command,
    profile,
    shown_file,
)
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.reviewer import Reviewer, ReviewResult
from sutazai.analysis.sandbox import Sandbox
from sutazai.builtin_agents.code_input import CodeInput, Given
from sutazai.builtin_agents.code_reviewer import nothing_reviewed
from sutazai.builtin_agents.model_comments import asks_model
from sutazai.builtin_agents.model_review import ModelReview
from sutazai.builtin_agents.unread import with_unread

_MOST_ISSUES = 1_000
_COMPLEX_COGNITIVE, _COMPLEX_CYCLOMATIC = 15, 10
_DEFAULT_SECONDS, _MOST_SECONDS = 60.0, 300.0
_DEFAULT_TOP, _MOST_TOP = 20, 100
_MODULE, _MOST_DECORATORS = "<module>", 20


class PerformanceAnalyst:
    """Finds costly patterns and complex functions, and profiles a command where one is given.

    `code` opens what tasks name; commands run in the sandbox. The pool is the caller's to close.
    """

    def __init__(self, *, pool: AnalysisPool, code: CodeInput, sandbox: Sandbox) -> None:
        self._pool = pool
        self._reviewer = Reviewer(pool)
        self._code = code
        self._sandbox = sandbox
        self._model = ModelReview(pool)
        self._description = AgentDescription(
            agent_id="performance-analyst-01",
            name="Performance Analyst",
            type="specialist",
            capabilities=("performance_analysis",),
            max_capacity=2,
        )

    @property
    def description(self) -> AgentDescription:
        """Who this is."""
        return self._description

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """Analyse what the metadata names, and profile `command` where it is given.

        `issues` are the costly patterns, those first in whose functions the measured time goes;
        `functions` the complex ones; `profile` the hottest functions of the run, or why there is
        none.
        """
        started = time.perf_counter()
        metadata = assignment.metadata
        top = _number(metadata, "top", _DEFAULT_TOP, _MOST_TOP)
        await context.progress(5)
        async with self._code.opened(metadata) as given:
            command = _command(metadata, given)
            result = await self._reviewer.review(given.what, context.cache)
            if command is None:
                _check_has_python(result)
            await context.progress(30, files=len(result.files))
            measurement = await self._pool.call(measure, given.what)
            await context.progress(50, files=len(result.files))
            run = await self._profiled(command)
            shares = _Shares(measurement.functions, run)
            issues = _issues(result, shares)
            answer = _answer(result, measurement, run, issues, shares, int(top))
            if asks_model(metadata, context):
                await self._model.add_to(answer, given.what, issues, context)
        await context.progress(100, files=len(result.files))
        answer["metrics"]["time_taken"] = round(time.perf_counter() - started, 3)
        answer["repository"] = given.repository
        return answer

    async def _profiled(self, command: Command | None) -> Profile | str:
        """The profile, or why there is none."""
        if command is None:
            return "no `command` was given; with one, it is run and measured in the sandbox"
        try:
            return await profile(self._sandbox, command)
        except NotProfiled as error:
            raise AgentError(str(error)) from None


def _command(metadata: Mapping[str, Any], given: Given) -> Command | None:
    if metadata.get("command") is None:
        return None
    argv, module = parsed_command(metadata["command"])
    inline = [one.name.lstrip("/") for one in given.what.inline]
    if not module and given.root is not None and not Path(given.root, argv[0]).is_file():
        raise InputError(f"`command` names {argv[0]!r}, and there is no such file.")
    if not module and given.root is None and argv[0] not in inline:
        raise InputError(f"`command` names {argv[0]!r}; the inline code is {inline[0]!r}.")
    return Command(
        argv=argv,
        module=module,
        seconds=_number(metadata, "seconds", _DEFAULT_SECONDS, _MOST_SECONDS),
        source=given.root,
        inline=given.what.inline,
    )


def _number(metadata: Mapping[str, Any], field: str, default: float, most: float) -> float:
    value = metadata.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= most:
        raise AgentError(f"`{field}` must be a number from 1 to {most:g}.")
    return float(value)


def _check_has_python(result: ReviewResult) -> None:
    """InputError where there is nothing whose cost could be judged."""
    if not result.files:
        raise InputError(nothing_reviewed(result))
    if all(review.only_scanned for review in result.files):
        raise InputError("There is no Python file in what the task names, nor a `command` to run.")


def _issues(result: ReviewResult, shares: "_Shares") -> list[Finding]:
    """The costly patterns, those first in whose functions the measured time goes."""
    findings = [
        finding
        for review in result.files
        for finding in review.findings
        if finding.type is FindingType.PERFORMANCE
    ]
    return sorted(findings, key=lambda one: (-shares.of(one), one.sort_key))


def _answer(
    result: ReviewResult,
    measurement: Measurement,
    run: Profile | str,
    issues: Sequence[Finding],
    shares: "_Shares",
    top: int,
) -> dict[str, Any]:
    complex_ = [one for one in measurement.functions if _is_complex(one)]
    unparsed = [review.unparsed for review in result.files if review.unparsed]
    found = bool(issues or complex_ or isinstance(run, Profile))
    return {
        "summary": with_unread(
            _summary(issues, complex_, run), unparsed, files=len(result.files), found=found
        ),
        "issues": [shares.told(one) for one in issues[:_MOST_ISSUES]],
        "issues_truncated": len(issues) > _MOST_ISSUES,
        "functions": msgspec.to_builtins(complex_[:top]),
        "functions_total": len(measurement.functions),
        "profile": _told(run, top),
        "metrics": {
            "lines_analyzed": sum(review.lines for review in result.files),
            "issues_found": len(issues),
            "files_analyzed": len(result.files),
            "functions_complex": len(complex_),
            "by_rule": dict(Counter(one.rule for one in issues)),
            "by_severity": dict(Counter(one.severity.value for one in issues)),
        },
        "unparsed": msgspec.to_builtins(unparsed),
        "skipped": msgspec.to_builtins(result.skipped),
        "skipped_total": result.skipped_total,
        "analysers": result.analysers,
        "model": None,
    }


def _is_complex(one: Measured) -> bool:
    return one.cognitive > _COMPLEX_COGNITIVE or one.cyclomatic > _COMPLEX_CYCLOMATIC


class _Shares:
    """How much of the measured time goes through the function that a finding lies in."""

    def __init__(self, functions: Sequence[Measured], run: Profile | str) -> None:
        self._functions: dict[str, list[Measured]] = {}
        self._rows: dict[tuple[str, int, str], Row] = {}
        self._total = 0.0
        if isinstance(run, Profile):
            self._total = run.profiled_seconds
            for one in functions:
                self._functions.setdefault(one.file.lstrip("/"), []).append(one)
            for row in run.functions:
                if is_of_project(row.file):
                    file = shown_file(row.file).lstrip("/")
                    self._rows[file, row.line, row.function] = row

    def of(self, finding: Finding) -> float:
        """From 0 to 1; 0 where nothing was measured."""
        row = self._row(finding)
        return row.cumulative_seconds / self._total if row and self._total else 0.0

    def told(self, finding: Finding) -> dict[str, Any]:
        """The finding, with what was measured of its function; None where that did not run."""
        told: dict[str, Any] = msgspec.to_builtins(finding)
        row = self._row(finding)
        told["measured"] = row and {
            "function": row.function,
            "calls": row.calls,
            "own_seconds": round(row.own_seconds, 6),
            "cumulative_seconds": round(row.cumulative_seconds, 6),
            "share": round(self.of(finding), 4),
        }
        return told

    def _row(self, finding: Finding) -> Row | None:
        file = finding.file.lstrip("/")
        around = [
            one for one in self._functions.get(file, ()) if one.line <= finding.line <= one.end_line
        ]
        if not around:
            return self._rows.get((file, 0, _MODULE)) or self._rows.get((file, 1, _MODULE))
        function = max(around, key=lambda one: one.line)
        name = function.name.rpartition(".")[2]
        # The profiler names the line of the first decorator, the measurement that of `def`.
        lines = range(function.line, max(function.line - _MOST_DECORATORS, 0), -1)
        found = (self._rows.get((file, line, name)) for line in lines)
        return next(filter(None, found), None)


def _told(run: Profile | str, top: int) -> dict[str, Any]:
    if isinstance(run, str):
        return {"measured": False, "reason": run}
    return {
        "measured": True,
        "ended": run.how,
        "exit_code": run.exit_code,
        "error": run.error or None,
        "seconds": round(run.seconds, 6),
        "calls": run.calls,
        "peak_memory_bytes": run.peak_memory,
        "hottest_by_own_time": [_row(row, run) for row in hottest(run.functions, top, own=True)],
        "hottest_by_cumulative_time": [
            _row(row, run) for row in hottest(run.functions, top, own=False)
        ],
        "stdout": run.stdout,
        "stderr": run.stderr,
    }


def _row(row: Row, run: Profile) -> dict[str, Any]:
    total = run.profiled_seconds
    return {
        "file": shown_file(row.file),
        "line": row.line,
        "function": row.function,
        "of_project": is_of_project(row.file),
        "calls": row.calls,
        "primitive_calls": row.primitive_calls,
        "own_seconds": round(row.own_seconds, 6),
        "cumulative_seconds": round(row.cumulative_seconds, 6),
        "own_share": round(row.own_seconds / total, 4) if total else 0.0,
    }


def _summary(issues: Sequence[Finding], complex_: Sequence[Measured], run: Profile | str) -> str:
    patterns = f"{len(issues)} costly pattern{'s' * (len(issues) != 1)}"
    functions = f"{len(complex_)} complex function{'s' * (len(complex_) != 1)}"
    said = f"Found {patterns} and {functions}"
    if isinstance(run, str):
        return f"{said}; nothing was measured, because no `command` was given"
    said += f"; the command took {run.seconds:.3g} s"
    by_own = hottest(run.functions, len(run.functions), own=True)
    project = next((row for row in by_own if is_of_project(row.file)), None)
    if project is not None and run.profiled_seconds:
        share = project.own_seconds / run.profiled_seconds
        said += f", {share:.0%} of it in {project.function} ({shown_file(project.file)})"
    return said
