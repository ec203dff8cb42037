"""The agent that looks for the cause of a failure: `bug-diagnoser-01`."""

import shlex
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from sutazai.agents.contract import AgentDescription, AgentError, Assignment, TaskContext
from sutazai.analysis.diagnosis.diagnose import Diagnosis, DiagnosisRequest, diagnose
from sutazai.analysis.diagnosis.reproducing import Reproduction, reproduce
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.protocol import Inline
from sutazai.analysis.sandbox import Sandbox, SandboxUnavailable
from sutazai.builtin_agents.code_input import CodeInput, Given
from sutazai.builtin_agents.environments import given_environment
from sutazai.builtin_agents.model_comments import asks_model
from sutazai.builtin_agents.model_diagnosis import ModelDiagnosis, Retrial

_MOST_WORDS = 100
_USAGE = "`command` must be `pytest …`, `python file.py …` or `python -m module …`."
_PROGRAMS = ("python", "python3", "pytest")


class BugDiagnoser:
    """Reads tracebacks beside the source, and makes failures happen again in the sandbox.

    The pool is the caller's to close.
    """

    def __init__(self, *, pool: AnalysisPool, code: CodeInput, sandbox: Sandbox) -> None:
        self._pool = pool
        self._code = code
        self._sandbox = sandbox
        self._model = ModelDiagnosis(pool)
        self._description = AgentDescription(
            agent_id="bug-diagnoser-01",
            name="Bug Diagnoser",
            type="specialist",
            capabilities=("bug_diagnosis",),
            max_capacity=3,
        )

    @property
    def description(self) -> AgentDescription:
        """Who this is."""
        return self._description

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """`failing` (line and expression), `values`, `cause`, and `suspects`, likeliest first."""
        metadata = assignment.metadata
        try:
            text, diff = _string(metadata, "traceback"), _string(metadata, "diff")
            command = _command(metadata)
            environment = given_environment(metadata.get("environment"))
            if text is None and command is None:
                raise InputError("Give a `traceback`, or a `command` or `test` that fails.")
        except InputError as error:
            raise AgentError(str(error)) from None
        await context.progress(5)
        async with self._code.opened(metadata) as given:
            run, unavailable = None, ""
            if command is not None:
                try:
                    run = await self._reproduced(given, command, environment)
                except SandboxUnavailable as error:
                    if text is None:
                        raise
                    unavailable = str(error)
            await context.progress(60)
            request = DiagnosisRequest(what=given.what, text=text, diff=diff, reproduction=run)
            made = await self._pool.call(diagnose, request)
            answer = _answer(made, unavailable, given)
            if asks_model(metadata, context):
                again = None
                if run is not None and command is not None:
                    again = Retrial(command, partial(self._reproduced, given, command, environment))
                await self._model.add_to(answer, given.what, made, again, context)
        await context.progress(100, suspects=len(made.suspects))
        return answer

    async def _reproduced(
        self,
        given: Given,
        command: list[str],
        environment: dict[str, str],
        repaired: Inline | None = None,
    ) -> Reproduction:
        """The run, with one file as it is repaired."""
        what = given.what if repaired is None else given.what.with_file(repaired)
        return await reproduce(
            self._sandbox,
            command,
            source=given.root,
            files={one.name: one.content for one in what.inline},
            environment=environment,
            replaced={one.name.lstrip("/"): one.content for one in what.instead},
        )


def _string(metadata: Mapping[str, Any], field: str) -> str | None:
    value = metadata.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"`{field}` must be a string that is not empty.")
    return value


def _command(metadata: Mapping[str, Any]) -> list[str] | None:
    test, command = _string(metadata, "test"), metadata.get("command")
    if test is not None:
        if command is not None:
            raise InputError("Give either a `test` or a `command`.")
        if test.startswith("-"):
            raise InputError("`test` names a test, such as `tests/test_orders.py::test_total`.")
        return ["pytest", test]
    if command is None:
        return None
    try:
        words = shlex.split(command) if isinstance(command, str) else command
    except ValueError:
        raise InputError("`command` has a quotation mark that is not closed.") from None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError("`command` must be a string or a list of strings.")
    if not 1 <= len(words) <= _MOST_WORDS or any("\x00" in word for word in words):
        raise InputError(f"`command` must have 1 to {_MOST_WORDS} words.")
    if words[0] not in _PROGRAMS or (words[0] != "pytest" and len(words) < 2):
        raise InputError(_USAGE)
    if words[:3] in (["python", "-m", "pytest"], ["python3", "-m", "pytest"]):
        words = words[2:]
    elif words[0] != "pytest" and words[1].startswith("-") and not _is_module(words):
        raise InputError(_USAGE)
    return list(words)


def _is_module(words: list[str]) -> bool:
    return words[1] == "-m" and len(words) > 2


def _answer(made: Diagnosis, unavailable: str, given: Given) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "summary": made.summary,
        "failing": msgspec.to_builtins(made.failing),
        "values": msgspec.to_builtins(made.values),
        "cause": {
            "kind": made.cause_kind,
            "explanation": made.cause,
            "confidence": made.confidence,
        },
        "suspects": msgspec.to_builtins(made.suspects),
        "failures": msgspec.to_builtins(made.failures),
        "reproduced": made.reproduced,
        "metrics": {"files_analyzed": made.files, "suspects": len(made.suspects)},
        "skipped": msgspec.to_builtins(made.skipped),
        "unparsed": msgspec.to_builtins(made.unparsed),
        "repository": given.repository,
        "model": None,
    }
    if unavailable:
        answer["run_unavailable"] = unavailable
    return answer
