"""What a language model adds to a review: facts stay as they are, and what it says is checked.

It is sent the candidates and the code around them, never whole trees, and secrets are masked. It
has no tools. It explains and ranks findings, and doubts them with a reason, but cannot remove one
or change a severity. A repair counts only where the finding is gone with it and nothing new
appears; a finding of its own only where the line that it quotes is there.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import groupby
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from sutazai.agents.contract import TaskContext
from sutazai.analysis.excerpts import Excerpt, Place, Repair, repair
from sutazai.analysis.findings import (
    Confidence,
    Evidence,
    Finding,
    FindingType,
    Severity,
    fingerprint,
)
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.protocol import Inline
from sutazai.analysis.reviewer import Reviewable, Reviewer
from sutazai.builtin_agents.model_comments import (
    BY,
    Brief,
    Comment,
    Comments,
    Fact,
    Question,
    clean,
    is_said,
    sentences_of,
    surroundings,
)
from sutazai.llm.forms import StructForm

MOST_EXPLAINED = 12
"""Findings that the model is asked about, the worst first."""
MOST_REPAIRED = 4
MOST_SEARCHED = 4
RULE = "model-observation"

_Code = Annotated[str, msgspec.Meta(max_length=2_000)]


class Assessment(Comment, kw_only=True):
    """What the model says of one finding; 1 is the least important, 10 the most."""

    verdict: Literal["confirmed", "doubtful"]
    reason: Brief
    explanation: Brief
    importance: Annotated[int, msgspec.Meta(ge=1, le=10)]


class Proposal(msgspec.Struct, kw_only=True):
    """Lines to be replaced, from `first_line` to `last_line`, and what with."""

    first_line: int
    last_line: int
    replacement: _Code


class _Observation(msgspec.Struct, kw_only=True):
    line: int
    quote: Annotated[str, msgspec.Meta(max_length=400)]
    type: Literal["security", "bug"]
    severity: Literal["medium", "low"]
    problem: Brief
    suggestion: Brief


class _Observations(msgspec.Struct, kw_only=True):
    observations: Annotated[list[_Observation], msgspec.Meta(max_length=3)]


_REPAIRS = ("fixes_proven", "fixes_refused")
_SEARCHES = ("findings_added", "findings_dropped")
_ASSESS = (
    "You review code. For each candidate say whether the reported problem is real (confirmed or "
    "doubtful), the reason in one sentence, what could happen and how in one or two sentences, and "
    "how important it is from 1 to 10."
)
_REPAIR = (
    "You repair code. Rewrite as few of these lines as possible so that the problem is gone and "
    "nothing else changes. Keep the indentation. Give the first and last line to replace, and the "
    "replacement without line numbers."
)
_SEARCH = (
    "You review code. Look for what tools cannot see: missing authorisation, another user's data, "
    "wrong logic, wrong order of checks. Report at most three real problems, each with the exact "
    "line it is in. Report none if there is none."
)


class Proof(NamedTuple):
    """How a repair is tried: `again` has the fingerprints that there are with a file so.

    None where the file cannot be read any more. `known` has those that there were without,
    also of what is not told.
    """

    known: Collection[str]
    again: Callable[[Inline], Awaitable[Collection[str] | None]]


class Added(msgspec.Struct, kw_only=True):
    """What came of it, by fingerprint."""

    assessments: dict[str, Assessment] = {}
    fixes: dict[str, str] = {}
    observations: list[Finding] = []
    observed: set[tuple[str, int | None, str]] = set()


class ModelReview:
    """Asks a model about findings; the pool is the caller's."""

    def __init__(self, pool: AnalysisPool) -> None:
        self._pool = pool
        self._reviewer = Reviewer(pool)

    async def add_to(
        self,
        answer: dict[str, Any],
        what: Reviewable,
        findings: Sequence[Finding],
        context: TaskContext,
        *,
        proof: Proof | None = None,
        searches: bool = False,
    ) -> None:
        """Put what the model says of findings, worst first, into the `issues` of an answer.

        Facts and figures stay. Without a `proof` it is asked for no repairs; `searches` has it look
        for what analysis cannot see. Its failure is no failure.
        """
        added, comments = Added(), Comments(context)
        for counted in (*(_REPAIRS if proof else ()), *(_SEARCHES if searches else ())):
            comments.count(counted, 0)
        async with comments.asking():
            await self._ask(what, findings, proof, comments, added, searches=searches)
        told = [_shown(issue, added) for issue in _ranked(answer["issues"], added)]
        answer["issues"] = told + [_own(finding) for finding in added.observations]
        answer["model"] = comments.report()

    async def fingerprints_now(self, what: Reviewable, file: str) -> set[str]:
        """Of all that a review finds in one file as it is."""
        named = Reviewable(
            place=what.place,
            patterns=(file,) if what.place is not None else (),
            inline=tuple(one for one in what.inline if one.name == file),
        )
        result = await self._reviewer.review(named, _NOTHING_KEPT)
        return {one.fingerprint for review in result.files for one in review.findings}

    async def fingerprints(self, file: Inline) -> set[str] | None:
        """Of all that a review of one file finds; None where no parser can read it."""
        result = await self._reviewer.review(Reviewable(inline=(file,)), _NOTHING_KEPT)
        (review,) = result.files
        if review.unparsed is not None:
            return None
        return {one.fingerprint for one in review.findings}

    async def _ask(
        self,
        what: Reviewable,
        findings: Sequence[Finding],
        proof: Proof | None,
        comments: Comments,
        added: Added,
        *,
        searches: bool,
    ) -> None:
        chosen = [one for one in findings if one.type is not FindingType.STYLE][:MOST_EXPLAINED]
        places = [Place(file=one.file, line=one.line) for one in chosen]
        functions = MOST_SEARCHED if searches else 0
        excerpts = await surroundings(self._pool, what, places, functions=functions)
        asked = {
            finding.fingerprint: (finding, excerpt)
            for finding, excerpt in zip(chosen, excerpts.places, strict=True)
            if excerpt is not None
        }
        facts = [_fact(finding, excerpt) for finding, excerpt in asked.values()]
        async for fact, told in comments.on(facts, _ASSESSING, _unsaid):
            added.assessments[fact.key] = told
        for excerpt in excerpts.functions:
            await self._search(excerpt, comments, added)
        confirmed = [
            asked[key] for key, told in added.assessments.items() if told.verdict == "confirmed"
        ]
        if proof is not None:
            for finding, excerpt in confirmed[:MOST_REPAIRED]:
                await self._repair(what, finding, excerpt, proof, comments, added)

    async def _search(self, excerpt: Excerpt, comments: Comments, added: Added) -> None:
        fact = Fact(key="", label="A function", text=f"{excerpt.file}\n{excerpt.numbered}")
        answer = await comments.about(fact, _OBSERVATIONS, _SEARCH, "What is wrong here?")
        for told in answer.observations if answer is not None else ():
            line = excerpt.line_of(told.quote, told.line)
            # The same line is in two excerpts where one function is inside of another.
            place = (excerpt.file, line, told.type)
            if line is None or not is_said(told.problem) or place in added.observed:
                comments.count("findings_dropped")
            else:
                comments.count("findings_added")
                added.observed.add(place)
                added.observations.append(_finding(told, excerpt, line, added.observations))

    async def _repair(
        self,
        what: Reviewable,
        finding: Finding,
        excerpt: Excerpt,
        proof: Proof,
        comments: Comments,
        added: Added,
    ) -> None:
        fact = Fact(
            key=finding.fingerprint,
            label=f"The problem: {finding.rule}, line {finding.line}",
            text=f"{finding.file}\n{finding.description}\n{finding.suggestion}\n{excerpt.numbered}",
        )
        told = await comments.about(fact, PROPOSAL, _REPAIR, f"Repair line {finding.line}.")
        if told is None:
            return
        patch = None
        tried = await tried_on(self._pool, what, excerpt, told)
        if tried is not None:
            file, diff = tried
            after = await proof.again(file)
            # The finding is gone with it, and nothing new appears.
            if after is not None and finding.fingerprint not in after:
                patch = diff if set(after) <= set(proof.known) else None
        if patch is None:
            comments.count("fixes_refused")
        else:
            comments.count("fixes_proven")
            added.fixes[finding.fingerprint] = patch


