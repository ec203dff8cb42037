"""What a language model adds to generated tests: ways to what the search did not reach.

It proposes statements and a call, never what comes of it. The sandbox runs them as it runs what the
search thinks of, observes what happens, and keeps what reaches or notices more than before.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from sutazai.agents.contract import TaskContext
from sutazai.analysis.generation.gaps import ShowGaps, ShownGap, show_gaps
from sutazai.analysis.generation.generator import (
    Extended,
    Gap,
    ModuleTests,
    Options,
    Proposal,
    TestGenerator,
)
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.sandbox import SandboxUnavailable
from sutazai.builtin_agents.model_comments import Comments, Fact
from sutazai.llm.forms import StructForm

_MOST_QUESTIONS = 12
_MOST_OF_A_MODULE = 6
_COUNTED = (
    "proposals", "proposals_run", "proposals_kept", "proposals_dropped", "tests_added",
)  # fmt: skip
_GAINED = ("lines_gained", "branches_gained", "mutants_gained")

Code = Annotated[str, msgspec.Meta(max_length=600)]


class _Call(msgspec.Struct, kw_only=True):
    call: Code
    setup: Annotated[list[Code], msgspec.Meta(max_length=8)] = []


class _Calls(msgspec.Struct, kw_only=True):
    calls: Annotated[list[_Call], msgspec.Meta(max_length=5)]


_FORM: StructForm[_Calls] = StructForm(_Calls)
_WANTED = (
    "You find inputs for tests in Python. You are given a function, the lines of it that no test "
    "reaches, and the faults in it that no test notices. Propose up to 5 calls that reach those "
    "lines or make those faults show. `call` is one expression; `setup` are the statements before "
    "it, assignments and calls, mostly none. Write literal values. Use the module's own names, "
    "builtins, and data of the standard library such as datetime.date or zlib.crc32; a file is "
    'written(tmp_path / "name", "text") or stored(tmp_path / "name", b"bytes"); '
    'what the module has imported is replaced by monkeypatch.setattr(module, "name", value). '
    "No assertions, no loops, no definitions."
)


class ModelProposals:
    """Asks a model about modules whose tests are there; the pool is the caller's."""

    def __init__(self, pool: AnalysisPool, generator: TestGenerator) -> None:
        self._pool = pool
        self._generator = generator

    async def add_to(
        self, done: list[ModuleTests], what: Reviewable, options: Options, context: TaskContext
    ) -> dict[str, Any]:
        """Put what is better in the place of what was done; a result's `model`.

        A model's failure is no failure.
        """
        comments = Comments(context)
        for counted in (*_COUNTED, *_GAINED):
            comments.count(counted, 0)
        proposals: dict[int, list[Proposal]] = {}
        async with comments.asking():
            await self._ask(done, what, comments, proposals)
        for at, given in proposals.items():
            await self._extend(done, at, given, what, options, comments)
        return comments.report()

    async def _ask(
        self,
        done: Sequence[ModuleTests],
        what: Reviewable,
        comments: Comments,
        proposals: dict[int, list[Proposal]],
    ) -> None:
        wanted: list[tuple[int, ShownGap]] = []
        for at, one in enumerate(done):
            gaps = one.gaps()[:_MOST_OF_A_MODULE]
            wanted += [(at, shown) for shown in await self._shown(one, gaps, what)]
        for at, shown in wanted[:_MOST_QUESTIONS]:
            fact = Fact(key=shown.function, label="A function", text=shown.text)
            told = await comments.about(fact, _FORM, _WANTED, "Propose calls for this function.")
            if told is None:
                continue
            comments.count("proposals", len(told.calls))
            for call in told.calls:
                proposal = Proposal(function=fact.key, setup=tuple(call.setup), call=call.call)
                proposals.setdefault(at, []).append(proposal)

    async def _shown(
        self, one: ModuleTests, gaps: Sequence[Gap], what: Reviewable
    ) -> list[ShownGap]:
        if not gaps:
            return []
        module = one.module
        request = ShowGaps(what=what, file=module.file, module=module.name, gaps=tuple(gaps))
        return (await self._pool.call(show_gaps, request)).gaps

    async def _extend(
        self,
        done: list[ModuleTests],
        at: int,
        given: Sequence[Proposal],
        what: Reviewable,
        options: Options,
        comments: Comments,
    ) -> None:
        before = done[at]
        try:
            came = await self._generator.extend(before, what.place, options, given)
        except SandboxUnavailable as error:
            came = Extended(failure=str(error))
        if came.failure is not None:
            comments.problem = (
                f"What it proposed for {before.module.file} could not be tried: {came.failure}"
            )
        comments.count("proposals_run", came.run)
        comments.count("proposals_kept", came.kept)
        comments.count("proposals_dropped", len(given) - came.kept)
        if came.tests is None:
            return
        done[at] = came.tests
        comments.count("tests_added", len(came.tests.by_model))
        gained = zip(came.tests.reached, before.reached, strict=True)
        for counted, (now, then) in zip(_GAINED, gained, strict=True):
            comments.count(counted, now - then)
