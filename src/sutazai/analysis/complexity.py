"""How hard functions are to follow: cyclomatic and cognitive complexity."""

import ast
from collections.abc import Iterator

import msgspec

from sutazai.analysis.parsing import Module

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One function. `name` is dotted through classes and functions around it.

    `cyclomatic` counts the ways through it. `cognitive` counts what a reader has to keep in mind:
    each break in the flow, and one more for each level that it is nested in. `nesting` is the
    deepest level, `lines` those from `def` to the end, without the docstring's.
    """

    file: str
    line: int
    end_line: int
    name: str
    cyclomatic: int
    cognitive: int
    nesting: int
    lines: int
    parameters: int


def measured(module: Module) -> list[Measured]:
    """Every function of a file, in source order; one inside another counts for itself alone."""
    return [
        _measure(module, node)
        for node in module.nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def _measure(module: Module, node: _Function) -> Measured:
    end = node.end_lineno or node.lineno
    around = module.symbol(node)
    reading = _Reading(node.name)
    reading.block(node.body, 0)
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return Measured(
        file=module.source.file,
        line=node.lineno,
        end_line=end,
        name=f"{around}.{node.name}" if around else node.name,
        cyclomatic=1 + sum(map(_ways, _own(node))),
        cognitive=reading.total,
        nesting=reading.deepest,
        lines=end - node.lineno + 1 - _docstring_lines(node),
        parameters=len(named) + bool(arguments.vararg) + bool(arguments.kwarg),
    )


def _docstring_lines(function: _Function) -> int:
    match function.body:
        case [ast.Expr(value=ast.Constant(value=str())) as first, *_]:
            return (first.end_lineno or first.lineno) - first.lineno + 1
    return 0


def _own(function: _Function) -> Iterator[ast.AST]:
    """The nodes of a function's body, without those of functions and classes inside it."""
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            stack.extend(ast.iter_child_nodes(node))


def _ways(node: ast.AST) -> int:
    """How many ways more a node makes."""
    match node:
        case ast.If() | ast.IfExp() | ast.For() | ast.AsyncFor() | ast.While():
            return 1
        case ast.ExceptHandler() | ast.Assert():
            return 1
        case ast.comprehension():
            return 1 + len(node.ifs)
        case ast.BoolOp():
            return len(node.values) - 1
        case ast.match_case():
            return 0 if _takes_all(node) else 1
        case _:
            return 0


def _takes_all(case: ast.match_case) -> bool:
    plain = isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
    return plain and case.guard is None


class _Reading:
    """Adds up cognitive complexity, statement by statement.

    Statements nest at most a hundred deep, so this may call itself; expressions do not.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.total = 0
        self.deepest = 0

    def block(self, body: list[ast.stmt], level: int) -> None:
        self.deepest = max(self.deepest, level)
        for statement in body:
            self._statement(statement, level)

    def _statement(self, node: ast.stmt, level: int) -> None:
        match node:
            case ast.If():
                self._if(node, level, nested=True)
            case ast.For() | ast.AsyncFor() | ast.While():
                self.total += 1 + level
                self._expressions(node, level)
                self.block(node.body, level + 1)
                self._else(node.orelse, level)
            case ast.Try() | ast.TryStar():
                self.block(node.body, level)
                for handler in node.handlers:
                    self.total += 1 + level
                    self.block(handler.body, level + 1)
                self._else(node.orelse, level)
                self.block(node.finalbody, level)
            case ast.With() | ast.AsyncWith():
                self._expressions(node, level)
                self.block(node.body, level)
            case ast.Match():
                self.total += 1 + level
                self._expressions(node, level)
                for case in node.cases:
                    self.block(case.body, level + 1)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                pass  # counts for itself
            case _:
                self._expressions(node, level)

    def _if(self, node: ast.If, level: int, *, nested: bool) -> None:
        self.total += 1 + level if nested else 1
        self._expressions(node, level)
        self.block(node.body, level + 1)
        match node.orelse:
            case [ast.If() as further]:
                self._if(further, level, nested=False)
            case orelse:
                self._else(orelse, level)

    def _else(self, body: list[ast.stmt], level: int) -> None:
        if body:
            self.total += 1
            self.block(body, level + 1)

    def _expressions(self, statement: ast.stmt, level: int) -> None:
        """Conditions, sequences of `and` and `or`, and calls of the function itself."""
        stack: list[ast.AST] = [
            child
            for child in ast.iter_child_nodes(statement)
            if not isinstance(child, ast.stmt | ast.match_case)
        ]
        while stack:
            node = stack.pop()
            match node:
                case ast.BoolOp():
                    self.total += 1
                case ast.IfExp():
                    self.total += 1 + level
                case ast.Call(func=ast.Name(id=name)) if name == self._name:
                    self.total += 1
            stack.extend(ast.iter_child_nodes(node))
