"""Generates tests for one module: `python -m … request.json result.json`, in the sandbox."""

import json
import math
import os
import random
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sutazai.analysis.generation.inside import properties
from sutazai.analysis.generation.inside.checks import Check
from sutazai.analysis.generation.inside.clock import process_start
from sutazai.analysis.generation.inside.exploring import Explorer
from sutazai.analysis.generation.inside.extending import Extension, packed
from sutazai.analysis.generation.inside.forks import NoProcessLeft, Send, quiet_streams, run_forked
from sutazai.analysis.generation.inside.killing import Killer
from sutazai.analysis.generation.inside.loading import REMEDY, NotLoadable
from sutazai.analysis.generation.inside.mutants import Mutant
from sutazai.analysis.generation.inside.reading import body_lines
from sutazai.analysis.generation.inside.seeds import calls_of
from sutazai.analysis.generation.inside.selecting import Group, selected
from sutazai.analysis.generation.inside.simplifying import simplified
from sutazai.analysis.generation.inside.workbench import IMPORTED, Wanted, Workbench, told

# Parts of the time by which a phase has ended, whatever it has by then.
_OTHER_CALLS = 0.15
_FIRST_SEARCH = 0.4
_VERIFIED = 0.6
_MUTANTS = 0.8
_LAST_HUNT = 0.86
_SIMPLIFIED = 0.95
_HUNTED = 32
_HUNTS = 16
_VAIN_HUNTS = 3
_SLACK = 0.1
_PROOF_STARTS = 12


