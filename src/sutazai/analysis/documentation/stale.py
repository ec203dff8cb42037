"""Where documentation contradicts the code: only what is certain, each with its line."""

import ast
import builtins
import re
from collections.abc import Iterator

from sutazai.analysis.documentation.bodies import own_nodes
from sutazai.analysis.documentation.docstrings import (
    Entry,
    Written,
    contradicts,
    exception_name,
    read_docstring,
    stated_default,
)
from sutazai.analysis.documentation.model import AnyFunction, Kind, Stale, Symbol
from sutazai.analysis.documentation.outputs import is_generator, is_stub
from sutazai.analysis.documentation.symbols import Documented
from sutazai.analysis.parsing import parent
from sutazai.analysis.source import excerpt

_SIMPLE = {"int", "str", "bool", "bytes", "list", "dict", "tuple", "set", "float", "None"}
_WORDS = {
    "integer": "int",
    "string": "str",
    "boolean": "bool",
    "dictionary": "dict",
}
# Calling these raises nothing of its own, whatever they are given in a sensible program.
_HARMLESS = {
    "bool", "callable", "dict", "enumerate", "frozenset", "hasattr", "id", "isinstance",
    "issubclass", "len", "list", "print", "range", "repr", "reversed", "set", "sorted", "str",
    "super", "tuple", "type", "zip",
}  # fmt: skip

# The expressions from which an exception of Python's own may come; of others, from any of these.
_ANY_SOURCE = (
    ast.Subscript, ast.BinOp, ast.UnaryOp, ast.Attribute, ast.Compare, ast.Assert, ast.Import,
    ast.ImportFrom, ast.Starred, ast.Tuple, ast.List, ast.JoinedStr, ast.Delete, ast.AugAssign,
)  # fmt: skip
_PLAIN = (ast.List, ast.Tuple, ast.Dict, ast.Set)
_SOURCES: dict[str, tuple[type[ast.AST], ...]] = {
    "KeyError": (ast.Subscript, ast.Attribute),
    "IndexError": (ast.Subscript, ast.Attribute),
    "AttributeError": (ast.Attribute,),
    "AssertionError": (ast.Assert, ast.Attribute),
    "ImportError": (ast.Import, ast.ImportFrom, ast.Attribute),
    "ModuleNotFoundError": (ast.Import, ast.ImportFrom, ast.Attribute),
}


def find_stale(documented: Documented) -> list[Stale]:
    """What the docstrings of one module say that is not so."""
    judge = _Judge(documented)
    found: list[Stale] = []
    for symbol in documented.symbol.walk():
        if symbol.docstring is not None and symbol.node is not None:
            found += judge.judged(symbol)
    return found