async def tried_on(
    pool: AnalysisPool, what: Reviewable, excerpt: Excerpt, told: Proposal
) -> tuple[Inline, str] | None:
    """The file of an excerpt with a proposal made in it, and the patch; None where it cannot be."""
    if not excerpt.start <= told.first_line <= told.last_line <= excerpt.end:
        return None
    named = (excerpt.file,) if what.place is not None else ()
    wanted = Repair(
        what=Reviewable(place=what.place, patterns=named, inline=what.inline),
        file=excerpt.file,
        first=told.first_line,
        last=told.last_line,
        replacement=told.replacement,
    )
    tried = await pool.call(repair, wanted)
    if tried.problem is not None:
        return None
    language = next((one.language for one in what.inline if one.name == excerpt.file), None)
    return Inline(name=excerpt.file, content=tried.content, language=language), tried.patch


def _fact(finding: Finding, excerpt: Excerpt) -> Fact:
    return Fact(
        key=finding.fingerprint,
        label=f"{finding.rule}, severity {finding.severity}, line {finding.line}",
        text=f"{finding.file}\n{finding.description}\n{excerpt.numbered}",
    )


def _unsaid(_fact: Fact, told: Assessment) -> str | None:
    """Why an assessment does not count: a very small model fills the form with signs."""
    return None if is_said(told.reason) and is_said(told.explanation) else "it says nothing"


