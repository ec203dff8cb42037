"""Functions whose annotations are incomplete, and where in the text these would stand."""

import ast
import io
import tokenize
from collections.abc import Iterator

import msgspec

from sutazai.analysis.typecheck.edits import Edit

Function = ast.FunctionDef | ast.AsyncFunctionDef
_NOT_OURS = {"overload", "abstractmethod", "no_type_check"}


class Place(msgspec.Struct, frozen=True):
    """Where the return annotation goes: line from 1, column from 0 in bytes."""

    line: int
    column: int


class Open(msgspec.Struct, kw_only=True):
    """A function that lacks annotations.

    `parameters` are those without one, `returns` the expressions after `return` where that is
    open, None where it is annotated or cannot be inferred. `key` names it in its file.
    """

    file: str
    key: str
    name: str
    node: Function
    parameters: list[ast.arg]
    defaults: dict[str, ast.expr]
    returns: list[ast.expr] | None
    bare_return: bool
    falls_through: bool
    place: Place | None

    @property
    def lines(self) -> range:
        """Its lines, from its first decorator to its end."""
        first = min([self.node.lineno, *(one.lineno for one in self.node.decorator_list)])
        return range(first, (self.node.end_lineno or self.node.lineno) + 1)


class Counts(msgspec.Struct, frozen=True):
    """How many functions there are, and how many of them are annotated in full."""

    functions: int
    annotated: int


def count(tree: ast.Module) -> Counts:
    """Of one file."""
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    full = [
        node
        for node in functions
        if node.returns is not None and not any(one.annotation is None for one in _open(node))
    ]
    return Counts(len(functions), len(full))


def open_functions(file: str, text: str, tree: ast.Module) -> Iterator[Open]:
    """Every function of a file that lacks annotations and may get some."""
    colons = _Colons(text)
    methods = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for child in node.body
    }
    for node in ast.walk(tree):
        if not isinstance(node, Function) or _decorators(node) & _NOT_OURS:
            continue
        missing = [one for one in _open(node, method=id(node) in methods) if not one.annotation]
        returns = _returns(node) if node.returns is None else None
        if not missing and returns is None:
            continue
        found = [] if returns is None else returns
        yield Open(
            file=file,
            key=f"{node.name}@{node.lineno}:{node.col_offset}",
            name=node.name,
            node=node,
            parameters=missing,
            defaults=_defaults(node),
            returns=None if returns is None else [one for one in found if one is not None],
            bare_return=any(one is None for one in found),
            falls_through=_falls_through(node.body),
            place=None if returns is None else colons.of(node),
        )


def _open(node: Function, *, method: bool = False) -> list[ast.arg]:
    """Its named parameters but for the first of a method; `*args` and `**kwargs` are left out."""
    given = node.args
    named = [*given.posonlyargs, *given.args]
    static = "staticmethod" in _decorators(node)
    first = named[0].arg if named else ""
    if named and not static and (method or first in ("self", "cls")):
        named = named[1:]
    return [*named, *given.kwonlyargs]


def _decorators(node: Function) -> set[str]:
    return {
        ast.unparse(one.func if isinstance(one, ast.Call) else one).rpartition(".")[2]
        for one in node.decorator_list
    }


def _defaults(node: Function) -> dict[str, ast.expr]:
    given = node.args
    named = [*given.posonlyargs, *given.args]
    late = named[len(named) - len(given.defaults) :]
    found = {one.arg: value for one, value in zip(late, given.defaults, strict=True)}
    pairs = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    return found | {one.arg: value for one, value in pairs if value is not None}


def _returns(node: Function) -> list[ast.expr | None] | None:
    """What its own `return` statements hand back; None for generators and bodies that are stubs."""
    if _is_stub(node.body):
        return None
    found: list[ast.expr | None] = []
    stack: list[ast.AST] = list(node.body)
    while stack:
        one = stack.pop()
        if isinstance(one, ast.Yield | ast.YieldFrom):
            return None
        if isinstance(one, ast.Return):
            found.append(one.value)
        if not isinstance(one, Function | ast.Lambda | ast.ClassDef):
            stack += ast.iter_child_nodes(one)
    return found


def _is_stub(body: list[ast.stmt]) -> bool:
    rest = [one for one in body if not _is_text(one)]
    return all(isinstance(one, ast.Pass | ast.Raise) for one in rest)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _falls_through(body: list[ast.stmt]) -> bool:
    """Whether the end of a block may be reached; True where that is not plain to see."""
    if not body:
        return True
    last = body[-1]
    match last:
        case ast.Return() | ast.Raise():
            return False
        case ast.If():
            return _falls_through(last.body) or _falls_through(last.orelse)
        case ast.With() | ast.AsyncWith():
            return _falls_through(last.body)
        case ast.While(test=ast.Constant(value=True)):
            return any(isinstance(node, ast.Break) for node in ast.walk(last))
        case ast.Try():
            if last.finalbody and not _falls_through(last.finalbody):
                return False
            ends = [last.orelse or last.body, *(one.body for one in last.handlers)]
            return any(_falls_through(one) for one in ends)
        case ast.Match():
            whole = any(
                isinstance(case.pattern, ast.MatchAs)
                and case.pattern.pattern is None
                and case.guard is None
                for case in last.cases
            )
            return not whole or any(_falls_through(case.body) for case in last.cases)
        case _:
            return True


class _Colons:
    """Finds the colon that ends a function's header."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        try:
            self._tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        except (tokenize.TokenError, IndentationError, SyntaxError):
            self._tokens = []
        self._at = {token.start: number for number, token in enumerate(self._tokens)}

    def of(self, node: Function) -> Place | None:
        """Where ` -> T` would be written, None where the header cannot be followed."""
        line = self._lines[node.lineno - 1]
        column = len(line.encode("utf-8", "surrogatepass")[: node.col_offset].decode("utf-8"))
        number = self._at.get((node.lineno, column))
        if number is None:
            return None
        depth = 0
        for token in self._tokens[number:]:
            if token.type != tokenize.OP:
                continue
            if token.string in "([{":
                depth += 1
            elif token.string in ")]}":
                depth -= 1
            elif token.string == ":" and depth == 0:
                before = self._lines[token.start[0] - 1][: token.start[1]].rstrip()
                return Place(token.start[0], len(before.encode()))
        return None


def return_edit(place: Place, annotation: str) -> Edit:
    """Writes a return annotation."""
    return Edit(place.line, place.column, place.line, place.column, f" -> {annotation}")


def parameter_edit(
    lines: list[str], argument: ast.arg, default: ast.expr | None, annotation: str
) -> Edit | None:
    """Writes a parameter's annotation, with spaces around its `=`; None where that is not plain."""
    line, column = argument.lineno, argument.end_col_offset or 0
    if default is None:
        return Edit(line, column, line, column, f": {annotation}")
    between = lines[line - 1].encode("utf-8", "surrogatepass")[column : default.col_offset]
    if default.lineno != line or between.strip() != b"=":
        return None
    return Edit(line, column, line, default.col_offset, f": {annotation} = ")