class _Judge:
    def __init__(self, documented: Documented) -> None:
        self._documented = documented
        self._lines = documented.source.lines

    def judged(self, symbol: Symbol) -> Iterator[Stale]:
        written = read_docstring(symbol)
        if written.style is None:
            return
        if written.parameters is not None and symbol.kind is not Kind.MODULE:
            yield from self._parameters(symbol, written)
        if isinstance(symbol.node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from self._outputs(symbol, symbol.node, written)
            yield from self._raises(symbol, symbol.node, written.raises or [])
            if written.raises:
                yield from self._missing_raises(symbol, written.raises)
        if isinstance(symbol.node, ast.ClassDef) and written.attributes:
            yield from self._attributes(symbol, symbol.node, written.attributes)

    def _parameters(self, symbol: Symbol, written: Written) -> Iterator[Stale]:
        if isinstance(symbol.node, ast.ClassDef) and not symbol.parameters:
            return  # an inherited constructor, perhaps
        real = {one.name: one for one in symbol.parameters}
        entries = [*(written.parameters or []), *(written.other_parameters or [])]
        open_ended = any(one.shown.startswith("**") for one in symbol.parameters)
        named = {name for entry in entries for name in _names(entry)}
        for entry in entries:
            for name in _names(entry):
                if name not in real and not open_ended and name not in ("self", "cls"):
                    yield self._stale(
                        "unknown-parameter", symbol, name,
                        f"The docstring names a parameter `{name}`, which is not in the signature.",
                        f"Remove `{name}`, or name the parameter that took its place.",
                    )  # fmt: skip
                elif name in real:
                    yield from self._entry(symbol, entry, name, real[name].default)
                    yield from self._type(symbol, entry, name, real[name].annotation)
        if any(one.name == "__init__" and one.docstring for one in symbol.members):
            return  # which may describe the others
        for name, parameter in real.items():
            if name not in named and not parameter.variadic and not name.startswith("_"):
                yield self._stale(
                    "missing-parameter", symbol, "",
                    f"The docstring lists parameters, but not `{name}`.",
                    f"Add `{name}`.",
                )  # fmt: skip

    def _entry(
        self, symbol: Symbol, entry: Entry, name: str, default: str | None
    ) -> Iterator[Stale]:
        stated = stated_default(entry)
        if stated is not None and contradicts(stated, default):
            really = f"it is `{default}`" if default is not None else "it has none"
            yield self._stale(
                "wrong-default", symbol, name,
                f"The docstring says that the default of `{name}` is `{stated.strip('`')}`; "
                f"{really}.",
                f"Say `{default}`." if default is not None else "Remove the default.",
            )  # fmt: skip

    def _type(
        self, symbol: Symbol, entry: Entry, name: str, annotation: str | None
    ) -> Iterator[Stale]:
        said, real = _simple(entry.type), _simple(annotation)
        if said and real and not said & real and not ({"int", "float"} >= said | real):
            yield self._stale(
                "wrong-type", symbol, name,
                f"The docstring says that `{name}` is `{entry.type}`; it is annotated as "
                f"`{annotation}`.",
                f"Say `{annotation}`.",
            )  # fmt: skip

    def _outputs(self, symbol: Symbol, node: AnyFunction, written: Written) -> Iterator[Stale]:
        if is_stub(node) or symbol.kind is Kind.PROPERTY:
            return
        generator = is_generator(node)
        says_none = written.returns and all(
            (one.type or one.text).strip(" .`") in ("None", "") for one in written.returns
        )
        explicit = any(
            isinstance(one, ast.Return) and one.value is not None for one in own_nodes(node)
        )
        is_nothing = not generator and not explicit and symbol.returns is None
        if written.returns and not says_none and is_nothing:
            yield self._stale(
                "returns-nothing", symbol, "return",
                f"The docstring says what `{symbol.name}` returns, but no value is ever returned.",
                "Remove the section.",
            )  # fmt: skip
        if written.yields and not generator:
            yield self._stale(
                "yields-nothing", symbol, "yield",
                f"The docstring says what `{symbol.name}` yields, but it is no generator.",
                "Describe what it returns.",
            )  # fmt: skip

    def _raises(self, symbol: Symbol, node: AnyFunction, entries: list[Entry]) -> Iterator[Stale]:
        if not entries or is_stub(node):
            return
        raised = {one.name for one in symbol.raises}
        for entry in entries:
            name = exception_name(entry)
            if not name.isidentifier() or name in raised or self._raises_below(name, raised):
                continue
            if self._could_raise(name, node):
                continue
            yield self._stale(
                "never-raised", symbol, name,
                f"The docstring says that `{symbol.name}` raises `{name}`, but nothing in it does.",
                f"Remove `{name}`.",
            )  # fmt: skip

    def _missing_raises(self, symbol: Symbol, entries: list[Entry]) -> Iterator[Stale]:
        named = {exception_name(entry) for entry in entries}
        for one in symbol.raises:
            is_abstract = one.name == "NotImplementedError"
            if (
                one.via
                or is_abstract
                or one.name in named
                or self._raises_below_any(one.name, named)
            ):
                continue
            named.add(one.name)
            yield self._stale(
                "missing-raise", symbol, "Raises",
                f"The docstring lists exceptions, but not `{one.name}`, raised in line {one.line}.",
                f"Add `{one.name}`: {one.when}",
            )  # fmt: skip

    def _attributes(
        self, symbol: Symbol, node: ast.ClassDef, entries: list[Entry]
    ) -> Iterator[Stale]:
        if node.bases or node.keywords or node.decorator_list:
            return  # attributes may come from elsewhere
        real = {one.name for one in symbol.members}
        # Anything set on an instance by other means than `self.x = …` would not be seen.
        dynamic = any(
            isinstance(one, ast.Call) and ast.unparse(one.func).endswith(("setattr", "update"))
            for one in ast.walk(node)
        )
        for entry in entries:
            if entry.name.isidentifier() and entry.name not in real and not dynamic:
                yield self._stale(
                    "unknown-attribute", symbol, entry.name,
                    f"The docstring names an attribute `{entry.name}`, which the class never sets.",
                    f"Remove `{entry.name}`.",
                )  # fmt: skip

    def _raises_below(self, name: str, raised: set[str]) -> bool:
        """Whether something raised is a kind of what is documented."""
        return any(name in self._documented.bodies.ancestors(one) - {one} for one in raised)

    def _raises_below_any(self, name: str, documented: set[str]) -> bool:
        return bool(self._documented.bodies.ancestors(name) & documented)

    def _could_raise(self, name: str, node: AnyFunction) -> bool:
        """Whether the body does anything from which the exception may come unseen."""
        bodies = self._documented.bodies
        # What a function inside of it raises comes out when that is called.
        inside = [one for one in ast.walk(node) if isinstance(one, ast.Raise)]
        if not bodies.is_complete(node) or any(name in ast.unparse(one) for one in inside):
            return True
        for one in own_nodes(node):
            if isinstance(one, ast.Call):
                callee = bodies.callee(one, node)
                if callee is not None:
                    if self._could_raise_in_callee(name, callee):
                        return True
                elif not _is_harmless(one):
                    return True
            if isinstance(one, ast.With | ast.AsyncWith | ast.AsyncFor | ast.Await):
                return True
            if isinstance(one, ast.For) and not self._is_plain(one.iter):
                return True
            if isinstance(one, ast.Raise) and not _is_named(one):
                return True
            if isinstance(getattr(builtins, name, None), type) and isinstance(
                one, _SOURCES.get(name, _ANY_SOURCE)
            ):
                return True
        return False

    def _is_plain(self, looped: ast.expr) -> bool:
        """Whether what a loop runs over is a list or the like, made in this module."""
        if not isinstance(looped, ast.Name):
            return isinstance(looped, _PLAIN)
        values = [
            assign.value
            for assign in self._documented.module.of(ast.Assign)
            if any(isinstance(to, ast.Name) and to.id == looped.id for to in assign.targets)
        ]
        return bool(values) and all(isinstance(value, _PLAIN) for value in values)

    def _could_raise_in_callee(self, name: str, callee: AnyFunction) -> bool:
        # One step down is looked at for whatever else may raise; deeper, anything may.
        return any(
            isinstance(one, ast.Call | ast.Subscript | ast.Attribute | ast.With | ast.BinOp)
            for one in own_nodes(callee)
        )

    def _stale(self, kind: str, symbol: Symbol, word: str, message: str, suggestion: str) -> Stale:
        line = self._line(symbol, word)
        return Stale(
            kind=kind,
            file=symbol.file,
            line=line,
            symbol=symbol.path,
            quote=excerpt(self._documented.redactor.line(line), 1),
            message=self._documented.redactor.text(message),
            suggestion=self._documented.redactor.text(suggestion),
        )

    def _line(self, symbol: Symbol, word: str) -> int:
        """The docstring's line that has the word; its first line where none does."""
        node = symbol.node
        first = symbol.doc_line
        last = node.body[0].end_lineno if node is not None and node.body else first
        if word:
            pattern = re.compile(rf"(?<!\w){re.escape(word)}", re.IGNORECASE)
            for number in range(first, (last or first) + 1):
                text = self._lines[number - 1]
                is_summary = number == first and number != last
                if pattern.search(text) and not is_summary:
                    return number
        return first


def _names(entry: Entry) -> list[str]:
    """The parameters of one entry, such as `x, y`, without stars, escapes and defaults."""
    parts = entry.name.replace("\\", "").split(",")
    names = [re.match(r"[\s*]*(\w+)", part) for part in parts]
    return [name[1] for name in names if name is not None]


def _is_harmless(call: ast.Call) -> bool:
    is_made_to_raise = isinstance(parent(call), ast.Raise)
    return is_made_to_raise or (isinstance(call.func, ast.Name) and call.func.id in _HARMLESS)


def _is_named(node: ast.Raise) -> bool:
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    name = raised.attr if isinstance(raised, ast.Attribute) else getattr(raised, "id", "")
    return name[:1].isupper()


def _simple(annotation: str | None) -> set[str]:
    """The plain types that an annotation is made of; empty where it is anything else."""
    if not annotation:
        return set()
    text = annotation.replace("typing.", "").removesuffix(", optional").strip("`'\" ")
    parts = [part.strip() for part in re.split(r"\||\bor\b", text)]
    names = {_WORDS.get(part.lower(), part).partition("[")[0] for part in parts}
    return names - {"None"} if names <= _SIMPLE else set()