def _finding(told: _Observation, excerpt: Excerpt, line: int, before: Sequence[Finding]) -> Finding:
    quoted = excerpt.lines[line - excerpt.start]
    equal = sum(
        (one.file, one.type, one.code) == (excerpt.file, told.type, quoted) for one in before
    )
    return Finding(
        severity=Severity(told.severity),
        type=FindingType(told.type),
        file=excerpt.file,
        line=line,
        column=len(quoted) - len(quoted.lstrip()) + 1,
        end_line=line,
        description=sentences_of(told.problem),
        suggestion=sentences_of(told.suggestion),
        rule=RULE,
        cwe=None,
        confidence=Confidence.LOW,
        code=quoted,
        fingerprint=fingerprint(RULE, excerpt.file, told.type, quoted, equal),
        evidence=(Evidence(engine=BY, rule=RULE, message=clean(told.problem)),),
    )


def _shown(issue: dict[str, Any], added: Added) -> dict[str, Any]:
    """An issue with what the model added to it."""
    told = dict(issue)
    assessment = added.assessments.get(issue["fingerprint"])
    if assessment is not None:
        told["assessment"] = {
            "by": BY,
            "verdict": assessment.verdict,
            "reason": sentences_of(assessment.reason),
            "explanation": sentences_of(assessment.explanation),
            "importance": assessment.importance,
        }
    patch = added.fixes.get(issue["fingerprint"])
    if patch is not None:
        told["fix"] = {"by": BY, "patch": patch, "proven": _PROVEN}
    return told


def _own(finding: Finding) -> dict[str, Any]:
    return {**msgspec.to_builtins(finding), "by": BY}


def _ranked(issues: Sequence[dict[str, Any]], added: Added) -> list[dict[str, Any]]:
    """In the order of the facts; among those that are equally bad, the model's doubts go last."""

    def standing(issue: dict[str, Any]) -> tuple[Any, ...]:
        measured = issue.get("measured") or {}
        return issue["in_test"], issue["severity"], measured.get("share")

    def opinion(issue: dict[str, Any]) -> tuple[bool, int]:
        told = added.assessments.get(issue["fingerprint"])
        return (False, 0) if told is None else (told.verdict == "doubtful", -told.importance)

    return [
        issue for _, equals in groupby(issues, standing) for issue in sorted(equals, key=opinion)
    ]


class _NothingKept:
    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        return {}

    async def put_many(self, entries: Any) -> None:
        pass


_NOTHING_KEPT = _NothingKept()
_PROVEN = "applied and analysed again: the finding is gone, and nothing new appears"
_ASSESSING = Question(Assessment, _ASSESS)
PROPOSAL = StructForm(Proposal)
_OBSERVATIONS = StructForm(_Observations)
