"""Dead code: what vulture finds no use of, less what it cannot see the use of."""

import ast
import re
import warnings
from collections.abc import Mapping, Sequence

from sutazai.analysis.findings import Confidence, RawFinding
from sutazai.analysis.parsing import Module, parent
from sutazai.analysis.source import Source

# Imports and local variables are ruff's, which can also remove them.
_KINDS = {"function", "method", "class", "property", "unreachable_code"}
# Decorators that leave a function what it is; any other may hand it to somebody who calls it.
_PLAIN = {
    *("abstractmethod", "cache", "cached_property", "classmethod", "contextmanager", "final"),
    *("lru_cache", "override", "property", "staticmethod", "wraps", "asynccontextmanager"),
}
# Of these, no method is called that is not written down.
_HARMLESS_BASES = {"ABC", "Generic", "Protocol", "object"}
# Frameworks call these by their names.
_CALLED_BY_NAME = re.compile(
    r"__\w+__|(visit|depart|do|test|setUp|tearDown|setup|teardown|pytest|handle|on)_\w+"
    r"|setUp|tearDown|setUpClass|tearDownClass|setUpModule|tearDownModule|asyncSetUp|asyncTearDown"
)
_WORD = re.compile(r"[A-Za-z_]\w{2,}")
_PROSE = (".md", ".rst", ".txt", ".adoc")
_LONGEST_STRING = 10_000
_SURE, _SHORTEST_PREFIX = 90, 3


def unused(
    modules: Mapping[str, Module], others: Sequence[Source], wanted: set[str]
) -> dict[str, list[RawFinding]]:
    """By file, what nothing in `modules` uses; reported for the `wanted` files.

    A name that stands in a string, or in a file that is neither Python nor prose, counts as used:
    it may be looked up by it.
    """
    from vulture import Vulture  # type: ignore[import-untyped]  # ships no types

    vulture = Vulture()
    unread = []
    for file, module in modules.items():
        if _is_readable(module.source.text):
            vulture.scan(module.source.text, file)
        else:
            unread.append(module.source)
    named = _named(modules, [*others, *unread])
    hidden = _Hidden(modules)
    found: dict[str, list[RawFinding]] = {}
    for item in vulture.get_unused_code(min_confidence=60):
        file = str(item.filename)
        if item.typ not in _KINDS or file not in wanted or modules[file].source.is_test:
            continue
        if item.typ != "unreachable_code" and (
            item.name in named
            or _CALLED_BY_NAME.fullmatch(item.name)
            or hidden.may_be_used(modules[file], item.first_lineno, item.name)
        ):
            continue
        found.setdefault(file, []).append(
            RawFinding(
                engine="vulture",
                code=item.typ.replace("_", "-"),
                rule="dead-code",
                line=item.first_lineno,
                end_line=item.last_lineno,
                message=f"{item.message} ({item.confidence} % confidence)",
                description=_description(item.typ, item.name),
                confidence=_confidence(item.typ, item.name, item.confidence),
            )
        )
    return found


class _Hidden:
    """Uses that stand nowhere: what a decorator registers, and what a base class calls."""

    def __init__(self, modules: Mapping[str, Module]) -> None:
        self._bases: dict[str, set[str]] = {}
        prefixes: set[str] = set()
        for module in modules.values():
            for node in module.of(ast.ClassDef):
                self._bases.setdefault(node.name, set()).update(map(_last, node.bases))
            prefixes.update(filter(None, map(_prefix, module.of(ast.Call))))
        self._prefixes = tuple(prefixes)

    def may_be_used(self, module: Module, line: int, name: str) -> bool:
        """Whether the function or class whose decorators begin at `line` may be used unseen."""
        if name.startswith(self._prefixes):
            return True
        for node in module.nodes:
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                and node.name == name
                and min((one.lineno for one in node.decorator_list), default=node.lineno) == line
            ):
                if {_last(one) for one in node.decorator_list} - _PLAIN:
                    return True
                around = parent(node)
                if isinstance(around, ast.ClassDef):
                    return self._is_open(around)
                return isinstance(node, ast.ClassDef) and self._is_open(node)
        return False

    def _is_open(self, node: ast.ClassDef) -> bool:
        """Whether a class has a base outside of the project, which may call any method of it."""
        seen: set[str] = set()
        waiting = {_last(base) for base in node.bases} | {"metaclass" for _ in node.keywords}
        while waiting:
            base = waiting.pop()
            if base in seen or base in _HARMLESS_BASES:
                continue
            if base not in self._bases:
                return True
            seen.add(base)
            waiting |= self._bases[base]
        return False


def _prefix(call: ast.Call) -> str:
    """How the name begins that a `getattr` puts together; empty for any other call."""
    if not isinstance(call.func, ast.Name) or call.func.id not in ("getattr", "hasattr"):
        return ""
    if len(call.args) < 2 or isinstance(call.args[1], ast.Constant):
        return ""
    for node in ast.walk(call.args[1]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            prefix = re.split(r"[%{]", node.value)[0]
            return prefix if len(prefix) >= _SHORTEST_PREFIX else ""
    return ""


def _last(node: ast.expr) -> str:
    """The last name of what a decorator or a base is: `b` of `a.b(c)` and of `a.b[c]`."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _confidence(kind: str, name: str, percent: int) -> Confidence:
    if percent >= _SURE:
        return Confidence.HIGH
    # What has a public name may be there for somebody outside, above all a method of a subclass.
    return (
        Confidence.MEDIUM
        if name.startswith("_") or kind == "unreachable_code"
        else (Confidence.LOW)
    )


def _description(kind: str, name: str) -> str:
    if kind == "unreachable_code":
        return f"This is never reached: {name!r} before it always leaves."
    return f"Nothing in the project uses the {kind} `{name}`."


def _named(modules: Mapping[str, Module], others: Sequence[Source]) -> set[str]:
    words: set[str] = set()
    for module in modules.values():
        for node in module.of(ast.Constant):
            text = node.value
            # A string that stands alone is a docstring, or as good as one.
            if isinstance(text, str) and not isinstance(parent(node), ast.Expr):
                words.update(_WORD.findall(text[:_LONGEST_STRING]))
    for source in others:
        if not source.file.lower().endswith(_PROSE):
            words.update(_WORD.findall(source.text))
    return words


def _is_readable(text: str) -> bool:
    """Whether vulture can read it, which does so by itself and not with our parser."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text, type_comments=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
