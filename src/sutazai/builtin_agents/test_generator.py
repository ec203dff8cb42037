"""The agent that writes tests: `test-generator-01`."""

import time
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from sutazai.agents.contract import AgentDescription, Assignment, TaskContext
from sutazai.analysis.generation.generator import ModuleTests, Options, TestGenerator
from sutazai.analysis.generation.modules import FindModules, FoundModules, find_modules
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.sandbox import Sandbox
from sutazai.builtin_agents.code_input import CodeInput
from sutazai.builtin_agents.model_comments import asks_model
from sutazai.builtin_agents.model_proposals import ModelProposals

MOST_MODULES = 20
"""Modules of one task: each takes up to half a minute."""

_SHORTEST, _LONGEST = 5.0, 120.0
_MOST_FUNCTIONS = 200


class TestGeneratorAgent:
    """Writes tests for modules and proves each of them.

    `code` opens what tasks name. The pool is the caller's to close.
    """

    __test__ = False  # it generates tests and is none, whatever pytest thinks of the name

    def __init__(self, *, pool: AnalysisPool, code: CodeInput, sandbox: Sandbox) -> None:
        self._pool = pool
        self._code = code
        self._generator = TestGenerator(sandbox)
        self._proposals = ModelProposals(pool, self._generator)
        self._description = AgentDescription(
            agent_id="test-generator-01",
            name="Test Generator",
            type="specialist",
            capabilities=("test_generation",),
            max_capacity=2,
        )

    @property
    def description(self) -> AgentDescription:
        """Who this is."""
        return self._description

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """Write tests for what the metadata names.

        `tests` has a file for each module; `coverage` and `mutation` are measured with exactly
        those; `untested` says what no test reaches, and why.
        """
        started = time.perf_counter()
        await context.progress(2)
        async with self._code.opened(assignment.metadata) as given:
            options = parse_options(assignment.metadata)
            request = FindModules(what=given.what, most=MOST_MODULES, functions=options.functions)
            found = await self._pool.call(find_modules, request)
            done: list[ModuleTests] = []
            for module in found.modules:
                await self._report(context, done, found)
                done.append(await self._generator.generate(module, given.what.place, options))
            await self._report(context, done, found)
            model = None
            if asks_model(assignment.metadata, context):
                model = await self._proposals.add_to(done, given.what, options, context)
        answer = _answer(done, found, time.perf_counter() - started)
        if model is not None:
            answer["model"] = model
            for file, one in zip(answer["tests"], _written(done), strict=True):
                file["by_model"] = one.by_model
        answer["repository"] = given.repository
        return answer

    async def _report(
        self, context: TaskContext, done: list[ModuleTests], found: FoundModules
    ) -> None:
        # What a model adds afterwards comes on top.
        percent = 5 + 90 * len(done) // len(found.modules)
        await context.progress(
            percent,
            lines_processed=sum(one.module.lines for one in done),
            tests_written=sum(len(one.tests) for one in done),
        )


