"""Examples: those that the docs have, and calls that could become one."""

import ast
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from sutazai.analysis.documentation.bodies import own_nodes
from sutazai.analysis.documentation.model import AnyFunction, Kind, Symbol
from sutazai.analysis.documentation.outputs import is_generator
from sutazai.analysis.documentation.symbols import Documented
from sutazai.analysis.parsing import Module, enclosing_function

_MOST_GROUPS = 400
_MOST_CANDIDATES = 3
_LONGEST_CALL = 160
_LONGEST_OUTPUT = 300
_GUESSES = {
    "int": "3",
    "float": "2.5",
    "str": "'Hello World'",
    "bool": "True",
    "bytes": "b'abc'",
    "list[int]": "[3, 1, 2]",
    "list[float]": "[1.5, 2.5]",
    "list[str]": "['b', 'a']",
    "dict[str, int]": "{'a': 1, 'b': 2}",
    "set[int]": "{1, 2}",
    "tuple[int, int]": "(1, 2)",
}
_GUESSES |= {
    f"{outer}[{item}]": _GUESSES[f"list[{item}]"]
    for outer in ("Sequence", "Iterable", "Collection", "List")
    for item in ("int", "float", "str")
}
# What depends on more than its arguments, or does more than compute.
_IMPURE = frozenset({
    "os", "subprocess", "socket", "time", "random", "datetime", "requests", "httpx", "urllib",
    "sqlite3", "uuid", "secrets", "pathlib", "shutil", "tempfile", "threading", "asyncio",
    "multiprocessing", "open", "input", "print", "exec", "eval", "exit",
})  # fmt: skip
_FENCE = re.compile(r"^(`{3,}|~{3,})[ \t]*(\w*)[^\n`]*$")


class GroupKind(StrEnum):
    """How a group is run: as a doctest, as a script, or as the value of one expression."""

    DOCTEST = "doctest"
    SCRIPT = "script"
    CALL = "call"


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Examples that share their names. `line` is where `text` begins in `file`."""

    id: int
    kind: GroupKind
    module: str
    symbol: str
    file: str
    line: int
    text: str
    generated: bool = False


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """One example as it ran; `line` counts from 0 within its group."""

    source: str
    want: str
    got: str
    ok: bool
    line: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a group ended; `error` says why its examples did not run, or not to their end.

    `unimported` tells that it was the import of their module that failed.
    """

    id: int
    error: str
    examples: list[Ran]
    unimported: bool = False

    @property
    def holds(self) -> bool:
        """Whether there is something that ran, and all of it did what it says."""
        return not self.error and bool(self.examples) and all(one.ok for one in self.examples)


def collect(
    modules: Sequence[Documented], texts: Sequence[tuple[str, list[str]]], callers: Sequence[Module]
) -> list[Group]:
    """All groups: of docstrings, of the code blocks of `texts` (Markdown), and generated ones.

    `callers` are the modules, tests among them, whose calls may serve as examples.
    """
    groups: list[Group] = []

    def add(kind: GroupKind, module: str, symbol: str, file: str, line: int, text: str) -> None:
        if len(groups) < _MOST_GROUPS:
            groups.append(
                Group(
                    id=len(groups), kind=kind, module=module, symbol=symbol, file=file, line=line,
                    text=text, generated=kind is GroupKind.CALL,
                )
            )  # fmt: skip

    for file, lines in texts:
        for line, text in _blocks(lines):
            kind = GroupKind.DOCTEST if ">>>" in text else GroupKind.SCRIPT
            add(kind, "", "", file, line, text)
    calls = _calls(modules, callers)
    for documented in modules:
        name = documented.symbol.path
        for symbol in documented.symbol.walk():
            if symbol.docstring is not None and ">>>" in symbol.docstring:
                add(
                    GroupKind.DOCTEST, name, symbol.path, symbol.file, symbol.doc_line,
                    symbol.docstring,
                )  # fmt: skip
            elif symbol.public and symbol.kind is Kind.FUNCTION:
                for call in _candidates(documented, symbol, calls.get(symbol.path, [])):
                    add(GroupKind.CALL, name, symbol.path, symbol.file, symbol.line, call)
    return groups


