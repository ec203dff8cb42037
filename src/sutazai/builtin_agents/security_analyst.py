"""The agent that looks at whole projects for security: `security-analyst-01`."""

import time
from collections import Counter, defaultdict
from functools import partial
from typing import Any

import msgspec

from sutazai.agents.contract import AgentDescription, Assignment, TaskContext
from sutazai.analysis.findings import Finding
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.protocol import Inline
from sutazai.analysis.reviewer import Reviewable, Reviewer, ReviewResult
from sutazai.analysis.security.project import Deepened, DeepenRequest, deepen
from sutazai.builtin_agents.base_review import add_base
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.code_reviewer import (
    findings_of,
    fingerprints_of,
    nothing_reviewed,
    review_answer,
)
from sutazai.builtin_agents.model_comments import asks_model
from sutazai.builtin_agents.model_review import ModelReview, Proof
from sutazai.builtin_agents.review_input import wanted_types

_NOTHING_KNOWN = (
    "Found no secrets; nothing else is looked for in files that are neither Python nor templates "
    "nor configuration"
)


class SecurityAnalyst:
    """Reviews each file, then follows what goes across them, into templates and configuration.

    The pool is the caller's to close.
    """

    def __init__(self, *, pool: AnalysisPool, code: CodeInput) -> None:
        self._pool = pool
        self._reviewer = Reviewer(pool)
        self._model = ModelReview(pool)
        self._code = code
        self._description = AgentDescription(
            agent_id="security-analyst-01",
            name="Security Analyst",
            type="specialist",
            capabilities=("security_analysis",),
            max_capacity=3,
        )

    @property
    def description(self) -> AgentDescription:
        """Who this is."""
        return self._description

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """Analyse what the metadata names; the result has the shape of a review's.

        Beside it, `by_weakness` counts the findings by CWE, and `looked_at` the files by what they
        are.
        """
        started = time.perf_counter()

        async def report(done: int, total: int, lines: int, issues: int) -> None:
            percent = 5 + 60 * done // max(total, 1)
            await context.progress(percent, lines_processed=lines, issues_found=issues)

        async with self._code.opened(assignment.metadata) as given:
            types = wanted_types(assignment.type, assignment.metadata)
            result = await self._reviewer.review(given.what, context.cache, report)
            if not result.files:
                raise InputError(nothing_reviewed(result))
            deeper = await self._pool.call(deepen, DeepenRequest(what=given.what))
            whole = _together(result, deeper)
            answer = review_answer(whole, types, time.perf_counter() - started)
            if asks_model(assignment.metadata, context):
                known = fingerprints_of(result) | {one.fingerprint for one in deeper.findings}
                await self._model.add_to(
                    answer,
                    given.what,
                    findings_of(whole, types),
                    context,
                    proof=Proof(known, partial(self._again, given.what)),
                    searches=True,
                )
        looked_at = deeper.looked_at
        only_other = looked_at["other"] == sum(looked_at.values())
        if only_other and not answer["issues"] and not answer["unparsed"]:
            answer["summary"] = _NOTHING_KNOWN
        answer["suppressed"] += deeper.suppressed
        answer["repository"] = given.repository

        async def again(what: Reviewable) -> list[Finding]:
            before = await self._reviewer.review(what, context.cache)
            more = await self._pool.call(deepen, DeepenRequest(what=what))
            return findings_of(_together(before, more), types)

        await add_base(answer, assignment.metadata, self._code, self._pool, again)
        answer["looked_at"] = deeper.looked_at
        answer["by_weakness"] = _by_weakness(answer["issues"])
        metrics = answer["metrics"]
        await context.progress(
            100, lines_processed=metrics["lines_analyzed"], issues_found=metrics["issues_found"]
        )
        return answer

    async def _again(self, what: Reviewable, file: Inline) -> set[str] | None:
        """The fingerprints of a file as it is now, and of the whole with it."""
        here = await self._model.fingerprints(file)
        if here is None:
            return None
        deeper = await self._pool.call(deepen, DeepenRequest(what=what.with_file(file)))
        return here | {one.fingerprint for one in deeper.findings}


def _together(result: ReviewResult, deeper: Deepened) -> ReviewResult:
    """One result; where both say the same of a line, the look at the whole knows more."""
    more: dict[str, list[Finding]] = defaultdict(list)
    for finding in deeper.findings:
        more[finding.file].append(finding)
    files = []
    for review in result.files:
        here = more.get(review.file, [])
        said = {(one.line, one.rule) for one in here}
        kept = [one for one in review.findings if (one.line, one.rule) not in said]
        files.append(msgspec.structs.replace(review, findings=[*kept, *here]))
    return msgspec.structs.replace(result, files=files)


def _by_weakness(issues: list[dict[str, Any]]) -> dict[str, int]:
    counted = Counter(f"CWE-{one['cwe']}" for one in issues if one["cwe"] is not None)
    return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))
