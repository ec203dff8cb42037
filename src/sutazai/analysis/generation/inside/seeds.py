"""Calls that somebody has already written: in doctests, and elsewhere in the project."""

import ast
import doctest
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sutazai.analysis.generation.inside.reading import Reading, dotted
from sutazai.analysis.generation.inside.values import MODULE

_MOST_FILES = 400
_MOST_BYTES = 300_000
_MOST_CALLS = 12
_SKIPPED = {".git", ".venv", "venv", "node_modules", "__pycache__", "site-packages", ".tox"}


def calls_of(
    reading: Reading, root: Path | None, module: str, until: float
) -> dict[str, list[str]]:
    """Calls by the name of what is called: expressions over the module that need nothing else.

    Files that it does not come to before `until` (monotonic) are left alone.
    """
    public = {name for name in (*reading.routines, *reading.classes) if "." not in name}
    found: dict[str, list[str]] = {name: [] for name in public}
    for tree in _trees(reading, root, module):
        if time.monotonic() > until:
            break
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = dotted(node.func).rpartition(".")[2]
            if name in found and len(found[name]) < _MOST_CALLS:
                call = _closed(node, name, public)
                if call is not None and call not in found[name]:
                    found[name].append(call)
    return found


def _trees(reading: Reading, root: Path | None, module: str) -> Iterator[ast.AST]:
    parser = doctest.DocTestParser()
    for node in ast.walk(reading.tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            try:
                examples = parser.get_examples(ast.get_docstring(node) or "")
            except ValueError:
                continue
            for example in examples:
                if (tree := _parsed(example.source)) is not None:
                    yield tree
    yield reading.tree
    if root is not None:
        name = module.rpartition(".")[2]
        for path in _python_files(root):
            text = _text(path)
            if text is not None and name in text and (other := _parsed(text)) is not None:
                yield other


def _closed(call: ast.Call, name: str, public: set[str]) -> str | None:
    """The call written over the module, if its arguments are literals or calls of public names."""
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    if any(keyword.arg is None for keyword in call.keywords):
        return None
    texts = [_argument(argument, public) for argument in arguments]
    if None in texts:
        return None
    count = len(call.args)
    named = [
        f"{keyword.arg}={text}" for keyword, text in zip(call.keywords, texts[count:], strict=True)
    ]
    return f"{MODULE}.{name}({', '.join([*(text for text in texts[:count] if text), *named])})"


def _argument(node: ast.expr, public: set[str]) -> str | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        if isinstance(node, ast.Call):
            name = dotted(node.func).rpartition(".")[2]
            return _closed(node, name, public) if name in public else None
        return None
    text = repr(value)
    return text if len(text) <= 200 else None


def _python_files(root: Path) -> Iterator[Path]:
    count = 0
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in _SKIPPED)
        for file in sorted(files):
            if file.endswith(".py"):
                count += 1
                if count > _MOST_FILES:
                    return
                yield Path(folder, file)


def _text(path: Path) -> str | None:
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        return path.read_text("utf-8")
    except (OSError, ValueError):
        return None


def _parsed(text: str) -> ast.AST | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
