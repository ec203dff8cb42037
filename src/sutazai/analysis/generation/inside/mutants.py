"""Small faults put into the module, one at a time: what a suite worth having notices."""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_COMPARED: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
_COMPUTED: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One fault: where, what is different, and how to make it in a copy of the tree.

    `path` leads from the module to the node; `lines` are those of the statement around it, and
    `assigned` is the name that statement gives a value to, if it is one name.
    """

    number: int
    line: int
    lines: tuple[int, int]
    what: str
    path: tuple[tuple[str, int | None], ...]
    variant: int
    routine: str
    assigned: str


@dataclass
class _Place:
    node: ast.AST
    path: tuple[tuple[str, int | None], ...]
    statement: ast.stmt
    routine: str


def mutants_of(tree: ast.Module, most: int) -> list[Mutant]:
    """Up to `most` mutants, spread evenly over the module; the same ones every time."""
    found: list[Mutant] = []
    for place in _places(tree):
        for variant, (what, _) in enumerate(_changes(place.node)):
            line = getattr(place.node, "lineno", place.statement.lineno)
            statement = place.statement
            found.append(
                Mutant(
                    number=len(found),
                    line=line,
                    lines=_header(statement),
                    what=what,
                    path=place.path,
                    variant=variant,
                    routine=place.routine,
                    assigned=_assigned(statement),
                )
            )
    if len(found) <= most:
        return found
    step = len(found) / most
    return [found[int(at * step)] for at in range(most)]


def mutated(tree: ast.Module, mutant: Mutant) -> ast.Module:
    """A copy of the tree with the fault in it; everything untouched is shared with the original."""
    changed = copy.copy(tree)
    node: Any = changed
    for name, index in mutant.path[:-1]:
        node = _step(node, name, index)
    name, index = mutant.path[-1]
    original = getattr(node, name) if index is None else getattr(node, name)[index]
    _, change = list(_changes(original))[mutant.variant]
    replacement = change(copy.copy(original))
    ast.copy_location(replacement, original)
    ast.fix_missing_locations(replacement)
    if index is None:
        setattr(node, name, replacement)
    else:
        items = list(getattr(node, name))
        items[index] = replacement
        setattr(node, name, items)
    return changed


def _step(node: Any, name: str, index: int | None) -> Any:
    below = getattr(node, name)
    if index is None:
        twin = copy.copy(below)
        setattr(node, name, twin)
        return twin
    items = list(below)
    items[index] = twin = copy.copy(items[index])
    setattr(node, name, items)
    return twin


def _places(tree: ast.Module) -> Iterator[_Place]:
    waiting: list[_Place] = [
        _Place(node, (("body", at),), node, "") for at, node in enumerate(tree.body)
    ]
    waiting.reverse()
    while waiting:
        place = waiting.pop()
        node = place.node
        if _is_left_alone(node):
            continue
        yield place
        routine = place.routine
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            routine = f"{routine}.{node.name}" if routine else node.name
        below: list[_Place] = []
        for name, value in ast.iter_fields(node):
            if name in ("decorator_list", "annotation", "returns", "type_comment", "ctx", "bases"):
                continue
            if isinstance(node, ast.JoinedStr) and name == "values":
                continue
            if isinstance(value, ast.AST):
                below.append(_placed(value, (*place.path, (name, None)), place, routine))
            elif isinstance(value, list):
                below += [
                    _placed(item, (*place.path, (name, at)), place, routine)
                    for at, item in enumerate(value)
                    if isinstance(item, ast.AST)
                ]
        waiting += reversed(below)


def _placed(
    node: ast.AST, path: tuple[tuple[str, int | None], ...], above: _Place, routine: str
) -> _Place:
    statement = node if isinstance(node, ast.stmt) else above.statement
    return _Place(node, path, statement, routine)


def _assigned(statement: ast.stmt) -> str:
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else ""


def _header(statement: ast.stmt) -> tuple[int, int]:
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(one.lineno for one in decorators)]), _header_end(statement)


def _header_end(statement: ast.stmt) -> int:
    """The last line of a statement without the statements inside it."""
    inner = getattr(statement, "body", None)
    if isinstance(inner, list) and inner:
        first = inner[0]
        decorated = getattr(first, "decorator_list", [])
        start = decorated[0].lineno if decorated else first.lineno
        return max(statement.lineno, int(start) - 1)
    return statement.end_lineno or statement.lineno


def _is_left_alone(node: ast.AST) -> bool:
    """Docstrings, annotations, `if TYPE_CHECKING` and `if __name__` are no behaviour."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.If):
        test = ast.unparse(node.test)
        return test.endswith("TYPE_CHECKING") or test.startswith("__name__ ==")
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        return isinstance(node.targets[0], ast.Name) and node.targets[0].id.startswith("__")
    return isinstance(node, ast.Import | ast.ImportFrom | ast.Global | ast.arg)


Change = tuple[str, Callable[[Any], ast.AST]]


def _changes(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Compare(ops=[operator]):
            for other in _COMPARED.get(type(operator), ()):
                yield f"{type(operator).__name__} to {other.__name__}", _with(ops=[other()])
        case ast.BinOp(op=operator) if type(operator) in _COMPUTED:
            if not (
                isinstance(operator, ast.Mod)
                and isinstance(node.left, ast.Constant | ast.JoinedStr)
            ):
                other = _COMPUTED[type(operator)]
                yield f"{type(operator).__name__} to {other.__name__}", _with(op=other())
        case ast.AugAssign(op=operator) if type(operator) in _COMPUTED:
            other = _COMPUTED[type(operator)]
            yield f"{type(operator).__name__} to {other.__name__}", _with(op=other())
        case ast.BoolOp(op=operator):
            other = ast.Or if isinstance(operator, ast.And) else ast.And
            yield f"{type(operator).__name__} to {other.__name__}", _with(op=other())
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield "operator removed", lambda one: one.operand
        case ast.Constant():
            yield from _constants(node)
        case ast.If() | ast.While() | ast.IfExp():
            yield "condition negated", lambda one: _set(one, test=ast.UnaryOp(ast.Not(), one.test))
        case ast.Return(value=value) if value is not None:
            if not (isinstance(value, ast.Constant) and value.value is None):
                yield "returns None", _with(value=ast.Constant(None))
        case ast.Break():
            yield "break to continue", lambda _one: ast.Continue()
        case ast.Continue():
            yield "continue to break", lambda _one: ast.Break()
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.Delete():
            yield "statement removed", lambda _one: ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "statement removed", lambda _one: ast.Pass()


def _constants(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield f"{value} to {not value}", _with(value=not value)
    elif isinstance(value, int | float):
        yield f"{value} to {value + 1}", _with(value=value + 1)
    elif isinstance(value, str):
        yield "text changed", _with(value=f"XX{value}XX" if value else "XX")
    elif isinstance(value, bytes):
        yield "bytes changed", _with(value=b"XX" + value)


def _with(**fields: Any) -> Callable[[Any], ast.AST]:
    return lambda one: _set(one, **fields)


def _set(one: Any, **fields: Any) -> ast.AST:
    for name, value in fields.items():
        setattr(one, name, value)
    return one  # type: ignore[no-any-return]  # it is the node that came in
