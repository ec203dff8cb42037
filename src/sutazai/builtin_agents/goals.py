"""What a goal in plain words asks for: which types of task, in which order, and what it rules out.

Rules, no model: words that stand for a type, order words, negations. Pure, and linear in the text.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple

LONGEST_GOAL = 4_000

WORDS: Mapping[str, str] = {
    "code_review": (
        r"code[- ]review|review\w*|inspect\w*|critique|look over|(?:find|hunt for) bugs|"
        r"(?:code )?quality|bugs"
    ),
    "security_analysis": (
        r"security[- ](?:review|audit|analysis|check)|(?:review|check|audit)\w*[^.,;]{0,40}? for "
        r"(?:security|vulnerabilities)(?: \w+)?|security|secure|vulnerabilit(?:y|ies)|exploit\w*|"
        r"hard-?coded secrets"
    ),
    "performance_analysis": (
        r"performance[- ](?:review|audit|analysis)|(?:review|check)\w*[^.,;]{0,40}? for "
        r"performance(?: \w+)?|performance|slow\w*|speed\w*|faster|profil\w+|optimi[sz]\w+|"
        r"bottlenecks?|hot ?spots?"
    ),
    "test_generation": (
        r"(?:write|generate|create|add|make|increase|improve)\w*([^.,;]{0,30}?) "
        r"(?:tests?|coverage)|"
        r"unit[- ]tests?|tests?|testing|test coverage|coverage|pytest"
    ),
    "documentation": r"document\w*|docs?|docstrings?|readme|reference pages?|api reference",
    "refactoring": (
        r"refactor\w*|clean(?: it| this)? up|clean-?up|dead code|(?:de)?duplicat\w+|simplif\w+|"
        r"moderni[sz]\w+|tidy(?: up)?|restructur\w+"
    ),
    "dependency_audit": (
        r"(?:audit|check|review)\w*([^.,;]{0,30}?) (?:dependencies|requirements|licen[cs]es)|"
        r"dependenc(?:y|ies)(?:[- ]audit)?|requirements|licen[cs](?:es?|ing)|"
        r"(?:unpinned|outdated|unused|vulnerable) packages?|supply chain"
    ),
    "type_check": (
        r"type[- ]?check\w*|(?:check|infer|add)\w*([^.,;]{0,30}?) (?:types|type hints|annotations)|"
        r"type (?:errors?|hints?|annotations?)|typing|mypy|annotations?"
    ),
    "change_summary": (
        r"(?:summar|describ|explain)\w*([^.,;]{0,30}?) (?:changes?|diff|commits?|pull request)|"
        r"change[- ]?log|change summary|release notes|what (?:has )?changed|diffs?|"
        r"commits?|pull request"
    ),
    "bug_diagnosis": (
        r"diagnos\w+|tracebacks?|stack ?traces?|debug\w*|root cause|crash\w*|failing tests?|"
        r"why[^.,;]{0,40}? (?:fails?|breaks?|crashes)"
    ),
    "log_analysis": r"(?:analy[sz]|read|search|mine)\w*([^.,;]{0,20}?) logs?|logs?|log ?files?",
    "summarization": r"summar(?:y|i[sz]\w*)|tl;?dr|digest|condense\w*|shorten\w*",
    "extraction": r"extract\w*",
    "llm_prompt": r"prompt\w*|ask (?:the|a) (?:language )?model",
}
"""By type, the words that ask for it; of two that match at a place, the longer one counts.

A group is what stands between a verb and its object: words for another type in it count as well.
"""

# What sounds like one of them, and is work for nobody here.
_OTHER = r"(?:run|execute|fix|delete|remove) (?:all |the |my |these |those |failing )*tests?"
_NEGATIONS = re.compile(r"\b(?:do not|don't|dont|not|without|no|except|skip|never|instead of)\b")
_CLAUSE = re.compile(r"[.,;:!?\n]|\b(?:but|then|only|just|instead|and then)\b")
_ORDER = re.compile(
    r"\b(?:and )?then\b|\bafter (?:that|this)\b|\bafterwards?\b|\bfinally\b|\blastly\b|\bnext\b"
)
_SENTENCE = re.compile(r"[.;!?\n]+")
_BEFORE_AFTER = re.compile(r"\b(before|after)\b")
_WORD = re.compile(r"[a-z]{3,}")
_FILLERS = """
the and for this that these those with from into all our your its please can could would you
package project module modules code file files repository repo source it's them first also some
any well good new full whole complete want need needs like make give get let have are what which
when where who how why does did will should must may might here there about each every other same
such than too very use using used sure then before after
"""
_EMPTY_WORDS = frozenset(_FILLERS.split())


class Match(NamedTuple):
    """Words of the goal that ask for a type; `rejected` where it says not to."""

    type: str
    words: str
    start: int
    rejected: bool


class Wishes(NamedTuple):
    """What a goal asks for; `order` are pairs of types, the first to be done before the second."""

    matches: tuple[Match, ...]
    order: frozenset[tuple[str, str]]
    not_understood: tuple[str, ...]

    @property
    def types(self) -> list[str]:
        """The types asked for, in the order of the goal's words."""
        rejected = {one.type for one in self.matches if one.rejected}
        wanted = [one.type for one in self.matches if not one.rejected]
        return [one for one in dict.fromkeys(wanted) if one not in rejected]

    def words_for(self, task_type: str) -> list[str]:
        """The words that ask for a type."""
        found = (one.words for one in self.matches if one.type == task_type and not one.rejected)
        return list(dict.fromkeys(found))


