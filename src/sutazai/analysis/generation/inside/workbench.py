"""One module on the bench: loaded, with what searches it and what puts faults into it."""

import ast
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sutazai.analysis.generation.inside.exploring import Explorer
from sutazai.analysis.generation.inside.forks import Send
from sutazai.analysis.generation.inside.killing import Killer
from sutazai.analysis.generation.inside.loading import load
from sutazai.analysis.generation.inside.mutants import Mutant, mutants_of
from sutazai.analysis.generation.inside.observing import Observer
from sutazai.analysis.generation.inside.reading import Reading, read
from sutazai.analysis.generation.inside.rendering import Rendered, Renderer
from sutazai.analysis.generation.inside.selecting import Chosen, grouped, most_tests
from sutazai.analysis.generation.inside.subject import Subject
from sutazai.analysis.generation.inside.watching import Watch

IMPORTED = "imported"
"""What is sent when the module has been imported."""

_IMPORT = 0.5
_CASE_SECONDS = 0.4


@dataclass
class Wanted:
    """The request; `seconds` is the time from the start of the process to the answer.

    With `proposals` an earlier search is gone on with: `checks` are those it chose, `tried` the
    numbers of the mutants that it ran them on.
    """

    path: str
    module: str
    roots: list[str]
    project: str | None
    functions: list[str]
    max_tests: int | None
    seconds: float
    most_mutants: int
    parallel: int
    proposals: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    tried: list[int] = field(default_factory=list)

    def means(self, qualname: str) -> bool:
        """Whether a function, method or class is to be tested."""
        return not self.functions or any(
            qualname == name or qualname.startswith(f"{name}.") for name in self.functions
        )


class Workbench:
    """Loads the module, between two moments (monotonic); NotLoadable where there is none to test.

    When it is imported, that is sent.
    """

    def __init__(self, wanted: Wanted, started: float, until: float, send: Send) -> None:
        self.wanted = wanted
        self.started, self._until = started, until
        self.reading = reading = read(Path(wanted.path).read_text("utf-8-sig"))
        is_taken = wanted.module.partition(".")[0] in sys.modules
        blocked = reading.accelerators
        watch = Watch(wanted.roots) if wanted.proposals else None
        seconds = self.at(_IMPORT) - time.monotonic()
        module = load(wanted.module, wanted.path, wanted.roots, blocked, seconds)
        send(IMPORTED)
        self.subject = Subject(reading, module)
        self.targets = [one for one in self.subject.targets() if wanted.means(one.qualname)]
        observer = Observer(module, wanted.path, _raise_lines(reading), _CASE_SECONDS, watch)
        self.explorer = Explorer(self.subject, self.targets, observer, wanted.parallel)
        self.killer = Killer(module, reading, wanted.path, wanted.parallel)
        self._renderer = Renderer(wanted.module, set(reading.state), blocked, is_taken=is_taken)

    def at(self, part: float) -> float:
        """The moment at which this part of the time is over."""
        return self.started + part * (self._until - self.started)

    def mutants(self) -> list[Mutant]:
        """Those of what is to be tested; the same ones every time."""
        found = mutants_of(self.reading.tree, self.wanted.most_mutants)
        return [mutant for mutant in found if self.wanted.means(mutant.routine)]

    def written(self, chosen: Sequence[Chosen]) -> tuple[str, list[Rendered]]:
        """The file of tests that chosen checks make, and its tests."""
        reading = self.reading
        groups = grouped(chosen, most_tests(reading.statements, self.wanted.max_tests))
        order = {name: at for at, name in enumerate([*reading.classes, *reading.routines])}
        return self._renderer.render(groups, order, self.at(1.0))


def told(one: Rendered, kills: dict[int, set[int]]) -> dict[str, Any]:
    """A test, JSON-compatible: its name, what it is of, whose idea it was, the mutants it kills."""
    numbers = {check.number for check in one.group.checks}
    killed = sorted(mutant for mutant, killers in kills.items() if killers & numbers)
    return {
        "name": one.name,
        "function": one.group.target,
        "kills": killed,
        "by_model": one.group.is_proposed,
    }


def _raise_lines(reading: Reading) -> set[int]:
    return {
        line
        for node in ast.walk(reading.tree)
        if isinstance(node, ast.Raise | ast.Assert)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