def shown_call(group: Group, outcome: Outcome) -> str | None:
    """A generated example in the form of a doctest; None where it shows nothing."""
    if not outcome.holds:
        return None
    got = outcome.examples[0].got
    if got == "None" or "\n" in got or " at 0x" in got or len(got) > _LONGEST_OUTPUT:
        return None
    return f">>> {group.text}\n{got}"


def _blocks(lines: list[str]) -> Iterator[tuple[int, str]]:
    """The Python code blocks of a Markdown text, with the line that each begins on."""
    fence, language, start, body = "", "", 0, list[str]()
    for number, line in enumerate(lines, 1):
        found = _FENCE.match(line)
        if not fence and found:
            fence, language, start, body = found[1], found[2].lower(), number + 1, []
        elif fence and found and found[1].startswith(fence) and not found[2]:
            if language in ("python", "py", "pycon", "python3", "doctest"):
                yield start, "\n".join(body) + "\n"
            fence = ""
        elif fence:
            body.append(line)


def _calls(modules: Sequence[Documented], callers: Sequence[Module]) -> dict[str, list[str]]:
    """Calls with literal arguments that the project makes, by the function's path."""
    wanted = {
        symbol.path: symbol.name
        for documented in modules
        for symbol in documented.symbol.members
        if symbol.public and symbol.kind is Kind.FUNCTION
    }
    found: dict[str, dict[str, None]] = {}
    for module in callers:
        literals = _Literals(module)
        for call in module.of(ast.Call):
            path = module.qualified(call.func)
            if path not in wanted or len(found.get(path, ())) >= _MOST_CANDIDATES:
                continue
            text = literals.text(call, wanted[path])
            if text is not None:
                found.setdefault(path, {})[text] = None
    return {path: list(texts) for path, texts in found.items()}


class _Literals:
    """Arguments of calls written out, with names put in for which a literal stands nearby."""

    def __init__(self, module: Module) -> None:
        self._values: dict[tuple[int, str], list[ast.expr]] = {}
        for assign in module.of(ast.Assign):
            scope = enclosing_function(assign)
            for target in assign.targets:
                if isinstance(target, ast.Name):
                    self._values.setdefault((id(scope), target.id), []).append(assign.value)

    def text(self, call: ast.Call, name: str) -> str | None:
        scope = enclosing_function(call)
        shown = []
        for argument in call.args:
            text = self._argument(argument, scope)
            if text is None:
                return None
            shown.append(text)
        for keyword in call.keywords:
            text = self._argument(keyword.value, scope)
            if text is None or keyword.arg is None:
                return None
            shown.append(f"{keyword.arg}={text}")
        whole = f"{name}({', '.join(shown)})"
        return whole if len(whole) <= _LONGEST_CALL else None

    def _argument(self, argument: ast.expr, scope: ast.AST | None) -> str | None:
        if isinstance(argument, ast.Name):
            values = self._values.get((id(scope), argument.id), [])
            if len(values) != 1:
                return None
            argument = values[0]
        try:
            ast.literal_eval(argument)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None
        return ast.unparse(argument)


def _candidates(documented: Documented, symbol: Symbol, calls: list[str]) -> list[str]:
    node = symbol.node
    if not isinstance(node, ast.FunctionDef) or is_generator(node) or symbol.returns is None:
        return []
    if not _is_pure(documented.module, node):
        return []
    guessed = _guessed(symbol)
    return [*calls, *([guessed] if guessed else [])][:_MOST_CANDIDATES]


def _guessed(symbol: Symbol) -> str | None:
    shown = []
    for parameter in symbol.parameters:
        if parameter.variadic or parameter.default is not None:
            continue
        kind = (parameter.annotation or "").rpartition("typing.")[2]
        if kind not in _GUESSES:
            return None
        shown.append(_GUESSES[kind])
    if not shown and symbol.parameters:
        return None
    return f"{symbol.name}({', '.join(shown)})" if shown else None


def _is_pure(module: Module, node: AnyFunction) -> bool:
    if node.decorator_list:
        return False
    for one in own_nodes(node):
        if isinstance(one, ast.Global | ast.Nonlocal | ast.Await):
            return False
        if isinstance(one, ast.Name | ast.Attribute):
            name = module.qualified(one)
            if name.partition(".")[0] in _IMPURE:
                return False
    return True
