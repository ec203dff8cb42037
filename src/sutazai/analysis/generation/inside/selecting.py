"""Which checks are kept: those that add coverage or notice a fault that none before noticed."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sutazai.analysis.generation.inside.checks import Check

_NOTHING = ("''", "b''", "[]", "{}", "()", "set()", "None")
_TESTS_PER_STATEMENT = 0.25


@dataclass
class Group:
    """Checks of one target with one kind of outcome: what becomes one test."""

    target: str
    verb: str
    checks: list[Check] = field(default_factory=list)
    worth: float = 0.0

    @property
    def is_proposed(self) -> bool:
        """Whether a language model proposed it, or what it is a neighbour of."""
        return any(check.case.proposal for check in self.checks)


def most_tests(statements: int, asked: int | None) -> int:
    """The limit: 25 tests for 100 statements, fewer where the task says so, at least one."""
    limit = max(1, int(statements * _TESTS_PER_STATEMENT))
    return min(limit, asked) if asked else limit


Chosen = tuple[Check, int]
"""A check with what it adds: arcs, and twice the mutants."""


def selected(
    checks: Sequence[Check], kills: dict[int, set[int]], known: Sequence[Check] = ()
) -> list[Chosen]:
    """Greedily, the check that adds most first, each with what it added; until nothing is added.

    What checks of `known` reach and kill is no gain any more.
    What is private is tested by itself only where nothing public gets that far, and an error that
    nobody raises on purpose only where nothing else runs a line.
    """
    by_check: dict[int, set[int]] = {}
    for mutant, killers in kills.items():
        for number in killers:
            by_check.setdefault(number, set()).add(mutant)
    arcs_left = set().union(*(check.arcs for check in checks)) if checks else set()
    mutants_left = {mutant for mutant, killers in kills.items() if killers}
    lines_left = {abs(line) for arc in arcs_left for line in arc}
    for check in known:
        arcs_left -= check.arcs
        lines_left -= _lines(check)
        mutants_left -= by_check.get(check.number, set())

    def gain(check: Check) -> int:
        if check.is_accident:
            return len(_lines(check) & lines_left)
        killed = len(by_check.get(check.number, set()) & mutants_left)
        return len(check.arcs & arcs_left) + 2 * killed

    chosen: list[Chosen] = []
    for tier in range(3):
        some = {check.number: check for check in checks if _tier(check) == tier}
        heap = [(-gain(check), cost(check), check.number) for check in some.values()]
        heapq.heapify(heap)
        while heap and (arcs_left or mutants_left):
            claimed, price, number = heapq.heappop(heap)
            check = some[number]
            now = gain(check)
            if now == 0:
                continue
            if -claimed != now:
                heapq.heappush(heap, (-now, price, number))
                continue
            chosen.append((check, now))
            arcs_left -= check.arcs
            lines_left -= _lines(check)
            mutants_left -= by_check.get(number, set())
    return chosen


def _tier(check: Check) -> int:
    return 2 if check.is_accident else int(_is_private(check))


def _lines(check: Check) -> set[int]:
    return {abs(line) for arc in check.arcs for line in arc}


def _is_private(check: Check) -> bool:
    parts = check.target.split(".")
    return any(part.startswith("_") and not part.endswith("__") for part in parts)


def grouped(chosen: Sequence[Chosen], limit: int) -> list[Group]:
    """Tests of few related checks each, at most `limit`.

    Where that is too many, checks of a test need have less in common; what is worth least goes.
    """
    groups: list[Group] = []
    for size, common, joined in _MANNERS:
        groups = _grouped(chosen, size, common, joined=joined)
        if len(groups) <= limit:
            break
    groups.sort(key=lambda group: -group.worth)
    return groups[:limit]


def _kind(check: Check) -> str:
    """The exception, or the kind of value."""
    return " ".join(check.told[:2]) if check.told[0] != "raises" else " ".join(check.told)


def _verb(check: Check) -> str:
    return check.told[0]


def _nothing(_check: Check) -> str:
    return ""


_Manner = tuple[int, Callable[[Check], str], bool]
_MANNERS: tuple[_Manner, ...] = (
    (3, _kind, False), (5, _kind, False), (6, _verb, False), (4, _kind, True), (6, _verb, True),
    (8, _nothing, True),
)  # fmt: skip
"""Size of a test, what its checks have in common, and whether those with a set-up are joined."""


def _grouped(
    chosen: Sequence[Chosen],
    size: int,
    common: Callable[[Check], str],
    *,
    joined: bool,
) -> list[Group]:
    groups: list[Group] = []
    open_groups: dict[tuple[str, str, bool, bool], Group] = {}
    for check, worth in chosen:
        plain = _is_plain(check)
        key = (check.target, common(check), plain, check.case.proposal > 0)
        group = open_groups.get(key)
        if group is None or not (plain or joined) or len(group.checks) >= size:
            group = Group(check.target, check.told[0])
            groups.append(group)
            open_groups[key] = group
        group.checks.append(check)
        group.worth += worth
    return groups


def _is_plain(check: Check) -> bool:
    """Whether a check stands by itself, with nothing set up before it."""
    lines = check.lines
    if check.told[0] == "raises":
        return len(lines) == 2 and lines[0].startswith("with pytest.raises(")
    return len(lines) == 1 and lines[0].startswith("assert ")


def cost(check: Check) -> int:
    """What a reader pays: of equal ones the telling is kept, with little text and no error."""
    raising = 60 if check.told[0] == "raises" or check.told == ["returns", "none"] else 0
    given = [value for _, value in check.case.arguments]
    nothing = 25 * sum(value in _NOTHING for value in given)
    return len(check.body) + 40 * len(check.lines) + raising + nothing
