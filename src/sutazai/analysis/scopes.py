"""Names inside one function: where they get their values, of what kind, and which loops repeat."""

import ast
from collections import defaultdict
from collections.abc import Iterator

from sutazai.analysis.parsing import Module, enclosing_function, parent

Loop = ast.For | ast.AsyncFor | ast.While
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_COMPREHENSIONS = {
    ast.ListComp: "list",
    ast.SetComp: "set",
    ast.DictComp: "dict",
    ast.GeneratorExp: "iterator",
}
_LITERALS = {ast.List: "list", ast.Set: "set", ast.Dict: "dict", ast.Tuple: "tuple"}
_CALLS = {
    "list": "list",
    "sorted": "list",
    "split": "list",
    "splitlines": "list",
    "readlines": "list",
    "str": "str",
    "join": "str",
    "format": "str",
    "set": "set",
    "dict": "dict",
    "deque": "deque",
}
_SMALL = 10


class Scope:
    """What one function (or the module's own level) assigns, apart from functions inside it."""

    def __init__(self, node: ast.AST) -> None:
        self.node = node
        self.values: dict[str, list[tuple[ast.AST, ast.expr | None]]] = defaultdict(list)
        for inner in own_nodes(node):
            self._note(inner)

    def kind(self, name: str) -> str | None:
        """`list`, `str`, `set`, … when every assignment agrees, else None."""
        kinds = {kind_of(value) for _, value in self.values.get(name, ()) if value is not None}
        if not kinds:
            return self._annotated(name)
        return kinds.pop() if len(kinds) == 1 else None

    def assigned_in(self, name: str, loop: ast.AST) -> bool:
        """Whether the loop's own body gives the name a new value (`+=` does not count)."""
        return any(
            is_inside(where, loop)
            for where, _ in self.values.get(name, ())
            if not isinstance(where, ast.AugAssign)
        )

    def _annotated(self, name: str) -> str | None:
        if not isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef):
            return None
        arguments = self.node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if argument.arg == name and argument.annotation is not None:
                base = argument.annotation
                if isinstance(base, ast.Subscript):
                    base = base.value
                if isinstance(base, ast.Name) and base.id.lower() in ("list", "str", "set"):
                    return base.id.lower()
        return None

    def _note(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                grows = grown(node) is not None  # by what is added, which tells no kind
                for target in targets:
                    self._target(node, target, None if grows else value)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self._target(node, target, value)
            case ast.NamedExpr(target=target, value=value):
                self._target(node, target, value)
            case ast.For(target=target) | ast.AsyncFor(target=target):
                self._target(node, target, None)
            case ast.withitem(optional_vars=target) if target is not None:
                self._target(parent(node) or node, target, None)
            case _:
                pass

    def _target(self, where: ast.AST, target: ast.AST, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            self.values[target.id].append((where, value))
        elif isinstance(target, ast.Tuple | ast.List):
            for element in target.elts:
                self._target(where, element, None)
        elif isinstance(target, ast.Starred):
            self._target(where, target.value, None)


class Scopes:
    """The scopes of a module, each computed when first asked for."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._known: dict[ast.AST, Scope] = {}

    def around(self, node: ast.AST) -> Scope:
        """The scope of the function that holds `node`, or of the module."""
        owner: ast.AST = enclosing_function(node) or self._module.tree
        scope = self._known.get(owner)
        if scope is None:
            scope = self._known[owner] = Scope(owner)
        return scope


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below `node` in source order, without going into functions defined there."""
    stack: list[ast.AST] = list(ast.iter_child_nodes(node))[::-1]
    while stack:
        inner = stack.pop()
        yield inner
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            stack.extend(list(ast.iter_child_nodes(inner))[::-1])


def grown(statement: ast.AST) -> tuple[str, ast.expr] | None:
    """The name and what is added to it, of `name += added` and `name = name + … + added`."""
    match statement:
        case ast.AugAssign(target=ast.Name(id=name), op=ast.Add(), value=added):
            return name, added
        case ast.Assign(
            targets=[ast.Name(id=name)], value=ast.BinOp(op=ast.Add(), right=added) as value
        ):
            first: ast.expr = value
            while isinstance(first, ast.BinOp) and isinstance(first.op, ast.Add):
                first = first.left
            return (name, added) if isinstance(first, ast.Name) and first.id == name else None
        case _:
            return None


def kind_of(value: ast.expr) -> str:
    """A word for the type of an expression; `other` where it cannot be told."""
    if isinstance(value, ast.Constant):
        return type(value.value).__name__
    if isinstance(value, ast.JoinedStr):
        return "str"
    if isinstance(value, ast.BinOp):
        sides = {kind_of(value.left), kind_of(value.right)}
        return "str" if "str" in sides and isinstance(value.op, ast.Add | ast.Mod) else "other"
    if isinstance(value, ast.Call):
        function = value.func
        name = function.attr if isinstance(function, ast.Attribute) else ""
        name = function.id if isinstance(function, ast.Name) else name
        return _CALLS.get(name, "other")
    return _LITERALS.get(type(value)) or _COMPREHENSIONS.get(type(value)) or "other"


def repeating_loop(node: ast.AST) -> Loop | None:
    """The innermost loop whose body runs `node` many times.

    Loops over a handful of constants do not count, nor does code that leaves the loop right away.
    """
    inner = node
    above = parent(node)
    while above is not None and not isinstance(above, Function):
        if isinstance(above, Loop):
            repeated = above.test if isinstance(above, ast.While) else None
            in_body = any(inner is child for child in above.body) or inner is repeated
            if in_body and not _is_short(above) and not leaves(node, above):
                return above
        inner, above = above, parent(above)
    return None


def is_inside(node: ast.AST, outer: ast.AST) -> bool:
    """Whether `outer` is `node` or one of its parents."""
    above: ast.AST | None = node
    while above is not None:
        if above is outer:
            return True
        above = parent(above)
    return False


def names_in(node: ast.AST) -> set[str]:
    """Every name that an expression mentions."""
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _is_short(loop: Loop) -> bool:
    if isinstance(loop, ast.While):
        return False
    match loop.iter:
        case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
            return len(elements) <= _SMALL
        case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=int(count))]):
            return count <= _SMALL
        case _:
            return False


def leaves(node: ast.AST, loop: Loop) -> bool:
    """Whether the block around `node` ends in return, break or raise, so that it runs once."""
    statement: ast.AST | None = node
    while statement is not None and statement is not loop:
        block_owner = parent(statement)
        for field in ("body", "orelse", "finalbody"):
            block = getattr(block_owner, field, None)
            if not isinstance(block, list) or not any(statement is item for item in block):
                continue
            if isinstance(block[-1], ast.Return | ast.Break | ast.Raise):
                return True
        statement = block_owner
    return False
