"""How good generated tests are, on modules that were not looked at while the generator was written.

Names of other modules may be given: `python -m benchmarks.testgen textwrap packaging.version`.
"""

import asyncio
import importlib.util
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sutazai.adapters.sandbox import LinuxSandbox
from sutazai.analysis.generation.generator import ModuleTests, Options, TestGenerator
from sutazai.analysis.generation.modules import FindModules, find_modules
from sutazai.analysis.protocol import Place
from sutazai.analysis.reviewer import Reviewable

HELD_OUT = (
    "calendar",
    "difflib",
    "fnmatch",
    "graphlib",
    "heapq",
    "netrc",
    "plistlib",
    "string",
    "cachetools.keys",
    "jmespath.lexer",
    "markdown_it.ruler",
    "packaging.specifiers",
)
SECONDS = float(os.environ.get("TESTGEN_SECONDS", "30"))


class Row(NamedTuple):
    """What came of one module; `cpu` is the processor time of everything that ran for it."""

    name: str
    tests: ModuleTests
    wall: float
    cpu: float

    @property
    def line(self) -> float:
        return _part(self.tests.covered_statements, self.tests.statements)

    @property
    def branch(self) -> float:
        return _part(self.tests.covered_branches, self.tests.branches)

    @property
    def score(self) -> float:
        return _part(self.tests.killed, self.tests.mutants)

    @property
    def is_useful(self) -> bool:
        """Whether there is a suite that covers half of the lines and notices a third of faults."""
        return self.tests.failure is None and self.line >= 0.5 and self.score >= 1 / 3


def copied(name: str, folder: Path) -> Path:
    """The module, with its package if it has one, as a project in `folder`; where it lies there."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    origin = Path(spec.origin)
    top = name.partition(".")[0]
    if origin.name != "__init__.py" and top == name:
        shutil.copy(origin, folder)
        return folder / origin.name
    found = importlib.util.find_spec(top)
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    shutil.copytree(package, folder / top, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / origin.relative_to(package.parent)


async def measured(name: str, folder: Path) -> Row:
    path = copied(name, folder)
    place = Place(root=str(folder))
    what = Reviewable(place=place, patterns=(str(path.relative_to(folder)),))
    module = find_modules(FindModules(what=what, most=1)).modules[0]
    generator = TestGenerator(LinuxSandbox())
    started, before = time.perf_counter(), _cpu()
    tests = await generator.generate(module, place, Options(seconds=SECONDS))
    return Row(name, tests, time.perf_counter() - started, _cpu() - before)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _part(some: int, of: int) -> float:
    return some / of if of else 1.0


def main(names: Sequence[str] = HELD_OUT) -> list[Row]:
    """Generate tests for each module, one after the other, and print the figures."""
    cores = os.cpu_count()
    print(f"tests generated for {len(names)} modules, {SECONDS:.0f} s for each, {cores} cores")
    print("  module                 line branch mutants killed tests/statements  wall   cpu")
    rows: list[Row] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            row = asyncio.run(measured(name, Path(folder)))
        rows.append(row)
        tests = row.tests
        if tests.failure is not None:
            print(f"  {name:22} none: {tests.failure}", flush=True)
            continue
        print(
            f"  {name:22} {row.line:.2f} {row.branch:6.2f} {tests.mutants:7} {row.score:6.2f} "
            f"{len(tests.tests):5}/{tests.statements:<8} {row.wall:8.1f} {row.cpu:5.1f}",
            flush=True,
        )
        if kept := os.environ.get("TESTGEN_KEEP"):
            Path(kept, f"test_{name.replace('.', '_')}.py").write_text(tests.content, "utf-8")
    for what, values in (
        ("line coverage", [row.line for row in rows if row.tests.failure is None]),
        ("branch coverage", [row.branch for row in rows if row.tests.failure is None]),
        ("mutation score", [row.score for row in rows if row.tests.failure is None]),
        ("seconds", [row.wall for row in rows]),
    ):
        if values:
            print(f"  median {what:16} {statistics.median(values):.2f}")
    print(f"  useful suites {sum(row.is_useful for row in rows)} of {len(rows)}")
    return rows


if __name__ == "__main__":
    main(sys.argv[1:] or HELD_OUT)
