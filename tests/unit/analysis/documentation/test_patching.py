"""Docstrings go into any file without touching its code, and the patch is one that git takes."""

import ast
import subprocess
from pathlib import Path

import pytest

from sutazai.analysis.documentation.docstrings import Style
from sutazai.analysis.documentation.patching import FilePatch, literal, patch_docstrings
from sutazai.analysis.documentation.stale import find_stale
from sutazai.analysis.documentation.symbols import read_symbols
from sutazai.analysis.patches import PatchError, applied, unified
from sutazai.analysis.source import read_source

FILES = {
    "plain": "import os\n\n\ndef f(a, b=1):\n    return os.path.join(a, b)\n",
    "one line": "def f(a): return a\nclass A: x = 1\nclass B: pass\ndef g(): ...\n",
    "tabs": "class A:\n\tdef f(self):\n\t\tif self:\n\t\t\traise ValueError('no')\n",
    "decorated": (
        "import functools\n\n\n@functools.cache\ndef f(a):\n    @functools.cache\n"
        "    def inner():\n        return a\n    return inner\n"
    ),
    "comments": (
        "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n# Licence.\n\nimport os\n\n\n"
        "def f(\n    a,  # the first\n):\n    # why\n\n    return os, a\n"
    ),
    "no newline": "def f():\n    return 1",
    "windows": "def f():\r\n    return 1\r\n\r\n\r\nclass A:\r\n    x = 1\r\n",
    "mark": "\ufeffdef f():\n    return 1\n",
    "empty": "",
    "only comments": "# nothing\n",
    "backslashes": 'def f():\n    return "a\\nb" + r"\\d"\n',
    "quotes": "def f():\n    return '\"\"\"' + \"'''\"\n",
    "wide": "def f(ä): return {'é': ä}\n",
    "async": "async def f(a):\n    async with a:\n        yield 1\n",
    "future": "from __future__ import annotations\n\nx: int = 1\n",
    "nested": "class A:\n    class B:\n        def f(self): return 1\n",
    "conditional": "if True:\n    def f(): return 1\nelse:\n    def f(): return 2\n",
    "form feed": "x = 1\n\x0c\ndef f():\n    return x\n",
}


def patched(code: str, style: Style = Style.GOOGLE) -> FilePatch:
    content = code.encode()
    documented = read_symbols(read_source("/pkg/m.py", content), "pkg.m", "")
    return patch_docstrings(documented, content, style, find_stale(documented), {})


def apply(folder: Path, code: str, diff: str) -> str:
    path = folder / "pkg" / "m.py"
    path.parent.mkdir()
    path.write_bytes(code.encode())
    subprocess.run(
        ["git", "apply", "--whitespace=nowarn", "-"], input=diff.encode(), cwd=folder, check=True
    )
    return path.read_bytes().decode()


def without_docstrings(code: str) -> str:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            del node.body[: ast.get_docstring(node) is not None]
    return ast.dump(tree)


@pytest.mark.parametrize("style", [Style.GOOGLE, Style.NUMPY])
@pytest.mark.parametrize("code", FILES.values(), ids=FILES.keys())
def test_the_patch_applies_and_changes_docstrings_alone(
    tmp_path: Path, code: str, style: Style
) -> None:
    patch = patched(code, style)
    assert not patch.reason
    assert patch.added
    after = apply(tmp_path, code, patch.diff)
    text = after.removeprefix("\ufeff")
    assert without_docstrings(text) == without_docstrings(code.removeprefix("\ufeff"))
    assert ("\r\n" in after) == ("\r\n" in code)
    assert ast.get_docstring(ast.parse(text))
    documented = read_symbols(read_source("/pkg/m.py", after.encode()), "pkg.m", "")
    for symbol in documented.symbol.walk():
        assert symbol.docstring or not symbol.counts, symbol.path
    assert not find_stale(documented)


def test_what_is_wrong_is_corrected_and_what_is_right_is_kept(tmp_path: Path) -> None:
    code = '''\
def f(a, b: int = 2):
    """Do it.

    At length.

    Args:
        a: What the author says
            of it.
        gone: Nothing.
        b: How often. Defaults to 3.

    Raises:
        KeyError: Never.

    Returns:
        The author's words.
    """
    if not a:
        raise ValueError("no")
    return a * b
'''
    patch = patched(code)
    assert patch.corrected == ["pkg.m.f"]
    after = apply(tmp_path, code, patch.diff)
    assert "What the author says of it." in after
    assert "The author's words." in after
    assert "At length." in after
    assert "Defaults to `2`." in after
    assert "ValueError: If `not a`." in after
    assert "gone" not in after
    assert "KeyError" not in after


def test_a_docstring_with_more_than_sections_is_left_to_its_author() -> None:
    code = '''\
"""M."""


def f(a):
    """Do it.

    Args:
        gone: Nothing.

    Note:
        Something else.
    """
    return a
'''
    patch = patched(code)
    assert (patch.corrected, patch.diff) == ([], "")


def test_a_file_in_another_encoding_gets_no_patch() -> None:
    content = "# coding: latin-1\ndef f():\n    return 'é'\n".encode("latin-1")
    documented = read_symbols(read_source("/m.py", content), "m", "")
    patch = patch_docstrings(documented, content, Style.GOOGLE, [], {})
    assert (patch.diff, patch.reason) == ("", "not UTF-8")


def test_secrets_do_not_get_into_docstrings() -> None:
    code = 'def connect(password="k8-Quartz-Vellum-19"):\n    return password\n'
    added = [line for line in patched(code).diff.split("\n") if line.startswith("+")]
    assert "Quartz" not in "\n".join(added)


@pytest.mark.parametrize(
    "text",
    [
        'a "quote"',
        "a \\ backslash",
        'three """ quotes',
        'both \\ and """',
        "ends \\",
        "two\n\nlines",
    ],
)
def test_any_text_becomes_a_literal_that_reads_the_same(text: str) -> None:
    code = "def f():\n" + "\n".join(literal(text, "    ")) + "\n"
    function = ast.parse(code).body[0]
    assert isinstance(function, ast.FunctionDef)
    assert (ast.get_docstring(function) or "").rstrip() == text


def test_a_diff_that_does_not_fit_is_refused() -> None:
    diff = unified("a.py", "one\ntwo\n", "one\nthree\n")
    assert applied("one\ntwo\n", diff) == "one\nthree\n"
    with pytest.raises(PatchError, match="line 2"):
        applied("one\nfour\n", diff)
