"""Running checks against mutants, in forks: which check notices which fault."""

import __future__

import ast
import functools
import operator
import os
import sys
import time
import types
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from sutazai.analysis.generation.inside.checks import Check, Verdict, verdict
from sutazai.analysis.generation.inside.forks import Alarm, OutOfTime, Send, run_forked
from sutazai.analysis.generation.inside.mutants import Mutant, mutated
from sutazai.analysis.generation.inside.reading import Reading

_A_FORK = 6
_FORK_SECONDS = 20.0
_IMPORT_SECONDS = 2.0
_LEAST_SECONDS = 0.05
_MOST_CHECKS = 60
_MOST_LATE = 1
_ENOUGH = 8
_MUTANT_SECONDS = 3.0
_ROUND = 4


Plan = tuple[Mutant, list[Check]]
"""A mutant and the checks to run on it."""


class Killer:
    """Makes mutants of one loaded module and runs checks on them.

    `slow` has the numbers of mutants that nobody need try again: they sleep, or crawl.
    """

    def __init__(
        self, module: types.ModuleType, reading: Reading, path: str, parallel: int
    ) -> None:
        self._module = module
        self._tree = reading.tree
        flags = [
            getattr(__future__, name.name).compiler_flag
            for node in reading.tree.body
            if isinstance(node, ast.ImportFrom) and node.module == "__future__"
            for name in node.names
        ]
        self._flags = functools.reduce(operator.or_, flags, 0)
        self._parts = [self._compiled(statement, path) for statement in reading.tree.body]
        self.covering = Covering(reading)
        self.slow: set[int] = set()
        self._path = path
        self._parallel = parallel

    def kills(
        self,
        mutants: Sequence[Mutant],
        checks: Sequence[Check],
        until: float,
        *,
        each: bool = True,
    ) -> dict[int, set[int]]:
        """For each mutant (by its number) the numbers of the checks that fail on it.

        Only checks that take a line of the mutant are run; with `each` false the first failure
        is enough. A mutant that cannot even be imported is noticed by every check. Of mutants for
        which there was no time before `until` (monotonic) the answer has nothing.
        """
        plans = [(mutant, self.covering(mutant, checks)) for mutant in mutants]
        found: dict[int, set[int]] = {mutant.number: set() for mutant, those in plans if not those}
        plans = [(mutant, those) for mutant, those in plans if those]
        return found | self.killed(plans, until, each=each)

    def killed(
        self, plans: Sequence[Plan], until: float, *, each: bool = True
    ) -> dict[int, set[int]]:
        """The same, where it is settled which checks are run on each mutant."""
        found: dict[int, set[int]] = {}
        pieces = [plans[start : start + _A_FORK] for start in range(0, len(plans), _A_FORK)]
        while pieces and time.monotonic() < until:
            pieces, later = pieces[: _ROUND * self._parallel], pieces[_ROUND * self._parallel :]
            works = [partial(self._run, piece, each) for piece in pieces]
            ends = run_forked(works, seconds=_FORK_SECONDS, parallel=self._parallel, until=until)
            again: list[Sequence[Plan]] = []
            for piece, end in zip(pieces, ends, strict=True):
                for number, killers, slow in end.messages:
                    found.setdefault(number, set()).update(killers)
                    self.slow |= {number} if slow else set()
                done = {number for number, _, _ in end.messages}
                rest = [plan for plan in piece if plan[0].number not in done]
                if not end.complete and not end.late and rest:
                    # The first of them took the process along: that is noticed, too.
                    mutant, those = rest[0]
                    found[mutant.number] = {those[0].number}
                    if rest[1:]:
                        again.append(rest[1:])
            pieces = [*again, *later]
        return found

    def _run(self, plans: Sequence[Plan], each: bool, send: Send) -> None:
        os.environ["TZ"] = "AAA+12"
        for mutant, checks in plans:
            module = self._made(mutant)
            killers: list[int] = []
            late = 0
            started = time.monotonic()
            slow = False
            for check in checks:
                if slow := time.monotonic() - started > _MUTANT_SECONDS:
                    break
                limit = max(_LEAST_SECONDS, 20 * check.seconds)
                ended = Verdict.FAILED if module is None else verdict(module, check, limit)
                if ended is Verdict.PASSED:
                    continue
                killers.append(check.number)
                late += ended is Verdict.LATE
                if not each or late == _MOST_LATE or len(killers) == _ENOUGH:
                    break
            send([mutant.number, killers, slow])

    def _compiled(self, statement: ast.stmt, path: str) -> types.CodeType:
        tree = ast.Module([statement], type_ignores=[])
        code: types.CodeType = compile(tree, path, "exec", flags=self._flags, dont_inherit=True)
        return code

    def _made(self, mutant: Mutant) -> types.ModuleType | None:
        """The module with the fault, in the place of the real one; None where it has no import."""
        name = self._module.__name__
        module = types.ModuleType(name)
        kept: dict[str, Any] = {
            key: value
            for key, value in vars(self._module).items()
            if key in ("__file__", "__package__", "__spec__", "__loader__", "__path__")
        }
        vars(module).update(kept)
        sys.modules[name] = module
        parent, _, last = name.rpartition(".")
        if parent in sys.modules:
            setattr(sys.modules[parent], last, module)
        try:
            # Only the statement with the fault is compiled again; the others are at hand.
            at = mutant.path[0][1] or 0
            parts = list(self._parts)
            parts[at] = self._compiled(mutated(self._tree, mutant).body[at], self._path)
            with Alarm(_IMPORT_SECONDS):
                for part in parts:
                    exec(part, vars(module))  # noqa: S102  # in the sandbox
        except OutOfTime:
            return None
        except BaseException:  # a fault may do anything
            return None
        return module


class Covering:
    """Says which checks can notice a mutant at all: those that take a line of its statement."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._lines: dict[int, set[int]] = {}

    def __call__(self, mutant: Mutant, checks: Iterable[Check]) -> list[Check]:
        """The checks to run on the mutant, at most a certain number."""
        wanted = set(range(mutant.lines[0], mutant.lines[1] + 1))
        if mutant.routine not in self._reading.routines:
            # It runs at import; who notices is who uses the name.
            wanted = self._users(mutant)
            if not wanted:
                return list(checks)[:_MOST_CHECKS]
        taking = [check for check in checks if wanted & self.lines_of(check)]
        return taking[:_MOST_CHECKS]

    def lines_of(self, check: Check) -> set[int]:
        """The lines that a check runs, with those where what it calls begins."""
        if check.number not in self._lines:
            self._lines[check.number] = {abs(line) for arc in check.arcs for line in arc}
        return self._lines[check.number]

    def _users(self, mutant: Mutant) -> set[int]:
        lines: set[int] = set()
        for routine in self._reading.routines.values():
            if mutant.assigned and mutant.assigned in routine.calls:
                lines |= set(range(routine.lines[0], routine.lines[1] + 1))
        return lines