def parse_options(metadata: Mapping[str, Any]) -> Options:
    """What a task asks for beside its files. Raises InputError naming the wrong field."""
    style = metadata.get("style", "pytest")
    if style != "pytest":
        raise InputError("`style` must be `pytest`: that is what the tests are written for.")
    most = metadata.get("max_tests")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise InputError("`max_tests` must be a number of tests, at least 1.")
    seconds = metadata.get("seconds", Options().seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InputError("`seconds` must be a number: how long each module may take.")
    if not _SHORTEST <= seconds <= _LONGEST:
        raise InputError(f"`seconds` must be from {_SHORTEST:.0f} to {_LONGEST:.0f}.")
    return Options(functions=_functions(metadata), max_tests=most, seconds=float(seconds))


def _functions(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    names: list[str] = []
    for field in ("functions", "targets", "function"):
        given = metadata.get(field, [])
        values = [given] if isinstance(given, str) else given
        if not isinstance(values, list) or not all(isinstance(name, str) for name in values):
            raise InputError(f"`{field}` must be a name or a list of names.")
        names += values
    if len(names) > _MOST_FUNCTIONS:
        raise InputError(f"At most {_MOST_FUNCTIONS} names of functions are taken.")
    wrong = [name for name in names if not all(part.isidentifier() for part in name.split("."))]
    if wrong:
        raise InputError(f"{wrong[0]!r} is no name of a function or class, such as `Cart.add`.")
    return tuple(names)


def _answer(done: list[ModuleTests], found: FoundModules, seconds: float) -> dict[str, Any]:
    written = _written(done)
    coverage = _coverage(written)
    mutation = _mutation(written)
    return {
        "summary": _summary(done, written, coverage, mutation),
        "tests": [_file(one) for one in written],
        "coverage": coverage,
        "mutation": mutation,
        "untested": _untested(done),
        "metrics": {
            "lines_analyzed": sum(one.module.lines for one in done),
            "files_analyzed": len(done),
            "tests_written": sum(len(one.tests) for one in written),
            "tests_dropped": sum(len(one.dropped) for one in done),
            "time_taken": round(seconds, 3),
        },
        "skipped": msgspec.to_builtins(found.skipped),
        "skipped_total": found.skipped_total,
        "model": None,
    }


def _written(done: Sequence[ModuleTests]) -> list[ModuleTests]:
    return [one for one in done if one.content]


def _untested(done: list[ModuleTests]) -> list[dict[str, Any]]:
    """What no test reaches: whole modules first, then functions and the lines of them."""
    whole: list[dict[str, Any]] = [
        {
            "file": one.module.file,
            "function": None,
            "lines": [],
            "entirely": True,
            "reason": one.failure,
        }
        for one in done
        if one.failure
    ]
    return [*whole, *(item for one in done for item in msgspec.to_builtins(one.untested))]


def _file(one: ModuleTests) -> dict[str, Any]:
    """One file of tests, ready to be written to `file` below the project's root."""
    return {
        "file": f"tests/test_{one.module.name.rpartition('.')[2]}.py",
        "source_file": one.module.file,
        "module": one.module.name,
        "import_root": f"/{one.module.roots[0]}",
        "content": one.content,
        "tests": one.tests,
        "coverage": _coverage([one]),
        "mutation": _mutation([one]),
    }


def _coverage(written: Sequence[ModuleTests]) -> dict[str, Any]:
    statements = sum(one.statements for one in written)
    covered = sum(one.covered_statements for one in written)
    branches = sum(one.branches for one in written)
    taken = sum(one.covered_branches for one in written)
    return {
        "line": _part(covered, statements),
        "branch": _part(taken, branches),
        "statements": statements,
        "covered_statements": covered,
        "branches": branches,
        "covered_branches": taken,
    }


def _mutation(written: Sequence[ModuleTests]) -> dict[str, Any]:
    mutants, killed = sum(one.mutants for one in written), sum(one.killed for one in written)
    return {"score": _part(killed, mutants), "mutants": mutants, "killed": killed}


def _part(some: int, of: int) -> float | None:
    """A share; None where there is nothing to have a share of."""
    return round(some / of, 4) if of else None


def _summary(
    done: list[ModuleTests],
    written: list[ModuleTests],
    coverage: Mapping[str, Any],
    mutation: Mapping[str, Any],
) -> str:
    if not written:
        return f"Wrote no test: {PurePosixPath(done[0].module.file).name}: {done[0].failure}"
    tests = sum(len(one.tests) for one in written)
    of = f"{len(written)} of {len(done)} modules" if len(done) > 1 else "1 module"
    parts = [
        f"{share:.0%} of the {what}"
        for share, what in (
            (coverage["line"], "lines"),
            (coverage["branch"], "branches"),
            (mutation["score"], "mutants"),
        )
        if share is not None
    ]
    noun = "test" if tests == 1 else "tests"
    return f"Wrote {tests} {noun} for {of}, which reach {', '.join(parts)}"
