"""What a language model adds to a diagnosis: a word on the suspects, and a repair that is tried.

A repair counts only where the command that failed succeeds with it in the sandbox, no test of it
left out, and the reviewer finds nothing new in the file. Tests are not repaired.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

from sutazai.agents.contract import TaskContext
from sutazai.analysis.diagnosis.diagnose import Diagnosis
from sutazai.analysis.diagnosis.reproducing import Reproduction
from sutazai.analysis.diagnosis.suspects import Suspect
from sutazai.analysis.excerpts import Excerpt, Place
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.protocol import Inline
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.sandbox import SandboxUnavailable
from sutazai.analysis.source import looks_like_test
from sutazai.builtin_agents.model_comments import (
    BY,
    Brief,
    Comment,
    Comments,
    Fact,
    Question,
    clean,
    strange,
    surroundings,
)
from sutazai.builtin_agents.model_review import PROPOSAL, ModelReview, Proposal, tried_on

_MOST_EXPLAINED = 6
_MOST_REPAIRED = 2
# A program that ends before it fails has not been repaired.
_LEAVES = re.compile(r"\b(_exit|exit|quit|SystemExit|skip|skipif|xfail|importorskip|abort)\b")


class _Opinion(Comment, kw_only=True):
    verdict: Literal["likely", "unlikely"]
    explanation: Brief


_OPINION = Question(
    _Opinion,
    "You look for the cause of a failure. For each candidate say whether this line is likely or "
    "unlikely to be the cause, and explain in one or two sentences how it leads to the failure, or "
    "why it does not. Name nothing that is not in the material.",
)
_REPAIR = (
    "You repair code. Rewrite as few of these lines as possible so that the failure is gone and "
    "nothing else changes. Keep the indentation. Give the first and last line to replace, and the "
    "replacement without line numbers."
)


class Retrial(NamedTuple):
    """What failed, and how to have it run again with one file repaired."""

    command: list[str]
    run: Callable[[Inline], Awaitable[Reproduction]]


class ModelDiagnosis:
    """Asks a model about diagnoses; the pool is the caller's."""

    def __init__(self, pool: AnalysisPool) -> None:
        self._pool = pool
        self._review = ModelReview(pool)

    async def add_to(
        self,
        answer: dict[str, Any],
        what: Reviewable,
        made: Diagnosis,
        again: Retrial | None,
        context: TaskContext,
    ) -> None:
        """Put a `comment` on suspects and, where one holds, a `fix` into an answer.

        Without a command that failed there is nothing to prove a repair by, and it is asked for
        none. Its failure is no failure.
        """
        comments = Comments(context)
        answer["fix"] = None
        for counted in ("fixes_proven", "fixes_refused"):
            comments.count(counted, 0)
        async with comments.asking():
            await self._ask(answer, what, made, again, comments)
        answer["model"] = comments.report()

    async def _ask(
        self,
        answer: dict[str, Any],
        what: Reviewable,
        made: Diagnosis,
        again: Retrial | None,
        comments: Comments,
    ) -> None:
        places = [Place(file=one.file, line=one.line) for one in made.suspects[:_MOST_EXPLAINED]]
        if not places:
            return
        excerpts = (await surroundings(self._pool, what, places)).places
        facts = {
            str(at): (_fact(at, made, excerpt), excerpt)
            for at, excerpt in enumerate(excerpts)
            if excerpt is not None
        }
        likely: list[str] = []
        asked = [fact for fact, _ in facts.values()]
        async for fact, opinion in comments.on(asked, _OPINION, _unfounded):
            answer["suspects"][int(fact.key)]["comment"] = {
                "by": BY,
                "verdict": opinion.verdict,
                "explanation": clean(opinion.explanation),
            }
            if opinion.verdict == "likely":
                likely.append(fact.key)
        for key in likely[:_MOST_REPAIRED]:
            fact, excerpt = facts[key]
            if again is None or answer["fix"] is not None or looks_like_test(excerpt.file):
                continue
            line = made.suspects[int(key)].line
            told = await comments.about(fact, PROPOSAL, _REPAIR, f"Repair line {line}.")
            if told is None:
                continue
            patch = await self._proven(what, excerpt, told, again)
            comments.count("fixes_refused" if patch is None else "fixes_proven")
            if patch is not None:
                answer["fix"] = {"by": BY, "patch": patch, "proven": _PROVEN}

    async def _proven(
        self, what: Reviewable, excerpt: Excerpt, told: Proposal, again: Retrial
    ) -> str | None:
        if _LEAVES.search(told.replacement):
            return None
        tried = await tried_on(self._pool, what, excerpt, told)
        if tried is None:
            return None
        file, patch = tried
        before = await self._review.fingerprints_now(what, excerpt.file)
        after = await self._review.fingerprints(file)
        if after is None or not after <= before:
            return None
        try:
            run = await again.run(file)
        except SandboxUnavailable:
            return None
        return patch if run.succeeded(again.command) else None


def _fact(at: int, made: Diagnosis, excerpt: Excerpt) -> Fact:
    suspect: Suspect = made.suspects[at]
    values = "\n".join(f"{one.name} = {one.value}" for one in made.values)
    where = (
        f"{made.failing.file}, line {made.failing.line}: {made.failing.code}"
        if made.failing
        else ""
    )
    return Fact(
        key=str(at),
        label=f"{suspect.kind}, line {suspect.line}",
        text=f"{made.summary}\n{where}\n{values}\n{suspect.reason}\n"
        f"{suspect.file}\n{excerpt.numbered}",
    )


def _unfounded(fact: Fact, told: _Opinion) -> str | None:
    """Why an opinion does not count: it may name only what is there."""
    unknown = strange(told.explanation, fact.text)
    return None if unknown is None else f"the material has no {unknown}"


_PROVEN = (
    "applied to a copy: what failed succeeds with it in the sandbox, and a review of the file "
    "finds nothing new"
)
