"""Plain bugs that the engines do not look for."""

import ast
from collections import Counter
from collections.abc import Iterator

from sutazai.analysis.findings import RawFinding
from sutazai.analysis.parsing import Module
from sutazai.analysis.rules.hit import hit
from sutazai.analysis.scopes import Scopes, leaves, own_nodes

_Function = ast.FunctionDef | ast.AsyncFunctionDef
# Appending to what one runs over is a way to keep a list of work.
_SHIFTING = frozenset({"remove", "pop", "insert", "clear", "discard", "popitem", "popleft"})
_VIEWS = frozenset({"items", "keys", "values"})


def find_mistakes(module: Module) -> Iterator[RawFinding]:
    """Every such bug of this file."""
    scopes = Scopes(module)
    yield from _not_awaited(module, scopes)
    loops: list[ast.For | ast.AsyncFor] = [*module.of(ast.For), *module.of(ast.AsyncFor)]
    for loop in loops:
        yield from _changed_under_way(loop, scopes)


def _not_awaited(module: Module, scopes: Scopes) -> Iterator[RawFinding]:
    """Calls of this file's own coroutine functions as statements: nothing of them ever runs."""
    functions: list[_Function] = [*module.of(ast.FunctionDef), *module.of(ast.AsyncFunctionDef)]
    defined = Counter(function.name for function in functions)
    # Defined once and not decorated: the name means this function and nothing else.
    plain: dict[str, ast.AST] = {
        function.name: function
        for function in module.of(ast.AsyncFunctionDef)
        if defined[function.name] == 1 and not function.decorator_list and not _yields(function)
    }
    for statement in module.of(ast.Expr):
        match statement.value:
            case ast.Call(func=ast.Name(id=name)):
                scope = scopes.around(statement)
                own = isinstance(scope.node, _Function) and name in _parameters(scope.node)
                found = name in plain and name not in scope.values and not own
                found = found and not _is_method(plain[name], module)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                here = _class_of(statement, module)
                found = (
                    name in plain and here is not None and here is _class_of(plain[name], module)
                )
            case _:
                continue
        if found:
            yield hit(
                statement,
                "coroutine-not-awaited",
                f"`{name}` is a coroutine function of this file.",
            )


def _changed_under_way(loop: ast.For | ast.AsyncFor, scopes: Scopes) -> Iterator[RawFinding]:
    match loop.iter:
        case ast.Name(id=name):
            pass
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr), args=[]) if (
            attr in _VIEWS
        ):
            pass
        case _:
            return
    if scopes.around(loop).assigned_in(name, loop):
        return
    for statement in loop.body:
        for node in (statement, *own_nodes(statement)):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=changed), attr=attr)):
                    found = changed == name and attr in _SHIFTING
                case ast.Delete(targets=[ast.Subscript(value=ast.Name(id=changed))]):
                    found = changed == name
                case _:
                    continue
            if found and not leaves(node, loop):
                yield hit(
                    node,
                    "changed-while-iterated",
                    f"The loop at line {loop.lineno} runs over `{name}`.",
                )


def _yields(function: ast.AsyncFunctionDef) -> bool:
    return any(isinstance(node, ast.Yield) for node in own_nodes(function))


def _parameters(function: _Function) -> set[str]:
    return {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)}


def _class_of(node: ast.AST, module: Module) -> ast.ClassDef | None:
    """The class in whose method `node` stands, or whose method it is."""
    for above in module.parents(node):
        if isinstance(above, ast.ClassDef):
            return above
    return None


def _is_method(node: ast.AST, module: Module) -> bool:
    return isinstance(next(module.parents(node), None), ast.ClassDef)
