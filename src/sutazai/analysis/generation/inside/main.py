"""Generates tests for one module: `python -m … request.json result.json`, in the sandbox."""

import ast
import json
import math
import os
import random
import sys
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sutazai.analysis.generation.inside import properties
from sutazai.analysis.generation.inside.checks import Check
from sutazai.analysis.generation.inside.clock import process_start
from sutazai.analysis.generation.inside.exploring import Explorer
from sutazai.analysis.generation.inside.forks import NoProcessLeft, Send, quiet_streams, run_forked
from sutazai.analysis.generation.inside.killing import Killer
from sutazai.analysis.generation.inside.loading import REMEDY, NotLoadable, load
from sutazai.analysis.generation.inside.mutants import Mutant, mutants_of
from sutazai.analysis.generation.inside.observing import Observer
from sutazai.analysis.generation.inside.reading import Reading, body_lines, read
from sutazai.analysis.generation.inside.rendering import Rendered, Renderer
from sutazai.analysis.generation.inside.seeds import calls_of
from sutazai.analysis.generation.inside.selecting import Group, grouped, most_tests, selected
from sutazai.analysis.generation.inside.simplifying import simplified
from sutazai.analysis.generation.inside.subject import Subject

_CASE_SECONDS = 0.4
# Parts of the time by which a phase has ended, whatever it has by then.
_IMPORT = 0.5
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
_IMPORTED = "imported"
_PROOF_STARTS = 12


@dataclass
class Wanted:
    """The request; `seconds` is the time from the start of the process to the answer."""

    path: str
    module: str
    roots: list[str]
    project: str | None
    functions: list[str]
    max_tests: int | None
    seconds: float
    most_mutants: int
    parallel: int


