"""Tests for a module: generated in one run of the sandbox, proven in another."""

import json
import os
import signal
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from sutazai.analysis.generation.modules import ModuleToTest
from sutazai.analysis.generation.shipping import SHIPPED, shipped_files
from sutazai.analysis.protocol import Place
from sutazai.analysis.sandbox import MIB, Sandbox, SandboxEnd, SandboxLimits, SandboxRun

_SOURCE = "/source"
_INLINE = "project"
_REQUEST, _RESULT = "request.json", "result.json"
# Both runs keep their time themselves; this is for the one whose module prevents it.
_GRACE_SECONDS = 10.0
_LEAST_PROOF = 1.0
_OF_THE_TIME = 0.97  # the rest goes by before and after a sandbox's program
_PARALLEL = 2
_MOST_MUTANTS = 400


Answer = TypeVar("Answer", bound=msgspec.Struct)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a task may ask for: names of functions or classes, a limit of tests, and of time.

    `seconds` is what one module may take from the start to the proven tests.
    """

    functions: tuple[str, ...] = ()
    max_tests: int | None = None
    seconds: float = 30.0


class Untested(msgspec.Struct, frozen=True, kw_only=True):
    """What no test reaches: a function, its lines, and why; `entirely` if nothing of it is."""

    file: str
    function: str
    lines: list[int]
    entirely: bool
    reason: str


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What a language model proposes to reach a function with: statements, and a call to observe.

    It is text from outside: what it may be is decided, and it is run, in the sandbox alone.
    """

    function: str
    setup: tuple[str, ...]
    call: str


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of a function that no test reaches, and faults, with their lines, that none notices."""

    function: str
    lines: tuple[int, ...]
    faults: tuple[tuple[int, str], ...]


class ModuleTests(msgspec.Struct, kw_only=True):
    """What came of one module. `failure` says why there is no file of tests.

    `by_model` names the tests that come from proposals; `search` is what the search told, to go on
    from, None where there is nothing to go on from.
    """

    module: ModuleToTest
    content: str = ""
    tests: list[str] = []
    statements: int = 0
    covered_statements: int = 0
    branches: int = 0
    covered_branches: int = 0
    mutants: int = 0
    killed: int = 0
    dropped: dict[str, str] = {}
    untested: list[Untested] = []
    failure: str | None = None
    by_model: list[str] = []
    search: "Searched | None" = None

    def gaps(self) -> list[Gap]:
        """What is missing in each function, where most is missing first."""
        if self.search is None:
            return []
        lines = {one.function: one.lines for one in self.untested}
        killed = {number for test in self.search.tests for number in test.kills}
        faults: dict[str, list[tuple[int, str]]] = {}
        for mutant in self.search.mutants:
            if mutant.number not in killed:
                faults.setdefault(mutant.routine, []).append((mutant.line, mutant.what))
        found = [
            Gap(
                function=one.function,
                lines=tuple(lines.get(one.function, ())),
                faults=tuple(faults.get(one.function, ())),
            )
            for one in self.search.routines
        ]
        found = [gap for gap in found if gap.lines or gap.faults]
        return sorted(found, key=lambda gap: -(2 * len(gap.lines) + len(gap.faults)))

    def is_better_than(self, other: "ModuleTests") -> bool:
        """Whether it reaches or notices more, and nowhere less."""
        mine, others = self.reached, other.reached
        return mine != others and all(one >= two for one, two in zip(mine, others, strict=True))

    @property
    def reached(self) -> tuple[int, int, int]:
        """How many lines and branches it reaches, and how many faults it notices."""
        return self.covered_statements, self.covered_branches, self.killed


class Extended(msgspec.Struct, frozen=True, kw_only=True):
    """What came of proposals: tests that are better than before, or `tests` is None.

    `run` are those that were not refused for what they are; `kept` those that are in the tests, or
    what was found around them. `failure` says why they could not be tried.
    """

    tests: ModuleTests | None = None
    run: int = 0
    kept: int = 0
    failure: str | None = None


class _Coverage(msgspec.Struct):
    statements: int = 0
    covered_statements: int = 0
    branches: int = 0
    covered_branches: int = 0
    missing_lines: list[int] = []


class _Test(msgspec.Struct):
    name: str
    function: str
    kills: list[int]
    by_model: bool = False


class _Mutant(msgspec.Struct):
    number: int
    line: int
    what: str
    routine: str


class _Routine(msgspec.Struct):
    function: str
    body: list[int]
    lines: list[int]
    reason: str


class Searched(msgspec.Struct):
    """What the first run answers; it comes from where code that is not ours ran.

    `checks` mean something in there alone.
    """

    failure: str | None = None
    source: str = ""
    tests: list[_Test] = []
    mutants: list[_Mutant] = []
    routines: list[_Routine] = []
    checks: list[dict[str, Any]] = []


class _Extended(msgspec.Struct):
    """What a run with proposals answers."""

    failure: str | None = None
    source: str = ""
    tests: list[_Test] = []
    run: int = 0
    kept: int = 0


class _Verified(msgspec.Struct):
    """What the second run answers."""

    failure: str | None = None
    source: str = ""
    dropped: dict[str, str] = {}
    coverage: _Coverage = msgspec.field(default_factory=_Coverage)


class TestGenerator:
    """Generates tests in a sandbox; nothing of the module is ever run elsewhere."""

    __test__ = False  # it generates tests and is none, whatever pytest thinks of the name

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def generate(
        self, module: ModuleToTest, place: Place | None, options: Options
    ) -> ModuleTests:
        """Tests for one module of the project at `place`, or given inline.

        Raises SandboxUnavailable where nothing can be isolated.
        """
        generated, took = await self._run(
            module, place, "main", _generation(module, options), options.seconds, Searched
        )
        if isinstance(generated, str):
            return ModuleTests(module=module, failure=generated)
        if generated.failure is not None or not generated.tests:
            failure = generated.failure or "nothing in it gives a result that can be asserted"
            untested = _untested(module, generated.routines)
            search = generated if generated.failure is None else None
            return ModuleTests(module=module, failure=failure, untested=untested, search=search)
        return await self._proven(module, place, options, generated, took)

    async def extend(
        self,
        before: ModuleTests,
        place: Place | None,
        options: Options,
        proposals: Sequence[Proposal],
    ) -> Extended:
        """Go on from what `generate` made with proposals, for as long again at most.

        What they add is proven as everything is. Raises SandboxUnavailable.
        """
        search, module = before.search, before.module
        if search is None:
            return Extended(failure="there is no search to go on from")
        request = _generation(module, options) | {
            "proposals": msgspec.to_builtins(proposals),
            "checks": search.checks,
            "tried": [mutant.number for mutant in search.mutants],
        }
        came, took = await self._run(module, place, "main", request, options.seconds, _Extended)
        if isinstance(came, str) or came.failure is not None:
            return Extended(failure=came if isinstance(came, str) else came.failure)
        nothing = Extended(run=came.run)
        if not came.kept:
            return nothing
        after = msgspec.structs.replace(search, source=came.source, tests=came.tests)
        tests = await self._proven(module, place, options, after, took)
        if tests.failure is not None:
            return msgspec.structs.replace(nothing, failure=tests.failure)
        if not tests.by_model or not tests.is_better_than(before):
            return nothing
        return msgspec.structs.replace(nothing, tests=tests, kept=came.kept)

    async def _proven(
        self,
        module: ModuleToTest,
        place: Place | None,
        options: Options,
        search: Searched,
        took: float,
    ) -> ModuleTests:
        """What is left of tests when a second run has proven them, in what is left of the time."""
        left = max(_LEAST_PROOF, _OF_THE_TIME * options.seconds - took)
        verified, _ = await self._run(
            module, place, "verifying", _proof(module, search.source, left), left, _Verified
        )
        if isinstance(verified, str):
            return ModuleTests(module=module, failure=verified)
        refused = verified.failure
        if refused is None and not verified.coverage.statements:
            refused = "the tests reach another module of this name; rename it or its package"
        if refused is not None:
            return ModuleTests(module=module, failure=refused, dropped=verified.dropped)
        return _told(module, search, verified)

    async def _run(
        self,
        module: ModuleToTest,
        place: Place | None,
        what: str,
        request: dict[str, Any],
        seconds: float,
        kind: type[Answer],
    ) -> tuple[Answer | str, float]:
        """The answer of one run, or why there is none, and the seconds that it took."""
        files = {**shipped_files(), _REQUEST: json.dumps(request).encode()}
        if module.content is not None:
            files[f"{_INLINE}/{module.name}.py"] = module.content
        end = await self._sandbox.run(
            SandboxRun(
                argv=("python", "-m", f"{SHIPPED}.{what}", _REQUEST, _RESULT),
                files=files,
                source=place.root if place is not None and module.content is None else None,
                hidden=_hidden(place) if module.content is None else (),
                collect=(_RESULT,),
                limits=SandboxLimits(
                    seconds=seconds + _GRACE_SECONDS,
                    cpu_seconds=int(_PARALLEL * (seconds + _GRACE_SECONDS)),
                    memory=1024 * MIB,
                    processes=24,
                    file_bytes=64 * MIB,
                ),
            )
        )
        return _answer(end, kind), end.seconds


def _answer(end: SandboxEnd, kind: type[Answer]) -> Answer | str:
    if end.limit is not None:
        return f"the run went beyond its limit of {end.limit.replace('_', ' ')}"
    if _RESULT not in end.files and end.exit_code == -signal.SIGKILL:
        return "it kills processes that are not its own, and with them the search for tests"
    if _RESULT not in end.files:
        said = end.stderr.decode("utf-8", "replace").strip().splitlines()
        return f"the run ended early ({said[-1][:200] if said else f'code {end.exit_code}'})"
    try:
        return msgspec.json.decode(end.files[_RESULT], type=kind)
    except msgspec.MsgspecError:
        return "the run answered something that is no result"


def _generation(module: ModuleToTest, options: Options) -> dict[str, Any]:
    return {
        "path": _path(module),
        "module": module.name,
        "roots": _roots(module),
        "project": _SOURCE if module.content is None else None,
        "functions": list(options.functions),
        "max_tests": options.max_tests,
        "seconds": options.seconds,
        "most_mutants": _MOST_MUTANTS,
        "parallel": _PARALLEL,
    }


def _proof(module: ModuleToTest, source: str, seconds: float) -> dict[str, Any]:
    return {
        "path": _path(module),
        "roots": _roots(module),
        "file": f"test_{module.name.rpartition('.')[2]}.py",
        "source": source,
        "plugin": f"{SHIPPED}.shuffling",
        "seconds": seconds,
    }


def _path(module: ModuleToTest) -> str:
    """Where the module lies in the sandbox; relative to the working folder if it came inline."""
    return f"{_SOURCE}{module.file}" if module.content is None else f"{_INLINE}/{module.name}.py"


def _roots(module: ModuleToTest) -> list[str]:
    if module.content is not None:
        return [_INLINE]
    return [f"{_SOURCE}/{root}".rstrip("/") for root in module.roots]


def _hidden(place: Place | None) -> tuple[str, ...]:
    if place is None:
        return ()
    root = os.path.realpath(place.root)
    paths = [os.path.relpath(os.path.realpath(path), root) for path in place.excluded]
    return tuple(path for path in paths if path != "." and not path.startswith(".."))


def _told(module: ModuleToTest, generated: Searched, verified: _Verified) -> ModuleTests:
    kept = [test for test in generated.tests if test.name not in verified.dropped]
    known = {mutant.number for mutant in generated.mutants}
    killed = {number for test in kept for number in test.kills} & known
    coverage = verified.coverage
    return ModuleTests(
        module=module,
        content=verified.source,
        tests=[test.name for test in kept],
        statements=coverage.statements,
        covered_statements=coverage.covered_statements,
        branches=coverage.branches,
        covered_branches=coverage.covered_branches,
        mutants=len(known),
        killed=len(killed),
        dropped=verified.dropped,
        untested=_untested(module, generated.routines, verified),
        by_model=[test.name for test in kept if test.by_model],
        search=generated,
    )


def _untested(
    module: ModuleToTest,
    routines: list[_Routine],
    verified: _Verified | None = None,
) -> list[Untested]:
    """What the first run gave up on, as far as the measured coverage agrees, or the second."""
    found: list[Untested] = []
    for routine in routines:
        lines, reason = routine.lines, routine.reason
        if verified is not None:
            reached = routine.body if verified.dropped else routine.lines
            lines = sorted(set(reached) & set(verified.coverage.missing_lines))
        if not lines:
            continue
        if not set(lines) <= set(routine.lines):
            reason = "a test that reached it did not pass every time, and was left out"
        found.append(
            Untested(
                file=module.file,
                function=routine.function,
                lines=lines,
                entirely=routine.body in (lines, routine.lines),
                reason=reason,
            )
        )
    return found
