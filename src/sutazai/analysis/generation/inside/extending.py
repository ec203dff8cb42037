"""Going on with an earlier search from what a language model proposes: the same way, less far."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sutazai.analysis.generation.inside.cases import Case
from sutazai.analysis.generation.inside.checks import Check
from sutazai.analysis.generation.inside.mutants import Mutant
from sutazai.analysis.generation.inside.proposals import Proposals, Refused
from sutazai.analysis.generation.inside.selecting import Chosen, selected
from sutazai.analysis.generation.inside.simplifying import simplified
from sutazai.analysis.generation.inside.workbench import Workbench, told

# Parts of the time by which a phase has ended, whatever it has by then.
_KNOWN = 0.4
_RUN = 0.5
_NEIGHBOURS = 0.6
_VERIFIED = 0.7
_MUTANTS = 0.8
_LAST_HUNT = 0.9
_SIMPLIFIED = 0.97
_ROUNDS = 4
_AROUND = 32


class Extension:
    """One run from chosen checks and proposals to a file with what the latter add."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def run(self) -> dict[str, Any]:
        """The result, JSON-compatible: the file, its tests, and what became of the proposals."""
        bench, explorer = self._bench, self._bench.explorer
        known, kills = _known(bench.wanted.checks, bench.wanted.tried)
        passed = {
            one.number for one in explorer.verify([one for one, _ in known], bench.at(_KNOWN))
        }
        known = [(check, worth) for check, worth in known if check.number in passed]
        explorer.know([check for check, _ in known])
        cases = self._cases()
        found = explorer.given(cases, bench.at(_RUN))
        for _ in range(_ROUNDS):
            # Neighbours: a proposal may be a step away from what it was meant to reach.
            found += explorer.more(list(cases), _AROUND, bench.at(_NEIGHBOURS), only_near=True)
        found = explorer.verify(found, bench.at(_VERIFIED))
        mutants = [one for one in bench.mutants() if not kills.get(one.number, {0})]
        self._kill(mutants, found, kills, bench.at(_MUTANTS))
        found += self._hunt(list(cases), mutants, kills)
        new = selected(found, kills, [check for check, _ in known])
        survived = {one.number: kills[one.number] for one in mutants}
        until = bench.at(_SIMPLIFIED)
        new = simplified(new, survived, mutants, explorer, bench.killer, until)
        source, tests = bench.written([*known, *new])
        kept = {check.case.proposal for one in tests for check in one.group.checks} - {0}
        return {
            "source": source,
            "tests": [told(one, kills) for one in tests],
            "run": sum(map(len, cases.values())),
            "kept": len(kept),
        }

    def _cases(self) -> dict[str, list[Case]]:
        """The cases to run by the keys of their targets; what is refused is not among them."""
        bench = self._bench
        keys = {
            found.target.qualname: key
            for key, found in reversed(bench.explorer.found.items())
            if found.target.form != "statement"
        }
        proposals = Proposals(bench.reading, bench.subject.module, set(keys))
        cases: dict[str, list[Case]] = {}
        for number, one in enumerate(bench.wanted.proposals, 1):
            try:
                case = proposals.case(one, number)
            except Refused:
                continue
            cases.setdefault(keys[case.target], []).append(case)
        return cases

    def _kill(
        self,
        mutants: Sequence[Mutant],
        checks: Sequence[Check],
        kills: dict[int, set[int]],
        until: float,
    ) -> bool:
        """Note which checks notice mutants that none noticed before; whether one did."""
        telling = [check for check in checks if not check.is_accident]
        news = self._bench.killer.kills(mutants, telling, until)
        for number, killers in news.items():
            kills[number] |= killers
        return any(news.values())

    def _hunt(
        self, keys: Sequence[str], mutants: Sequence[Mutant], kills: dict[int, set[int]]
    ) -> list[Check]:
        """Further neighbours, as long as they notice mutants that survive."""
        bench, until = self._bench, self._bench.at(_LAST_HUNT)
        found: list[Check] = []
        for _ in range(_ROUNDS):
            alive = [one for one in mutants if not kills[one.number]]
            more = bench.explorer.more(keys, _AROUND, until, only_near=True) if alive else []
            more = bench.explorer.verify(more, until)
            if not self._kill(alive, more, kills, until):
                break
            found += more
        return found


def packed(chosen: Sequence[Chosen], kills: dict[int, set[int]]) -> list[dict[str, Any]]:
    """Chosen checks, JSON-compatible, for a later run to go on from."""
    return [
        {
            "case": dataclasses.asdict(check.case),
            "number": check.number,
            "lines": check.lines,
            "told": check.told,
            "accident": check.is_accident,
            "worth": worth,
            "kills": sorted(one for one, killers in kills.items() if check.number in killers),
        }
        for check, worth in chosen
    ]


def _known(
    checks: Sequence[dict[str, Any]], tried: Sequence[int]
) -> tuple[list[Chosen], dict[int, set[int]]]:
    """Checks as they were stored, and which of them notice each mutant that was tried."""
    kills: dict[int, set[int]] = {number: set() for number in tried}
    chosen: list[Chosen] = []
    for one in checks:
        case = one["case"]
        pairs = tuple((name, value) for name, value in case["arguments"])
        case = Case(**{**case, "arguments": pairs, "steps": tuple(case["steps"])})
        check = Check(one["number"], case, one["lines"], one["told"], frozenset())
        check.is_accident = one["accident"]
        chosen.append((check, one["worth"]))
        for number in one["kills"]:
            kills[number].add(check.number)
    return chosen, kills
