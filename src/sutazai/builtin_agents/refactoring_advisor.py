"""The agent that says what code could do without, and removes it: `refactoring-advisor-01`."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from sutazai.agents.contract import AgentDescription, Assignment, TaskContext
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.refactoring.advice import Advice, advise
from sutazai.analysis.refactoring.fixing import Change
from sutazai.analysis.refactoring.proof import Outcomes, Proof, Prover
from sutazai.analysis.sandbox import Sandbox, SandboxUnavailable
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.model_comments import asks_model
from sutazai.builtin_agents.model_review import ModelReview
from sutazai.builtin_agents.unread import with_unread

_MOST_ISSUES = 2_000
_DEFAULT_SECONDS, _MOST_SECONDS = 120.0, 600.0
_NOUNS = {
    "dead-code": ("piece of dead code", "pieces of dead code"),
    "duplicated-code": ("duplicate", "duplicates"),
    "too-complex": ("function that is hard to follow", "functions that are hard to follow"),
}


class RefactoringAdvisor:
    """Finds dead code, duplicates and complex functions, and offers safe fixes as a patch.

    `code` opens what tasks name. The project's tests run in the sandbox, without and with the
    fixes; the pool is the caller's to close.
    """

    def __init__(self, *, pool: AnalysisPool, code: CodeInput, sandbox: Sandbox) -> None:
        self._pool = pool
        self._code = code
        self._sandbox = sandbox
        self._model = ModelReview(pool)
        self._description = AgentDescription(
            agent_id="refactoring-advisor-01",
            name="Refactoring Advisor",
            type="specialist",
            capabilities=("refactoring",),
            max_capacity=2,
        )

    @property
    def description(self) -> AgentDescription:
        """Who this is."""
        return self._description

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """Advise on what the metadata names.

        `issues` (worst first), `duplicates` with all their places, `patch` with `fixes`, which is
        what it does, and `tests`, which says whether the project's tests pass with it.
        """
        started = time.perf_counter()
        metadata = assignment.metadata
        await context.progress(5)
        async with self._code.opened(metadata) as given:
            wants_tests, seconds = _options(metadata)
            advice = await self._pool.call(advise, given.what)
            await context.progress(50, files=advice.files, issues_found=len(advice.findings))
            proof = Proof(kept=advice.changes, dropped=[], before=None, after=None)
            proof.reason = _why_not(advice, wanted=wants_tests, has_root=given.root is not None)
            if not proof.reason and given.root is not None:
                proof = await self._proven(Prover(self._sandbox, given.root, seconds), advice)
            answer = _answer(advice, proof)
            if asks_model(metadata, context):
                await self._model.add_to(answer, given.what, advice.findings, context)
        await context.progress(100, files=advice.files, issues_found=len(advice.findings))
        answer["metrics"]["time_taken"] = round(time.perf_counter() - started, 3)
        answer["repository"] = given.repository
        return answer

    async def _proven(self, prover: Prover, advice: Advice) -> Proof:
        try:
            return await prover.prove(advice.changes)
        except SandboxUnavailable as error:
            # What was found is worth having without the tests, as long as nobody is misled.
            kept = advice.changes
            return Proof(kept=kept, dropped=[], before=None, after=None, reason=str(error))


def _options(metadata: Mapping[str, Any]) -> tuple[bool, float]:
    tests = metadata.get("tests", True)
    if not isinstance(tests, bool):
        raise InputError("`tests` must be true or false.")
    seconds = metadata.get("seconds", _DEFAULT_SECONDS)
    fits = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not fits or not 1 <= seconds <= _MOST_SECONDS:
        raise InputError(f"`seconds` must be a number from 1 to {_MOST_SECONDS:g}.")
    return tests, float(seconds)


def _why_not(advice: Advice, *, wanted: bool, has_root: bool) -> str:
    """Why the tests are not run; empty where they are to be."""
    if not wanted:
        return "`tests` is false"
    if not advice.changes:
        return "there is nothing to fix"
    if not has_root:
        return "inline code has no tests"
    return "" if advice.tests else "the project has no tests"


def _answer(advice: Advice, proof: Proof) -> dict[str, Any]:
    kept = sorted(proof.kept, key=lambda one: one.file)
    fixes = [fix for change in kept for fix in change.fixes]
    return {
        "summary": with_unread(
            _summary(advice, proof, len(fixes)),
            advice.unparsed,
            files=advice.files,
            found=bool(advice.findings or fixes),
        ),
        "issues": msgspec.to_builtins(advice.findings[:_MOST_ISSUES]),
        "issues_truncated": len(advice.findings) > _MOST_ISSUES,
        "duplicates": msgspec.to_builtins(advice.duplicates),
        "complex_functions": msgspec.to_builtins(advice.complex),
        "patch": "".join(change.patch for change in kept),
        "fixes": msgspec.to_builtins(fixes),
        "fixes_dropped": [_dropped(change) for change in proof.dropped],
        "tests": _tests(advice, proof),
        "metrics": {
            "lines_analyzed": advice.lines,
            "issues_found": len(advice.findings),
            "files_analyzed": advice.files,
            "files_fixed": len(kept),
            "fixes": len(fixes),
            "by_rule": dict(Counter(one.rule for one in advice.findings)),
            "fixes_by_rule": dict(Counter(fix.rule for fix in fixes)),
        },
        "suppressed": advice.suppressed,
        "unparsed": msgspec.to_builtins(advice.unparsed),
        "skipped": msgspec.to_builtins(advice.skipped),
        "skipped_total": advice.skipped_total,
        "model": None,
    }


def _dropped(change: Change) -> dict[str, Any]:
    return {
        "file": change.file,
        "fixes": len(change.fixes),
        "reason": "a test that passes without them does not pass with them, or was not run again",
    }


def _tests(advice: Advice, proof: Proof) -> dict[str, Any]:
    told: dict[str, Any] = {
        "files": len(advice.tests),
        "ran": proof.before is not None and bool(proof.before.by_test),
        "keeps_passing": None,
        "reason": proof.reason or None,
        "output": (proof.before.output or None) if proof.before else None,
        "before": _counted(proof.before),
        "after": _counted(proof.after),
    }
    if proof.before is not None and proof.after is not None:
        told["keeps_passing"] = proof.before.passed <= proof.after.passed
    elif proof.before is not None and proof.before.passed and not proof.kept:
        told["reason"] = "no fix was kept: each made a test fail"
    if proof.before is not None and told["reason"] is None and proof.before.not_loaded:
        modules = "module" if proof.before.not_loaded == 1 else "modules"
        told["reason"] = (
            f"{proof.before.not_loaded} test {modules} could not be loaded, and what is in there "
            "proves nothing"
        )
    return told


def _counted(outcomes: Outcomes | None) -> dict[str, int] | None:
    return None if outcomes is None else dict(Counter(outcomes.by_test.values()))


def _summary(advice: Advice, proof: Proof, fixes: int) -> str:
    counts = Counter(one.rule for one in advice.findings)
    parts = [
        f"{counts[rule]} {nouns[counts[rule] != 1]}"
        for rule, nouns in _NOUNS.items()
        if counts[rule]
    ]
    said = f"Found {', '.join(parts)}" if parts else "Found nothing to restructure"
    if not fixes:
        return f"{said}; no safe fix"
    said += f"; {fixes} safe {'fix' if fixes == 1 else 'fixes'} in the patch"
    if proof.after is not None:
        return f"{said}, with which {len(proof.after.passed)} tests pass as before"
    return f"{said}, not proven by tests: {proof.reason}"
