"""Chosen checks with less in them: what a search tried on its way is not what a test needs."""

import ast
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sutazai.analysis.generation.inside.cases import STDIN_BYTES, STDIN_TEXT, Case, Target
from sutazai.analysis.generation.inside.checks import Check
from sutazai.analysis.generation.inside.exploring import Explorer
from sutazai.analysis.generation.inside.killing import Killer
from sutazai.analysis.generation.inside.mutants import Mutant
from sutazai.analysis.generation.inside.selecting import Chosen, cost

_ROUNDS = 3
_CANDIDATES = 8
_SHORT = 12
_PLAIN = ("0", "1", "'abc'")


def simplified(
    chosen: Sequence[Chosen],
    kills: dict[int, set[int]],
    mutants: Sequence[Mutant],
    explorer: Explorer,
    killer: Killer,
    until: float,
) -> list[Chosen]:
    """The same checks, each the simplest found by `until` that takes the same steps.

    It also notices the mutants that the check before it was kept for; `kills` learns of it.
    """
    found = list(chosen)
    for _ in range(_ROUNDS):
        wanted = [
            (check, case)
            for check, _ in found
            if (target := explorer.target_of(check))
            for case in list(_simpler(check.case, target, explorer))[:_CANDIDATES]
        ]
        tried = explorer.observed(wanted, until)
        good = {check.number for check in explorer.verify([new for _, new in tried], until)}
        by_check: dict[int, list[Check]] = {}
        for old, new in tried:
            same = new.told[0] == old.told[0] and new.is_accident == old.is_accident
            if new.number in good and same and new.arcs >= old.arcs and cost(new) < cost(old):
                by_check.setdefault(old.number, []).append(new)
        needed = _needed(found, kills)
        plans = [
            (mutant, news)
            for mutant in mutants
            if (news := by_check.get(needed.get(mutant.number, -1)))
        ]
        noticed = killer.killed(plans, until)
        if time.monotonic() >= until:
            break
        better: dict[int, Check] = {}
        for number, news in by_check.items():
            kept_for = [mutant for mutant, owner in needed.items() if owner == number]
            fit = [
                new
                for new in news
                if all(new.number in noticed.get(mutant, ()) for mutant in kept_for)
            ]
            if fit:
                better[number] = min(fit, key=cost)
                for mutant in kept_for:
                    kills[mutant].add(better[number].number)
        if not better:
            break
        found = [(better.get(check.number, check), worth) for check, worth in found]
    return found


def _needed(chosen: Sequence[Chosen], kills: dict[int, set[int]]) -> dict[int, int]:
    """For each mutant the first of the checks that notices it."""
    return {
        mutant: next(check.number for check, _ in chosen if check.number in killers)
        for mutant, killers in kills.items()
        if any(check.number in killers for check, _ in chosen)
    }


def _simpler(case: Case, target: Target, explorer: Explorer) -> Iterator[Case]:
    """Neighbours with less in them, the simplest first."""
    if case.whole:
        for at in range(len(case.steps)):
            yield replace(case, steps=case.steps[:at] + case.steps[at + 1 :])
        return
    optional = {slot.name for slot in target.slots if not slot.required}
    optional |= {STDIN_TEXT, STDIN_BYTES}
    required = tuple(pair for pair in case.arguments if pair[0] not in optional)
    if case.steps or len(required) < len(case.arguments):
        yield replace(case, steps=(), arguments=required)
    for at in range(len(case.steps)):
        yield replace(case, steps=case.steps[:at] + case.steps[at + 1 :])
    for name, value in case.arguments:
        if name in optional:
            rest = tuple(pair for pair in case.arguments if pair[0] != name)
            yield replace(case, arguments=rest)
        elif value.startswith("io.") and not value.endswith((".readline", "()", "())")):
            yield case.with_argument(name, f"{value.partition('(')[0]}()")
        elif not name.startswith("$") and (value[:1] in "[{(" or value.startswith("lambda")):
            for plain in _PLAIN:
                yield case.with_argument(name, plain)
        for shorter in _halves(value):
            yield case.with_argument(name, shorter)
    plainest = explorer.plainest_receiver(target)
    if case.receiver and plainest and plainest != case.receiver:
        yield replace(case, receiver=plainest)


def _halves(expression: str) -> Iterator[str]:
    """Each half of a long text, of bytes, or of what a stream is made of."""
    stream = re.fullmatch(r"(io\.\w+\()(.+)(\))", expression)
    before, inner, after = stream.groups() if stream else ("", expression, "")
    try:
        value = ast.literal_eval(inner)
    except (ValueError, SyntaxError, TypeError):
        return
    if isinstance(value, str | bytes) and len(value) > _SHORT:
        middle = len(value) // 2
        yield from (f"{before}{half!r}{after}" for half in (value[:middle], value[middle:]))
