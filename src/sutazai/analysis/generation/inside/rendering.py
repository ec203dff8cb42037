"""The file of tests, as a person would write it."""

import ast
import builtins
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sutazai.analysis.generation.inside.cases import FIXTURES, HELPERS
from sutazai.analysis.generation.inside.naming import Names
from sutazai.analysis.generation.inside.selecting import Group
from sutazai.analysis.generation.inside.values import MODULE

_WIDTH = 100
_USED = re.compile(rf"\b{MODULE}\.([A-Za-z_]\w*)")


@dataclass
class Rendered:
    """One test's name and the group that it is made of."""

    name: str
    group: Group


class Renderer:
    """Writes files of tests for one module.

    `state` names its variables that tests change, `blocked` modules in C that replace its code.
    `is_taken` says that pytest itself uses a module or package of this name.
    """

    def __init__(
        self, module: str, state: set[str], blocked: Sequence[str] = (), *, is_taken: bool = False
    ) -> None:
        self._module = module
        self._state = state
        self._blocked = blocked
        self._is_taken = is_taken
        last = module.rpartition(".")[2]
        self._alias = f"{last}_module" if last in _RESERVED else last

    def render(
        self, groups: Sequence[Group], order: dict[str, int], until: float
    ) -> tuple[str, list[Rendered]]:
        """The file's text, and its tests in the order of the module's routines.

        It is left unformatted where that is not done `until` then (monotonic).
        """
        names = Names()
        groups = sorted(
            groups, key=lambda group: (order.get(group.target, 10**9), group.verb == "raises")
        )
        tests = [Rendered(names.name_of(group), group) for group in groups]
        bodies = [_body(one.group) for one in tests]
        text = "\n".join("\n".join(lines) for lines in bodies)
        helpers = _helpers(text)
        text = "\n".join([*(HELPERS[name] for name in helpers), text])
        local = _stored(text)
        if self._alias in local:
            self._alias = f"{self._alias}_module"
        imported = self._names(text, local)
        parts = [f'"""Tests of `{self._module}`."""', ""]
        parts += self._imports(text, imported)
        for name in helpers:
            parts += ["", "", HELPERS[name].rstrip()]
        for one, lines in zip(tests, bodies, strict=True):
            fixtures = ", ".join(name for name in FIXTURES if _mentions(lines, name))
            parts += ["", "", f"def {one.name}({fixtures}):"]
            parts += [f"    {line}" for line in "\n".join(lines).split("\n")]
        source = "\n".join(parts) + "\n"
        source = _USED.sub(lambda match: self._written(match[1], imported), source)
        source = re.sub(rf"\b{MODULE}\b", self._alias, source)
        return formatted(source, until), tests

    def _written(self, name: str, imported: set[str]) -> str:
        return name if name in imported else f"{self._alias}.{name}"

    def _names(self, text: str, local: set[str]) -> set[str]:
        """Names that are imported alone; the others are written with the module's."""
        used = set(_USED.findall(text))
        roots = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        qualified = {
            name
            for name in used
            if name in local | self._state | _RESERVED | roots | {self._module.rpartition(".")[2]}
            or name.lower().startswith("test")
            or hasattr(builtins, name)
        }
        return used - qualified

    def _imports(self, text: str, imported: set[str]) -> list[str]:
        plain = _modules(text)
        lines = [f"import {name}" for name in sorted(plain - {"pytest"})]
        top = self._module.partition(".")[0]
        shadows = top in sys.stdlib_module_names
        taken = self._is_taken and not shadows
        if (shadows or taken or self._blocked) and "import sys" not in lines:
            lines = sorted([*lines, "import sys"])
        if "pytest" in plain:
            lines += ["", "import pytest"]
        ours: list[str] = []
        if len(set(_USED.findall(text)) - imported) or re.search(rf"\b{MODULE}\b(?!\.)", text):
            parent, _, last = self._module.rpartition(".")
            renamed = f" as {self._alias}" if self._alias != last else ""
            ours.append(
                f"from {parent} import {last}{renamed}" if parent else f"import {last}{renamed}"
            )
        if imported:
            ours.append(f"from {self._module} import {', '.join(sorted(imported, key=_order))}")
        before: list[str] = []
        if shadows:
            before += [
                f"# Python has a module named {top} of its own: it makes way for the one tested.",
                f"sys.modules.pop({top!r}, None)",
            ]
        if taken:
            before += [
                f"# pytest has loaded {top} for itself: it makes way for the one tested.",
                f"for name in [name for name in sys.modules if name.split('.')[0] == {top!r}]:",
                "    del sys.modules[name]",
            ]
        for one in self._blocked:
            before += [
                "# Code in C would take the place of what is tested here.",
                f"sys.modules[{one!r}] = None",
            ]
        if before:
            ours = [*before, *map(_late, ours)]
        return [*lines, "", *ours]


_RESERVED = {*FIXTURES, *HELPERS, "pytest", "result", "value"} | set(dir(builtins))


def _order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2), name


def _late(line: str) -> str:
    """An import that is not at the top; the note must stand in its first line."""
    note = "  # noqa: E402"
    if len(line) + len(note) <= _WIDTH:
        return line + note
    start, _, names = line.partition(" import ")
    listed = "".join(f"\n    {name}," for name in names.split(", "))
    return f"{start} import ({note}{listed}\n)"


def _body(group: Group) -> list[str]:
    """The lines of a test, a blank one before each further set-up."""
    lines: list[str] = []
    for check in group.checks:
        if lines and not check.lines[0].startswith(("assert ", "with ")):
            lines.append("")
        lines += check.lines
    return lines


def formatted(source: str, until: float) -> str:
    """As ruff would write it; unchanged where there is no ruff, or no time for it."""
    command = [sys.executable, "-m", "ruff", "format", "--isolated", f"--line-length={_WIDTH}", "-"]
    try:
        done = subprocess.run(  # our own command
            command,
            input=source,
            capture_output=True,
            text=True,
            timeout=max(0.0, until - time.monotonic()),
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return source
    return done.stdout


def _stored(text: str) -> set[str]:
    return {
        node.id
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _helpers(text: str) -> list[str]:
    return [name for name in HELPERS if re.search(rf"\b{name}\b\(?", text) and _reads(text, name)]


def _reads(text: str, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(ast.parse(text)))


def _mentions(lines: Sequence[str], name: str) -> bool:
    return _reads("\n".join(lines), name)


def _modules(text: str) -> set[str]:
    """The modules that the names of a text need: `datetime`, or `os.path` for `os.path.join`."""
    tree = ast.parse(text)
    stored = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    } | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts: list[str] = []
            inner: ast.AST = node
            while isinstance(inner, ast.Attribute):
                parts.append(inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name) and inner.id not in stored | set(FIXTURES):
                parts.append(inner.id)
                found |= _longest([*reversed(parts)])
        elif isinstance(node, ast.Name) and node.id in sys.stdlib_module_names - stored:
            found.add(node.id)
    return found - {MODULE}


def _longest(parts: list[str]) -> set[str]:
    for count in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:count])
        if name in sys.modules or (count == 1 and name in sys.stdlib_module_names):
            return {name}
    return set()
