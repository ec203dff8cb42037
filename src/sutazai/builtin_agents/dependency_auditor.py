"""The agent that audits what a project depends on: `dependency-auditor-01`."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from sutazai.agents.contract import AgentDescription, Assignment, TaskContext
from sutazai.analysis.dependencies.audit import Audit, AuditRequest, audit
from sutazai.analysis.dependencies.known import LicencePolicy
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.reviewer import Reviewable
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.model_comments import asks_model
from sutazai.builtin_agents.model_review import ModelReview
from sutazai.builtin_agents.unread import with_unread

_NOUNS = {
    "vulnerable-dependency": ("known vulnerability", "known vulnerabilities"),
    "missing-dependency": ("missing dependency", "missing dependencies"),
    "conflicting-requirements": ("conflict", "conflicts"),
    "unverified-source": ("unverified source", "unverified sources"),
    "unused-dependency": ("unused dependency", "unused dependencies"),
    "unpinned-dependency": ("open version", "open versions"),
    "licence-to-clear": ("licence to clear", "licences to clear"),
    "malformed-requirement": ("malformed requirement", "malformed requirements"),
}
_MOST_NAMED = 10


class DependencyAuditor:
    """Audits manifests and imports; known vulnerabilities only from a database given as a file.

    `code` opens what tasks name. `database` is the server's advisory database (OSV), None where
    it has none. The pool is the caller's to close.
    """

    def __init__(
        self,
        *,
        pool: AnalysisPool,
        code: CodeInput,
        database: str | None = None,
    ) -> None:
        self._pool = pool
        self._code = code
        self._database = database
        self._model = ModelReview(pool)
        self._description = AgentDescription(
            agent_id="dependency-auditor-01",
            name="Dependency Auditor",
            type="specialist",
            capabilities=("dependency_audit",),
            max_capacity=2,
        )

    @property
    def description(self) -> AgentDescription:
        """Who this is."""
        return self._description

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """Audit what the metadata names, all of the workspace where it names nothing.

        `summary`, `issues` (worst first), `dependencies` (what is required where, installed,
        imported), `vulnerabilities` and `licences`, each with `checked` and, where it could not
        be, the `reason`.
        """
        started = time.perf_counter()
        await context.progress(5)
        async with self._code.opened(assignment.metadata) as given:
            request = self._request(assignment.metadata, given.what)
            found = await self._pool.call(audit, request)
            answer = _answer(found, time.perf_counter() - started)
            if asks_model(assignment.metadata, context):
                await self._model.add_to(answer, given.what, found.findings, context)
        lines, issues = found.lines, len(found.findings)
        await context.progress(100, lines_processed=lines, issues_found=issues)
        answer["repository"] = given.repository
        return answer

    def _request(self, metadata: Mapping[str, Any], what: Reviewable) -> AuditRequest:
        advisories = metadata.get("advisories")
        if advisories is not None and not isinstance(advisories, str):
            raise InputError("`advisories` must be the path of a file in the workspace.")
        licences = metadata.get("licences", {})
        if not isinstance(licences, Mapping) or not set(licences) <= {"deny", "allow"}:
            raise InputError('`licences` must be like {"deny": ["GPL"], "allow": ["MIT"]}.')
        return AuditRequest(
            what=what,
            advisories=advisories,
            database=self._database,
            licences=LicencePolicy(
                denied=_names(licences.get("deny")) or (), allowed=_names(licences.get("allow"))
            ),
        )


def _names(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise InputError("`licences` takes lists of licences' names.")
    return tuple(value)


def _answer(found: Audit, seconds: float) -> dict[str, Any]:
    by_rule = Counter(finding.rule for finding in found.findings)
    return {
        "summary": with_unread(
            _summary(by_rule, found),
            found.unparsed,
            files=found.files,
            found=bool(found.findings or found.dependencies or found.undeclared),
        ),
        "issues": msgspec.to_builtins(found.findings),
        "dependencies": found.dependencies,
        "undeclared": found.undeclared,
        "vulnerabilities": found.vulnerabilities,
        "licences": found.licences,
        "metrics": {
            "lines_analyzed": found.lines,
            "time_taken": round(seconds, 3),
            "issues_found": len(found.findings),
            "files_analyzed": found.files,
            "manifests": found.manifests,
            "by_rule": dict(by_rule),
            "by_severity": dict(Counter(one.severity.value for one in found.findings)),
        },
        "unparsed": msgspec.to_builtins(found.unparsed),
        "skipped": msgspec.to_builtins(found.skipped),
        "skipped_total": found.skipped_total,
        "model": None,
    }


def _summary(by_rule: Mapping[str, int], found: Audit) -> str:
    parts = [
        f"{by_rule[rule]} {nouns[by_rule[rule] != 1]}"
        for rule, nouns in _NOUNS.items()
        if by_rule.get(rule)
    ]
    count = len(found.dependencies)
    of = f"in {count} {'dependency' if count == 1 else 'dependencies'}"
    if not found.manifests:
        told = _without_manifest(found)
    else:
        told = f"Found {', '.join(parts)} {of}" if parts else f"Found nothing wrong {of}"
    if not found.vulnerabilities["checked"]:
        told += "; known vulnerabilities were not looked for: no advisory database"
    return told


def _without_manifest(found: Audit) -> str:
    """What can be said of a project that declares nothing."""
    told = "No manifest (such as pyproject.toml or requirements.txt) was found in what was named"
    names = [one["distribution"] for one in found.undeclared]
    if not names:
        return f"{told}, and nothing is imported from outside of the project and Python itself"
    shown = ", ".join(names[:_MOST_NAMED])
    if len(names) > _MOST_NAMED:
        shown += f" and {len(names) - _MOST_NAMED} more"
    return f"{told}: {shown} {'is' if len(names) == 1 else 'are'} imported undeclared"