class Generation:
    """One run from reading to the finished file, between two moments (monotonic)."""

    def __init__(self, wanted: Wanted, started: float, until: float) -> None:
        self._wanted = wanted
        self._started, self._until = started, until
        self._phases: dict[str, float] = {}
        self._chance = random.Random(20)  # noqa: S311  # the same input gives the same tests
        text = Path(wanted.path).read_text("utf-8-sig")
        self._reading = read(text)

    def run(self, send: Send) -> dict[str, Any]:
        """The result, JSON-compatible; NotLoadable where there is no module to test.

        When it is imported, that is sent.
        """
        wanted, reading = self._wanted, self._reading
        blocked = reading.accelerators
        is_taken = wanted.module.partition(".")[0] in sys.modules
        seconds = self._at(_IMPORT) - time.monotonic()
        module = load(wanted.module, wanted.path, wanted.roots, blocked, seconds)
        send(_IMPORTED)
        subject = Subject(reading, module)
        targets = [
            target
            for target in subject.targets()
            if not wanted.functions or _is_wanted(target.qualname, wanted.functions)
        ]
        project = Path(wanted.project) if wanted.project else None
        calls = calls_of(reading, project, wanted.module, self._at(_OTHER_CALLS))
        for target in targets:
            name = target.owner or target.qualname
            if (
                "{self}" not in target.template
                and not target.qualname.rpartition(".")[2][0].islower()
            ):
                target.seeds = calls.get(name, [])
            elif target.owner is None:
                target.seeds = calls.get(target.qualname, [])
        observer = Observer(module, wanted.path, _raise_lines(reading), _CASE_SECONDS)
        explorer = Explorer(subject, targets, observer, wanted.parallel)
        explorer.explore(self._at(_FIRST_SEARCH))
        self._tell("explored")
        checks = explorer.verify(explorer.kept(), self._at(_VERIFIED))
        checks += properties.checks_of(subject, explorer, checks, self._at(_VERIFIED))
        self._tell("verified")
        killer = Killer(module, reading, wanted.path, wanted.parallel)
        mutants = [
            mutant
            for mutant in mutants_of(reading.tree, wanted.most_mutants)
            if not wanted.functions or _is_wanted(mutant.routine, wanted.functions)
        ]
        self._chance.shuffle(mutants)
        telling = [check for check in checks if not check.is_accident]
        kills = killer.kills(mutants, telling, self._at(_MUTANTS))
        mutants = sorted(
            (one for one in mutants if one.number in kills), key=lambda one: one.number
        )
        self._tell("killed")
        checks += self._hunt(explorer, killer, mutants, kills, telling)
        self._tell("hunted")
        chosen = selected(checks, kills)
        chosen = simplified(chosen, kills, mutants, explorer, killer, self._at(_SIMPLIFIED))
        self._tell("simplified")
        groups = grouped(chosen, most_tests(reading.statements, wanted.max_tests))
        order = {name: at for at, name in enumerate([*reading.classes, *reading.routines])}
        renderer = Renderer(wanted.module, set(reading.state), blocked, is_taken=is_taken)
        source, tests = renderer.render(groups, order, self._at(1.0))
        return {
            "source": source,
            "tests": [_test(one, kills) for one in tests],
            "statements": reading.statements,
            "mutants": [
                {"number": one.number, "line": one.line, "what": one.what, "routine": one.routine}
                for one in mutants
            ],
            "routines": self._routines(
                subject, explorer, [one.group for one in tests], [one for one, _ in chosen]
            ),
            "seconds": round(time.monotonic() - self._started, 2),
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
            if time.monotonic() >= self._at(_LAST_HUNT):
                break
            more = explorer.more(keys, _HUNTED, self._at(_LAST_HUNT))
            more = explorer.verify(more, self._at(_LAST_HUNT))
            news = killer.kills(alive, more, self._at(_LAST_HUNT))
            useful = {number for killers in news.values() for number in killers}
            for number, killers in news.items():
                kills.setdefault(number, set()).update(killers)
            vain = 0 if useful else vain + 1
            found += [check for check in more if check.number in useful]
        return found

    def _tell(self, phase: str) -> None:
        self._phases[phase] = round(time.monotonic() - self._started, 2)

    def _at(self, part: float) -> float:
        return self._started + part * (self._until - self._started)

    def _routines(
        self, subject: Subject, explorer: Explorer, groups: list[Group], chosen: list[Check]
    ) -> list[dict[str, Any]]:
        """Each routine with its lines, those that no test reaches, and why."""
        seen = _lines(check for group in groups for check in group.checks)
        left_out = _lines(chosen)
        unreachable = {one.qualname: one.reason for one in subject.unreachable}
        discarded = {found.target.qualname: found.discarded for found in explorer.found.values()}
        found = []
        for name, routine in self._reading.routines.items():
            body = body_lines(routine.node)
            missing = sorted(body - seen)
            if self._wanted.functions and not _is_wanted(name, self._wanted.functions):
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


def _is_wanted(qualname: str, functions: list[str]) -> bool:
    return any(qualname == name or qualname.startswith(f"{name}.") for name in functions)


def _raise_lines(reading: Reading) -> set[int]:
    return {
        line
        for node in ast.walk(reading.tree)
        if isinstance(node, ast.Raise | ast.Assert)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def _lines(checks: Iterable[Check]) -> set[int]:
    """The lines that checks run."""
    return {abs(line) for check in checks for arc in check.arcs for line in arc}


def _commonest(discarded: dict[str, int]) -> str | None:
    if not discarded:
        return None
    reason = max(discarded, key=lambda one: discarded[one])
    return f"every input that was tried ended with: {reason}"


def _test(one: Rendered, kills: dict[int, set[int]]) -> dict[str, Any]:
    numbers = {check.number for check in one.group.checks}
    killed = sorted(mutant for mutant, killers in kills.items() if killers & numbers)
    return {"name": one.name, "function": one.group.target, "kills": killed}


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
    if _IMPORTED in end.messages:
        return {"failure": f"something in it, when it was called, {happened} the whole search"}
    return {"failure": f"importing it {happened} the process, past every exception; {REMEDY}"}


def _answer(wanted: Wanted, started: float, until: float, send: Send) -> dict[str, Any]:
    try:
        return Generation(wanted, started, until).run(send)
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