class Generation:
    """One run from the loaded module to the finished file."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._phases: dict[str, float] = {}
        self._chance = random.Random(20)  # noqa: S311  # the same input gives the same tests

    def run(self) -> dict[str, Any]:
        """The result, JSON-compatible."""
        bench = self._bench
        wanted, reading, subject = bench.wanted, bench.reading, bench.subject
        explorer, killer = bench.explorer, bench.killer
        project = Path(wanted.project) if wanted.project else None
        calls = calls_of(reading, project, wanted.module, bench.at(_OTHER_CALLS))
        for target in bench.targets:
            name = target.owner or target.qualname
            if (
                "{self}" not in target.template
                and not target.qualname.rpartition(".")[2][0].islower()
            ):
                target.seeds = calls.get(name, [])
            elif target.owner is None:
                target.seeds = calls.get(target.qualname, [])
        explorer.explore(self._bench.at(_FIRST_SEARCH))
        self._tell("explored")
        checks = explorer.verify(explorer.kept(), self._bench.at(_VERIFIED))
        checks += properties.checks_of(subject, explorer, checks, self._bench.at(_VERIFIED))
        self._tell("verified")
        mutants = bench.mutants()
        self._chance.shuffle(mutants)
        telling = [check for check in checks if not check.is_accident]
        kills = killer.kills(mutants, telling, self._bench.at(_MUTANTS))
        mutants = sorted(
            (one for one in mutants if one.number in kills), key=lambda one: one.number
        )
        self._tell("killed")
        checks += self._hunt(explorer, killer, mutants, kills, telling)
        self._tell("hunted")
        chosen = selected(checks, kills)
        chosen = simplified(chosen, kills, mutants, explorer, killer, self._bench.at(_SIMPLIFIED))
        self._tell("simplified")
        source, tests = bench.written(chosen)
        return {
            "source": source,
            "tests": [told(one, kills) for one in tests],
            "checks": packed(chosen, kills),
            "statements": reading.statements,
            "mutants": [
                {"number": one.number, "line": one.line, "what": one.what, "routine": one.routine}
                for one in mutants
            ],
            "routines": self._routines([one.group for one in tests], [one for one, _ in chosen]),
            "seconds": round(time.monotonic() - bench.started, 2),
            "phases": self._phases,
        }

    def _hunt(
        self,
        explorer: Explorer,
        killer: Killer,
        mutants: list[Mutant],
        kills: dict[int, set[int]],
        checks: list[Check],
    ) -> list[Check]:
        """Look around the checks that reach a surviving fault for one that notices it."""
        found: list[Check] = []
        vain = 0
        for _ in range(_HUNTS):
            alive = [
                one
                for one in mutants
                if not kills.get(one.number) and one.number not in killer.slow
            ]
            reaching = {
                check.target for one in alive for check in killer.covering(one, checks)[:20]
            }
            keys = [
                key for key, known in explorer.found.items() if known.target.qualname in reaching
            ]
            if not alive or not keys or vain == _VAIN_HUNTS:
                break
            if time.monotonic() >= self._bench.at(_LAST_HUNT):
                break
            more = explorer.more(keys, _HUNTED, self._bench.at(_LAST_HUNT))
            more = explorer.verify(more, self._bench.at(_LAST_HUNT))
            news = killer.kills(alive, more, self._bench.at(_LAST_HUNT))
            useful = {number for killers in news.values() for number in killers}
            for number, killers in news.items():
                kills.setdefault(number, set()).update(killers)
            vain = 0 if useful else vain + 1
            found += [check for check in more if check.number in useful]
        return found

    def _tell(self, phase: str) -> None:
        self._phases[phase] = round(time.monotonic() - self._bench.started, 2)

    def _routines(self, groups: list[Group], chosen: list[Check]) -> list[dict[str, Any]]:
        """Each routine with its lines, those that no test reaches, and why."""
        subject, explorer = self._bench.subject, self._bench.explorer
        seen = _lines(check for group in groups for check in group.checks)
        left_out = _lines(chosen)
        unreachable = {one.qualname: one.reason for one in subject.unreachable}
        discarded = {found.target.qualname: found.discarded for found in explorer.found.values()}
        found = []
        for name, routine in self._bench.reading.routines.items():
            body = body_lines(routine.node)
            missing = sorted(body - seen)
            if not self._bench.wanted.means(name):
                continue
            reason = unreachable.get(name)
            if set(missing) <= left_out:
                reason = "left out: a module gets at most 25 tests for 100 statements, or max_tests"
            surroundings = subject.pins.of(name).reasons
            if reason is None and surroundings:
                reason = f"it {' and '.join(surroundings)}"
            if reason is None and len(missing) == len(body):
                reason = _commonest(discarded.get(name, {}))
            found.append(
                {
                    "function": name,
                    "body": sorted(body),
                    "lines": missing,
                    "reason": reason or "no input was found that leads there",
                }
            )
        return found


def _lines(checks: Iterable[Check]) -> set[int]:
    """The lines that checks run."""
    return {abs(line) for check in checks for arc in check.arcs for line in arc}


def _commonest(discarded: dict[str, int]) -> str | None:
    if not discarded:
        return None
    reason = max(discarded, key=lambda one: discarded[one])
    return f"every input that was tried ended with: {reason}"


def generated(wanted: Wanted, started: float, until: float) -> dict[str, Any]:
    """The answer, before `until` (monotonic).

    It is made in a fork that alone imports the module: whatever happens there ends there.
    """

    def work(send: Send) -> None:
        quiet_streams()
        send(_answer(wanted, started, until, send))

    last = until + _SLACK * (until - started)
    [end] = run_forked([work], seconds=math.inf, parallel=1, until=last)
    for message in end.messages:
        if isinstance(message, dict):
            return message
    happened = "stalls" if end.late else "ends"
    if IMPORTED in end.messages:
        return {"failure": f"something in it, when it was called, {happened} the whole search"}
    return {"failure": f"importing it {happened} the process, past every exception; {REMEDY}"}


def _answer(wanted: Wanted, started: float, until: float, send: Send) -> dict[str, Any]:
    try:
        bench = Workbench(wanted, started, until, send)
        return Extension(bench).run() if wanted.proposals else Generation(bench).run()
    except NotLoadable as error:
        failure = str(error)
    except SyntaxError as error:
        failure = f"line {error.lineno} is not valid Python: {error.msg}"
    except NoProcessLeft:
        failure = f"it starts more processes or threads than the sandbox allows; {REMEDY}"
    except Exception as error:  # told, so that it can be reported and put right
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        failure = f"the generator failed ({type(error).__name__}: {error}, {where})"
    return {"failure": failure}


def main(arguments: list[str]) -> None:
    """Read the request, write the result; both are JSON."""
    request, result = arguments
    wanted = Wanted(**json.loads(Path(request).read_text("utf-8")))
    wanted.path = os.path.realpath(wanted.path)
    wanted.roots = [os.path.realpath(root) for root in wanted.roots]
    place = Path(result).absolute()
    os.environ["TZ"] = "UTC"
    time.tzset()
    began, now = process_start(), time.monotonic()
    # The proof starts Python, too, on the same machine: what that took is known by now.
    proof = min(max(wanted.seconds / 3, _PROOF_STARTS * (now - began)), 0.6 * wanted.seconds)
    answer = generated(wanted, now, began + wanted.seconds - proof)
    place.write_text(json.dumps(answer), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
