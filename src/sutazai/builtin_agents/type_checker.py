"""The agent that checks types and infers annotations: `type-checker-01`."""

import re
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from sutazai.agents.contract import AgentDescription, AgentError, Assignment, TaskContext
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisError, AnalysisPool
from sutazai.analysis.protocol import Inline
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.typecheck.check import Check, CheckRequest, check
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.model_comments import asks_model
from sutazai.builtin_agents.model_review import ModelReview, Proof
from sutazai.builtin_agents.unread import with_unread
from sutazai.errors import ErrorCode

_VERSION = re.compile(r"3\.(?:9|1[0-4])")


class TypeChecker:
    """Runs mypy, and offers what annotations it can infer as a patch that still checks.

    `code` opens what tasks name. The pool is the caller's to close.
    """

    def __init__(self, *, pool: AnalysisPool, code: CodeInput) -> None:
        self._pool = pool
        self._code = code
        self._model = ModelReview(pool)
        self._description = AgentDescription(
            agent_id="type-checker-01",
            name="Type Checker",
            type="specialist",
            capabilities=("type_check",),
            max_capacity=2,
        )

    @property
    def description(self) -> AgentDescription:
        """Who this is."""
        return self._description

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """Check what the metadata names, all of the workspace where it names nothing.

        `summary`, `issues` (worst first), `patch` (unified diff, empty where there is none) and
        `annotations`, which says of each function what the patch writes.
        """
        started = time.perf_counter()
        await context.progress(5)
        async with self._code.opened(assignment.metadata) as given:
            request = _request(assignment.metadata, given.what)
            try:
                found = await self._pool.call(check, request)
            except AnalysisError as error:
                raise AgentError(str(error), code=ErrorCode.INTERNAL_ERROR) from None
            answer = _answer(found, time.perf_counter() - started)
            if asks_model(assignment.metadata, context):
                known = {one.fingerprint for one in found.findings}
                proof = Proof(known, partial(self._again, request))
                await self._model.add_to(answer, given.what, found.findings, context, proof=proof)
        await context.progress(100, lines_processed=found.lines, issues_found=len(found.findings))
        answer["repository"] = given.repository
        return answer

    async def _again(self, request: CheckRequest, file: Inline) -> set[str] | None:
        """The fingerprints of all that a check finds with a file as it is now."""
        what = request.what.with_file(file)
        again = msgspec.structs.replace(request, what=what, annotate=False)
        found = await self._pool.call(check, again)
        if any(one.file == file.name for one in found.unparsed):
            return None
        return {one.fingerprint for one in found.findings}


def _request(metadata: Mapping[str, Any], what: Reviewable) -> CheckRequest:
    version = metadata.get("python_version")
    if version is not None and not (isinstance(version, str) and _VERSION.fullmatch(version)):
        raise InputError('`python_version` must be a string from "3.9" to "3.14".')
    annotate = _flag(metadata, "annotate")
    return CheckRequest(
        what=what,
        strict=_flag(metadata, "strict"),
        version=version,
        annotate=annotate is not False,
    )


def _flag(metadata: Mapping[str, Any], field: str) -> bool | None:
    value = metadata.get(field)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"`{field}` must be true or false.")
    return value


def _answer(found: Check, seconds: float) -> dict[str, Any]:
    return {
        "summary": with_unread(
            _summary(found), found.unparsed, files=found.files, found=bool(found.findings)
        ),
        "issues": msgspec.to_builtins(found.findings),
        "patch": found.patch,
        "annotations": msgspec.to_builtins(found.annotated),
        "annotations_rejected": found.rejected,
        "options": found.options,
        "taken_as_any": found.taken_as_any,
        "metrics": {
            "lines_analyzed": found.lines,
            "time_taken": round(seconds, 3),
            "issues_found": len(found.findings),
            "files_analyzed": found.files,
            "functions": found.functions,
            "functions_annotated": found.functions_annotated,
            "functions_annotated_with_patch": found.functions_annotated_after,
            "by_code": dict(Counter(one.evidence[0].rule for one in found.findings)),
            "by_severity": dict(Counter(one.severity.value for one in found.findings)),
        },
        "unparsed": msgspec.to_builtins(found.unparsed),
        "skipped": msgspec.to_builtins(found.skipped),
        "skipped_total": found.skipped_total,
        "model": None,
    }


def _summary(found: Check) -> str:
    wrong = sum(one.rule == "type-error" for one in found.findings)
    missing = len(found.findings) - wrong
    parts = [f"{wrong} type error{'' if wrong == 1 else 's'}"] if wrong else []
    if missing:
        parts.append(f"{missing} missing type{'' if missing == 1 else 's'}")
    told = f"Found {' and '.join(parts)}" if parts else "Found no type errors"
    if found.annotated:
        count = len(found.annotated)
        told += f"; annotations for {count} function{'' if count == 1 else 's'} are in the patch"
    return told
