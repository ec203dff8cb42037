"""Duplicates, dead code and fixes, file by file."""

import ast
import textwrap
from pathlib import Path

import pytest

from sutazai.analysis.parsing import Module, parse
from sutazai.analysis.patches import applied
from sutazai.analysis.refactoring.duplicates import Duplicate, duplicates
from sutazai.analysis.refactoring.fixing import Change, Fixer
from sutazai.analysis.refactoring.unused import unused
from sutazai.analysis.source import Source, read_source

COPY = """
def {name}({rows}):
    {total} = 0
    for {row} in {rows}:
        if {row}.price > 10 and {row}.count:
            {total} += {row}.price * {row}.count - {row}.rebate
        else:
            {total} -= round({row}.price, 2)
        {total} = min({total}, {row}.limit)
    return {total}
"""


def source(file: str, text: str) -> Source:
    return read_source(file, textwrap.dedent(text).encode())


def modules(**files: str) -> dict[str, Module]:
    return {f"/{name}.py": parse(source(f"/{name}.py", text)) for name, text in files.items()}


def copies(**files: str) -> list[Duplicate]:
    return duplicates(modules(**files))


def written(name: str, rows: str = "rows", total: str = "total", row: str = "row") -> str:
    return COPY.format(name=name, rows=rows, total=total, row=row)


def test_copies_are_found_across_files_and_told_with_their_places() -> None:
    (found,) = copies(a="import os\n" + written("one"), b=written("one"))
    assert found.exact
    assert [(one.file, one.line, one.end_line) for one in found.places] == [
        ("/a.py", 3, 11),
        ("/b.py", 2, 10),
    ]


def test_copies_with_other_names_and_constants_are_copies() -> None:
    other = written("two", rows="items", total="sum_", row="item").replace("10", "99")
    (found,) = copies(a=written("one"), b=other)
    assert (found.exact, len(found.places)) == (False, 2)


@pytest.mark.parametrize(
    ("old", "new"), [(".price", ".weight"), ("round", "floor"), (">", "<"), ("+=", "-=")]
)
def test_what_does_something_else_is_no_copy(old: str, new: str) -> None:
    assert copies(a=written("one"), b=written("two").replace(old, new)) == []


def test_a_copy_within_a_copy_is_not_told_again() -> None:
    three = "".join(written(name) for name in ("one", "two", "three"))
    (found,) = copies(a=three, b=three)
    assert (len(found.places), found.lines) == (6, 9)


def test_tables_and_imports_are_no_copies() -> None:
    table = "\n".join(f"ROW_{n} = ['a{n}', 'b{n}', 'c{n}', 'd{n}', {n}]" for n in range(40))
    imports = "\n".join(f"from package.module{n} import a, b, c, d" for n in range(40))
    assert copies(a=table + "\n" + imports, b=table + "\n" + imports) == []


def dead(*, others: tuple[Source, ...] = (), **files: str) -> set[str]:
    """What is reported dead, as the reports word it."""
    parsed = modules(**files)
    found = unused(parsed, others, set(parsed))
    return {raw.description or "" for group in found.values() for raw in group}


DEAD = """
    class Shape:
        def area(self): return 1
        def forgotten(self): return 2

    def used(): return Shape().area()
    def orphan(): return 3
    def _hidden(): return 4
    def early():
        return 1
        print("never")
    print(used(), early())
"""


def test_what_nothing_uses_is_dead() -> None:
    assert dead(a=DEAD) == {
        "Nothing in the project uses the method `forgotten`.",
        "Nothing in the project uses the function `orphan`.",
        "Nothing in the project uses the function `_hidden`.",
        "This is never reached: 'return' before it always leaves.",
    }


def test_a_use_in_another_file_a_string_or_a_configuration_counts() -> None:
    settings = source("/pyproject.toml", "[project.scripts]\nx = 'a:_hidden'\n")
    left = dead(others=(settings,), a=DEAD, b="import a\na.orphan()\ngetattr(a, 'forgotten')\n")
    assert left == {"This is never reached: 'return' before it always leaves."}


def test_prose_is_no_use_and_registration_is_one() -> None:
    readme = source("/README.md", "Call `orphan`.")
    code = """
        @app.route("/")
        def page(): return 1
        def visit_Name(self): return 2
        @field_validator("a")
        def _is_fine(value): return value
        class Runner(doctest.DocTestRunner):
            def report_start(self): return 3
            def __call__(self): return 4
        class Own(Runner):
            def report_failure(self): return 5
        def parse_one(): return getattr(app, f"parse_{page}")
        def orphan():
            "Not used by orphan itself."
    """
    assert dead(others=(readme,), a=code) == {"Nothing in the project uses the function `orphan`."}


def fixed(tmp_path: Path, project: dict[str, str] | None = None, **files: str) -> dict[str, Change]:
    sources = [source(f"/{name}.py", text) for name, text in files.items()]
    others = [source(file, text) for file, text in (project or {}).items()]
    return {one.file: one for one in Fixer(sources, [*sources, *others], tmp_path).changes()}


MESSY = """\
import os
import sys
from json import dumps, loads


def name(värde):
    é = "äöü" ; unused = len(é)
    if värde == None:
        return sys.argv
    else:
        return list([x for x in loads(värde)])
"""


def test_fixes_are_applied_and_told_with_their_lines(tmp_path: Path) -> None:
    change = fixed(tmp_path, a=MESSY)["/a.py"]
    assert applied(MESSY, change.patch) == change.after
    ast.parse(change.after)
    assert change.after.startswith("import sys\nfrom json import loads\n")
    assert "unused" not in change.after
    assert "len(é)" in change.after
    assert "else" not in change.after
    lines = MESSY.splitlines()
    told = {fix.rule: lines[fix.line - 1] for fix in change.fixes}
    assert told["F841"].strip().startswith("é =")
    assert told["RET505"].strip() == "else:"
    assert {fix.line for fix in change.fixes if fix.rule == "F401"} == {1, 3}


@pytest.mark.parametrize(
    ("text", "project"),
    [
        ("from json import loads\n", {"/b.py": "from a import loads\n"}),
        ("from json import loads\n", {"/b.py": "import a\nprint(a.loads)\n"}),
        ("from json import loads\n", {"/b.py": "from a import *\n"}),
        ("import b\n", {"/b.py": "print('registers itself')\n"}),
        ("from . import b\n", {"/b.py": ""}),
        ("import os  # noqa: F401\n", {}),
        ("try:\n    import yaml\nexcept ImportError:\n    YAML = False\n", {}),
        ("__all__ = ['loads']\nfrom json import loads\n", {}),
    ],
)
def test_an_import_that_somebody_needs_stays(
    tmp_path: Path, text: str, project: dict[str, str]
) -> None:
    assert fixed(tmp_path, project, a=text) == {}


def test_clean_and_broken_files_are_left_alone(tmp_path: Path) -> None:
    assert fixed(tmp_path, clean="def f(a):\n    return a\n", broken="import os\ndef f(:\n") == {}
