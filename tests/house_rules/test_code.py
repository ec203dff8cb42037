"""What linters do not say: sizes, names, reasons beside exceptions."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house_rules.tree import ROOT, python_files, report, shown

CODE = ("src", "sdk/python/src", "tests", "benchmarks")
MOST_LINES_OF_A_MODULE = 500
MOST_LINES_OF_A_FUNCTION = 80
# A name that says nothing attracts everything.
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "base", "lib"}
DIRECTIVE = re.compile(
    r"#\s*(?:type:\s*ignore|noqa|ruff:\s*noqa|pragma|nosec|mypy:)"
    r"(?:\[[\w, -]*\]|:\s*[\w-]+(?:[,\s]+[A-Z]+[0-9]+)*|\s*[\w=-]*)"
)
REASON = re.compile(r"\w+\W+\w+")


def directives_without_reason(path: Path) -> Iterator[int]:
    """Lines that switch a rule off with no reason after it or in a comment line above."""
    explained = set()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type != tokenize.COMMENT:
                continue
            line = token.start[0]
            if not DIRECTIVE.search(token.string):
                if token.line.lstrip().startswith("#"):
                    explained.add(line)
            elif line - 1 not in explained and not REASON.search(DIRECTIVE.sub("", token.string)):
                yield line


def test_modules_are_small() -> None:
    files = python_files(*CODE)
    assert len(files) > 30
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in files}
    found = [
        f"{shown(path)}: {count} lines, at most {MOST_LINES_OF_A_MODULE}"
        for path, count in lines.items()
        if count > MOST_LINES_OF_A_MODULE
    ]
    assert not found, report(found)


def test_functions_are_small() -> None:
    functions = [
        (path, node)
        for path in python_files(*CODE)
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert len(functions) > 100
    found = []
    for path, node in functions:
        assert node.end_lineno is not None
        count = node.end_lineno - node.lineno + 1
        if count > MOST_LINES_OF_A_FUNCTION:
            place = shown(path, node.lineno)
            found.append(f"{place}: {node.name}, {count} lines, at most {MOST_LINES_OF_A_FUNCTION}")
    assert not found, report(found)


def test_every_exception_from_a_rule_says_why() -> None:
    files = python_files(*CODE)
    assert len(files) > 30
    found = [
        f"{shown(path, line)}: say why, as in `# noqa: S608  # the names are ours`"
        for path in files
        for line in directives_without_reason(path)
    ]
    assert not found, report(found)


@pytest.mark.parametrize(
    ("comment", "fine"),
    [
        ("# type: ignore[arg-type]  # T may be None itself", True),
        ("# noqa: S608  # the names are ours", True),
        ("# noqa: S608, ARG001 -- the names are ours", True),
        ("# noqa: S608", False),
        ("# noqa", False),
        ("# noqa: S608, ARG001", False),
        ("# type: ignore[arg-type]", False),
        ("# type: ignore[arg-type]  # mypy", False),
        ("# an ordinary comment", True),
        ("\n# bandit's plugins look for it\ny = 1  # type: ignore[attr-defined]", True),
    ],
)
def test_a_reason_is_more_than_a_code(tmp_path: Path, comment: str, *, fine: bool) -> None:
    path = tmp_path / "module.py"
    path.write_text(f"x = 1  {comment}\n", "utf-8")
    assert list(directives_without_reason(path)) == ([] if fine else [1])


def test_modules_have_telling_names() -> None:
    files = python_files(*CODE)
    assert len(files) > 30
    found = [
        f"{shown(path)}: name what it holds"
        for path in files
        if NAMELESS & set(path.relative_to(ROOT).with_suffix("").parts)
    ]
    assert not found, report(found)


def _sleeps(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else ""
            name = function.id if isinstance(function, ast.Name) else name
            zero = bool(node.args) and ast.unparse(node.args[0]) == "0"
            if name == "sleep" and not zero:
                yield node


def test_tests_wait_for_signals_instead_of_sleeping() -> None:
    files = python_files("tests")
    assert len(files) > 5
    found = []
    for path in files:
        text = path.read_text("utf-8")
        lines = text.splitlines()
        found += [
            f"{shown(path, node.lineno)}: wait for what is to happen; where time itself is meant, "
            "say so in a comment on the line"
            for node in _sleeps(ast.parse(text))
            if "#" not in lines[node.lineno - 1]
        ]
    assert not found, report(found)


def test_nobody_waits_with_wait_for() -> None:
    found = [
        f"{shown(path, node.lineno)}: `async with asyncio.timeout(…)`; on Python 3.11 "
        "asyncio.wait_for swallows a cancellation that comes as the awaited thing ends, and "
        "whoever stops a loop then waits for ever"
        for path in python_files(*CODE)
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Attribute | ast.ImportFrom)
        and ast.unparse(node).startswith(("asyncio.wait_for", "from asyncio import wait_for"))
    ]
    assert not found, report(found)
