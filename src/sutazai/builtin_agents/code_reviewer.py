"""The agent that reviews code: `code-reviewer-01`."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sutazai.agents.contract import AgentDescription, Assignment, ResultCache, TaskContext
from sutazai.analysis.findings import Finding, FindingType
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.reviewer import Reviewable, Reviewer, ReviewResult
from sutazai.builtin_agents.base_review import add_base
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.model_comments import asks_model
from sutazai.builtin_agents.model_review import ModelReview, Proof
from sutazai.builtin_agents.review_input import wanted_types
from sutazai.builtin_agents.unread import not_analysed, with_not_analysed, with_unread

MAX_ISSUES = 10_000
"""Issues that one result lists; more are counted, and `issues_truncated` says so."""

ONLY_SECRETS = "Nothing but secrets is looked for in files that are not Python"
NOT_PYTHON = "Found no secrets; nothing else is looked for in files that are not Python"

_NOUNS = {
    FindingType.SECURITY: ("security issue", "security issues"),
    FindingType.PERFORMANCE: ("performance improvement", "performance improvements"),
    FindingType.BUG: ("bug", "bugs"),
    FindingType.MAINTAINABILITY: ("maintainability issue", "maintainability issues"),
    FindingType.STYLE: ("style issue", "style issues"),
}


class CodeReviewer:
    """Reviews code given inline, in the workspace, or in a repository: whatever `code` opens.

    The pool is the caller's to close.
    """

    def __init__(self, *, pool: AnalysisPool, code: CodeInput) -> None:
        self._pool = pool
        self._reviewer = Reviewer(pool)
        self._model = ModelReview(pool)
        self._code = code
        self._description = AgentDescription(
            agent_id="code-reviewer-01",
            name="Code Reviewer",
            type="specialist",
            capabilities=("code_review", "security_analysis"),
            max_capacity=5,
        )

    @property
    def description(self) -> AgentDescription:
        """Who this is."""
        return self._description

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """Review what the metadata names; the result has the specification's shape.

        `summary`, `issues` (worst first), `metrics`, and what was left out: `unparsed`,
        `skipped`, `suppressed` (findings that inline comments accept). `repository` says which
        commit was read, where it was one.
        """
        started = time.perf_counter()

        async def report(done: int, total: int, lines: int, issues: int) -> None:
            percent = 5 + 90 * done // max(total, 1)
            await context.progress(percent, lines_processed=lines, issues_found=issues)

        metadata = assignment.metadata
        async with self._code.opened(metadata) as given:
            types = wanted_types(assignment.type, metadata)
            result = await self._reviewer.review(given.what, context.cache, report)
            if not result.files:
                raise InputError(nothing_reviewed(result))
            findings = findings_of(result, types)
            answer = review_answer(result, types, time.perf_counter() - started)
            if asks_model(metadata, context):
                proof = Proof(fingerprints_of(result), self._model.fingerprints)
                await self._model.add_to(
                    answer, given.what, findings, context, proof=proof, searches=True
                )
        if not findings and all(review.only_scanned for review in result.files):
            # Secrets may be there, and not be what was asked for.
            answer["summary"] = ONLY_SECRETS if fingerprints_of(result) else NOT_PYTHON
        answer["repository"] = given.repository

        async def again(what: Reviewable) -> list[Finding]:
            return findings_of(await self._reviewer.review(what, context.cache), types)

        await add_base(answer, metadata, self._code, self._pool, again)
        metrics = answer["metrics"]
        await context.progress(
            100,
            lines_processed=metrics["lines_analyzed"],
            issues_found=metrics["issues_found"],
        )
        return answer

    async def is_cached(
        self, task_type: str, metadata: Mapping[str, Any], cache: ResultCache, *, has_model: bool
    ) -> bool | None:
        """See `Foreseeing`; nothing is fetched, and no model asked, to find out."""
        if metadata.get("repository") is not None:
            return None
        async with self._code.opened(metadata) as given:
            wanted_types(task_type, metadata)
            facts = await self._reviewer.is_cached(given.what, cache)
        asks = has_model and metadata.get("model") is not False
        return None if facts and asks else facts


def findings_of(result: ReviewResult, types: frozenset[FindingType]) -> list[Finding]:
    """The findings of these types, worst first."""
    findings = [
        finding for review in result.files for finding in review.findings if finding.type in types
    ]
    return sorted(findings, key=lambda finding: finding.sort_key)


def fingerprints_of(result: ReviewResult) -> set[str]:
    """Of all that was found, also of what is not told."""
    return {one.fingerprint for review in result.files for one in review.findings}


def review_answer(
    result: ReviewResult, types: frozenset[FindingType], seconds: float
) -> dict[str, Any]:
    """The result of a review task, of the findings of these types."""
    findings = findings_of(result, types)
    unparsed = [review.unparsed for review in result.files if review.unparsed]
    said = with_unread(summarise(findings), unparsed, files=len(result.files), found=bool(findings))
    answer: dict[str, Any] = {
        "summary": with_not_analysed(said, result.files),
        "issues": msgspec.to_builtins(findings[:MAX_ISSUES]),
        "issues_truncated": len(findings) > MAX_ISSUES,
        "metrics": {
            "lines_analyzed": sum(review.lines for review in result.files),
            "time_taken": round(seconds, 3),
            "issues_found": len(findings),
            "files_analyzed": len(result.files),
            "files_cached": result.files_cached,
            "files_only_scanned": sum(review.only_scanned for review in result.files),
            "cache_hit": result.files_cached == len(result.files),
            "by_severity": dict(Counter(finding.severity.value for finding in findings)),
            "by_type": dict(Counter(finding.type.value for finding in findings)),
        },
        "unparsed": msgspec.to_builtins(unparsed),
        "not_analysed": not_analysed(result.files),
        "skipped": msgspec.to_builtins(result.skipped),
        "skipped_total": result.skipped_total,
        "suppressed": sum(review.suppressed for review in result.files),
        "analysers": result.analysers,
        "model": None,
    }
    return answer


def summarise(findings: Sequence[Finding]) -> str:
    """One sentence, such as `Found 3 security issues and 2 performance improvements`."""
    counts = Counter(finding.type for finding in findings)
    parts = [
        f"{counts[kind]} {nouns[counts[kind] != 1]}"
        for kind, nouns in _NOUNS.items()
        if counts[kind]
    ]
    if not parts:
        return "Found no issues"
    *rest, last = parts
    return f"Found {', '.join(rest)} and {last}" if rest else f"Found {last}"


def nothing_reviewed(result: ReviewResult) -> str:
    """Why there was nothing to review, for the user."""
    if not result.skipped:
        return "What is to be looked at is empty: there is no file in it."
    reasons = "; ".join(f"{item.file}: {item.reason}" for item in result.skipped[:3])
    more = f"; and {result.skipped_total - 3} more" if result.skipped_total > 3 else ""
    return f"Nothing that was named can be reviewed ({reasons}{more})."
