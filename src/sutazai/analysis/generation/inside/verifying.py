"""Runs a file of tests as strangers would: in fresh processes, in random order, three times.

`python -m … request.json result.json`. What fails once is taken out, and the rest run again.
"""

import ast
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_RUNS = 3
_ROUNDS = 4
_SECONDS = 60.0


@dataclass
class Wanted:
    """The request; `plugin` is the module of this package that shuffles and reports."""

    path: str
    roots: list[str]
    file: str
    source: str
    plugin: str
    parallel: int


def verify(wanted: Wanted) -> dict[str, Any]:
    """The tests that pass every time, with the coverage that they reach, and those that do not."""
    source, dropped = wanted.source, dict[str, str]()
    for number in range(_ROUNDS):
        Path(wanted.file).write_text(source, "utf-8")
        outcomes = _runs(wanted, number)
        bad = {
            name: message
            for outcome in outcomes
            for name, message in outcome.items()
            if message is not None
        }
        names = _tests(source)
        if any(set(outcome) != set(names) for outcome in outcomes) and not bad:
            return {"failure": "the tests could not be run again", "dropped": dropped}
        if not bad:
            coverage = _coverage()
            if not coverage:
                _runs(wanted, number)
                coverage = _coverage()
            return {"source": source, "dropped": dropped, "coverage": coverage}
        dropped |= bad
        source = _without(source, set(bad))
        if not _tests(source):
            break
    return {"failure": "no test passes every time", "dropped": dropped}


def _runs(wanted: Wanted, number: int) -> list[dict[str, str | None]]:
    waiting = list(range(_RUNS))
    outcomes: list[dict[str, str | None]] = []
    while waiting:
        now, waiting = waiting[: wanted.parallel], waiting[wanted.parallel :]
        processes = [(run, _start(wanted, run, number)) for run in now]
        for run, process in processes:
            try:
                process.communicate(timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            report = Path(f"report-{run}.json")
            outcomes.append(json.loads(report.read_text("utf-8")) if report.exists() else {})
    return outcomes


def _start(wanted: Wanted, run: int, number: int) -> "subprocess.Popen[bytes]":
    report = Path(f"report-{run}.json")
    report.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(11 + 7 * run + number),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "ORDER_SEED": str(3 * number + run),
        "ORDER_REPORT": str(report.absolute()),
        "TZ": ("UTC", "AAA+11", "BBB-13")[run],
        "COVERAGE_FILE": str(Path("coverage.data").absolute()),
    }
    command = [sys.executable]
    if run == 0:
        # One of the three is measured; the others run as they would without.
        command += ["-m", "coverage", "run", "--branch", f"--include={wanted.path}"]
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


def _coverage() -> dict[str, Any]:
    """Lines and branches as coverage.py counts them."""
    environment = {**os.environ, "COVERAGE_FILE": str(Path("coverage.data").absolute())}
    command = [sys.executable, "-m", "coverage", "json", "-q", "-o", "coverage.json"]
    subprocess.run(
        command, env=environment, check=False, capture_output=True, timeout=_SECONDS
    )  # as above
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
    Path(result).write_text(json.dumps(verify(wanted)), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
