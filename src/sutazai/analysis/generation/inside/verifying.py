"""Runs a file of tests as strangers would: in fresh processes, in random order, three times.

`python -m … request.json result.json`. What fails once is taken out, and the rest run again, as
long as there is time; what there was no time for is not proven, and taken out, too.
"""

import ast
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sutazai.analysis.generation.inside.clock import process_start

_RUNS = 3
_ROUNDS = 4
_FOR_COVERAGE = 0.15
_UNMEASURED = "there was no time left to measure what the tests reach: give it more `seconds`"
_UNPROVEN = "there was no time left to run it three times"


@dataclass
class Wanted:
    """The request; `plugin` is the module of this package that shuffles and reports.

    `seconds` is the time from the start of the process to the answer.
    """

    path: str
    roots: list[str]
    file: str
    source: str
    plugin: str
    seconds: float


def verify(wanted: Wanted, until: float) -> dict[str, Any]:
    """The tests that pass every time, with the coverage that they reach, and those that do not.

    The answer is there before `until` (monotonic).
    """
    source, dropped = wanted.source, dict[str, str]()
    last = until - _FOR_COVERAGE * wanted.seconds
    for number in range(_ROUNDS):
        started = time.monotonic()
        Path(wanted.file).write_text(source, "utf-8")
        outcomes = _runs(wanted, number, last)
        names = _tests(source)
        bad = {
            name: reason
            for name in names
            for outcome in outcomes
            if (reason := outcome.get(name, _UNPROVEN)) is not None
        }
        dropped |= bad
        source = _without(source, set(bad))
        kept = _tests(source)
        took = time.monotonic() - started
        if not kept:
            break
        if not bad or number == _ROUNDS - 1 or time.monotonic() + took > last:
            # Each that is kept has passed three times; what it reached is told apart by its name.
            coverage = _coverage(kept, until)
            if coverage is None:
                return {"failure": _UNMEASURED, "dropped": dropped}
            return {"source": source, "dropped": dropped, "coverage": coverage}
    unproven = all(reason == _UNPROVEN for reason in dropped.values())
    failure = f"{_UNPROVEN}: give it more `seconds`" if unproven else "no test passes every time"
    return {"failure": failure.replace("it three", "the tests three"), "dropped": dropped}


def _runs(wanted: Wanted, number: int, until: float) -> list[dict[str, str | None]]:
    """How each test ended in each run; the runs go on side by side."""
    processes = [_start(wanted, run, number, until) for run in range(_RUNS)]
    outcomes: list[dict[str, str | None]] = []
    for run, process in enumerate(processes):
        try:
            process.wait(max(0.0, until - time.monotonic()) + 1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        report = Path(f"report-{run}.json")
        outcomes.append(json.loads(report.read_text("utf-8")) if report.exists() else {})
    return outcomes


def _start(wanted: Wanted, run: int, number: int, until: float) -> "subprocess.Popen[bytes]":
    report = Path(f"report-{run}.json")
    report.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(11 + 7 * run + number),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "ORDER_SEED": str(3 * number + run),
        "ORDER_REPORT": str(report.absolute()),
        "ORDER_UNTIL": str(until),
        "TZ": ("UTC", "AAA+11", "BBB-13")[run],
        "COVERAGE_FILE": str(Path("coverage.data").absolute()),
    }
    command = [sys.executable]
    if run == 0:
        # One of the three is measured; the others run as they would without.
        Path("coverage.ini").write_text(_MEASURED.format(path=wanted.path), "utf-8")
        command += ["-m", "coverage", "run", "--rcfile=coverage.ini"]
    command += ["-m", "pytest", "-q", "-p", wanted.plugin]
    command += ["-p", "no:cacheprovider", "-c", "tests.ini", wanted.file]
    # Not PYTHONPATH: a module named like one of Python's own would get in pytest's way.
    roots = "".join(f"\n    {root}" for root in wanted.roots)
    Path("tests.ini").write_text(f"[pytest]\npythonpath ={roots}\n", "utf-8")
    return subprocess.Popen(  # our own command
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


_MEASURED = """
[run]
branch = True
dynamic_context = test_function
include = {path}
"""


def _coverage(tests: list[str], until: float) -> dict[str, Any] | None:
    """Lines and branches as coverage.py counts them, of the import and of these tests.

    None where there is no time for it.
    """
    environment = {**os.environ, "COVERAGE_FILE": str(Path("coverage.data").absolute())}
    contexts = ",".join(["^$", *(rf"\.{name}$" for name in tests)])
    command = [sys.executable, "-m", "coverage", "json", "-q", "-o", "coverage.json"]
    command += ["--rcfile=coverage.ini", f"--contexts={contexts}"]
    try:
        subprocess.run(  # as above
            command,
            env=environment,
            check=False,
            capture_output=True,
            timeout=max(0.0, until - time.monotonic()),
        )
    except subprocess.TimeoutExpired:
        return None
    place = Path("coverage.json")
    files = json.loads(place.read_text("utf-8"))["files"] if place.exists() else {}
    told = next(iter(files.values()), None)
    if told is None:
        return {}
    summary = told["summary"]
    return {
        "statements": summary["num_statements"],
        "covered_statements": summary["covered_lines"],
        "branches": summary.get("num_branches", 0),
        "covered_branches": summary.get("covered_branches", 0),
        "missing_lines": told["missing_lines"],
    }


def _tests(source: str) -> list[str]:
    return [
        node.name
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def _without(source: str, names: set[str]) -> str:
    """The text without some of its tests."""
    body = ast.parse(source).body
    lines = source.splitlines()
    for at in reversed(range(len(body))):
        node = body[at]
        if isinstance(node, ast.FunctionDef) and node.name in names:
            before = body[at - 1].end_lineno if at else 0
            del lines[before : node.end_lineno]
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: list[str]) -> None:
    """Read the request, write the result; both are JSON."""
    request, result = arguments
    wanted = Wanted(**json.loads(Path(request).read_text("utf-8")))
    wanted.path = os.path.realpath(wanted.path)
    wanted.roots = [os.path.realpath(root) for root in wanted.roots]
    until = process_start() + wanted.seconds
    Path(result).write_text(json.dumps(verify(wanted, until)), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