def understand(goal: str, known: Iterable[str]) -> Wishes:
    """What the goal asks for, of the types in `WORDS` and of those `known` by their names."""
    text = goal.lower().replace("\u2019", "'")[:LONGEST_GOAL]
    matches = _matches(text, known)
    return Wishes(
        matches=tuple(matches),
        order=frozenset(_order(text, matches)),
        not_understood=tuple(_rest(text, matches)),
    )


def _matches(text: str, known: Iterable[str]) -> list[Match]:
    patterns = dict(WORDS)
    for name in known:
        spoken = re.escape(name.lower()).replace("_", "[_ -]")
        patterns[name] = f"{spoken}|{patterns[name]}" if name in patterns else spoken
    patterns[""] = _OTHER
    found = [
        (one, task_type)
        for task_type, pattern in patterns.items()
        for one in re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", text)
    ]
    between = _words_between([one for one, _ in found])
    spans = [(between.get(one, one.start()), one.end(), task_type) for one, task_type in found]
    spans.sort(key=lambda span: (span[0] - span[1], span[0]))
    taken: list[tuple[int, int, str]] = []
    for start, end, task_type in spans:  # the longest first
        if all(end <= other[0] or start >= other[1] for other in taken):
            taken.append((start, end, task_type))
    return [
        Match(task_type, text[start:end], start, _is_rejected(text, start))
        for start, end, task_type in sorted(taken)
        if task_type
    ]


def _words_between(found: list[re.Match[str]]) -> dict[re.Match[str], int]:
    """Where the objects begin whose verbs have another object before: `write docs and tests`."""
    spans = sorted(one.span() for one in found)
    starts = [start for start, _ in spans]
    objects: dict[re.Match[str], int] = {}
    for one in found:
        if one.lastindex is None:
            continue
        begin, end = one.span(1)
        near = spans[bisect_left(starts, one.start()) : bisect_left(starts, end)]
        if any(begin < stop <= end for _, stop in near):
            objects[one] = end + 1
    return objects


def _is_rejected(text: str, start: int) -> bool:
    """Whether a negation stands before it in the same clause."""
    begin = 0
    for boundary in _CLAUSE.finditer(text, 0, start):
        begin = boundary.end()
    return _NEGATIONS.search(text, begin, start) is not None


def _order(text: str, matches: list[Match]) -> set[tuple[str, str]]:
    """Pairs of types from order words: `then`, `before`, `after` and the like."""
    wanted = [one for one in matches if not one.rejected]
    pairs: set[tuple[str, str]] = set()
    bounds = [found.start() for found in _ORDER.finditer(text)]
    groups: list[list[str]] = [[] for _ in range(len(bounds) + 1)]
    for one in wanted:
        groups[sum(bound <= one.start for bound in bounds)].append(one.type)
    for number, group in enumerate(groups):
        for earlier in groups[:number]:
            pairs.update((a, b) for a in earlier for b in group)
    start = 0
    for sentence in [*_SENTENCE.finditer(text), None]:
        end = len(text) if sentence is None else sentence.start()
        pairs |= _before_after(text, start, end, wanted)
        start = end if sentence is None else sentence.end()
    return {(a, b) for a, b in pairs if a != b}


def _before_after(text: str, start: int, end: int, wanted: list[Match]) -> set[tuple[str, str]]:
    word = next(
        (
            found
            for found in _BEFORE_AFTER.finditer(text, start, end)
            if not _ORDER.match(text, found.start())
        ),
        None,
    )
    if word is None:
        return set()
    inside = [one for one in wanted if start <= one.start < end]
    left = [one.type for one in inside if one.start < word.start()]
    right = [one.type for one in inside if one.start >= word.end()]
    if not left:
        comma = text.find(",", word.end(), end)
        if comma < 0:
            return set()
        # `Before you write tests, review it`: what follows the comma is as if it stood before.
        left = [one.type for one in inside if one.start > comma]
        right = [one.type for one in inside if one.start < comma]
    first, second = (left, right) if word.group() == "before" else (right, left)
    return {(a, b) for a in first for b in second}


def _rest(text: str, matches: list[Match]) -> Iterable[str]:
    """Clauses in which nothing was recognised, though they say something."""
    start = 0
    for boundary in [*re.finditer(r"[.,;:!?\n]|\b(?:and|then)\b", text), None]:
        end = len(text) if boundary is None else boundary.start()
        clause = text[start:end].strip()
        says = [word for word in _WORD.findall(clause) if word not in _EMPTY_WORDS]
        if says and not any(
            one.start < end and start < one.start + len(one.words) for one in matches
        ):
            yield clause
        start = end if boundary is None else boundary.end()
