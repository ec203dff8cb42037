"""What a function gives back and what it does with its parameters, in neutral, true sentences."""

import ast
from collections.abc import Collection, Sequence

from sutazai.analysis.documentation.bodies import code, own_nodes
from sutazai.analysis.documentation.model import AnyFunction, Output
from sutazai.analysis.parsing import Module, parent

_MOST_NAMED = 4
_BOOLEAN = {"isinstance", "issubclass", "callable", "hasattr", "any", "all", "bool"}
_NUMBER = {"len", "hash", "id", "ord", "int"}
_TEXT = {"str", "repr", "chr", "hex", "bin", "oct", "format", "ascii"}
_CONTAINER = {"list": "list", "sorted": "list", "dict": "dict", "set": "set", "tuple": "tuple"}


def returned(function: AnyFunction) -> Output | None:
    """What is returned; None where no value ever is."""
    values = [
        node.value
        for node in own_nodes(function)
        if isinstance(node, ast.Return) and node.value is not None
    ]
    annotation = ast.unparse(function.returns) if function.returns is not None else None
    if is_generator(function):
        return None
    if not [value for value in values if not _is_none(value)]:
        if annotation in (None, "None", "NoReturn", "Never") or not is_stub(function):
            return None
        return Output(type=annotation, what="")
    types = {_type(value) for value in values}
    known = next(iter(types)) if len(types) == 1 and _always_returns(function) else None
    return Output(type=annotation or known, what=_one_of(values))


def yielded(function: AnyFunction) -> Output | None:
    """What a generator yields; None for anything else."""
    if not is_generator(function):
        return None
    values = [
        node.value
        for node in own_nodes(function)
        if isinstance(node, ast.Yield) and node.value is not None
    ]
    sources = [node.value for node in own_nodes(function) if isinstance(node, ast.YieldFrom)]
    said = _one_of(values) if values else ""
    if sources:
        every = f"Each of {_listed([code(source) for source in sources])}."
        said = f"{said} {every}" if said else every
    return Output(type=_item_type(function.returns), what=said)


def is_generator(function: AnyFunction) -> bool:
    """Whether calling it makes a generator."""
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in own_nodes(function))


def is_stub(function: AnyFunction) -> bool:
    """Whether the body is empty but for a docstring: abstract, a protocol's, an overload."""
    for statement in function.body:
        match statement:
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                continue
            case ast.Raise(exc=ast.Name(id="NotImplementedError")):
                continue
            case ast.Raise(exc=ast.Call(func=ast.Name(id="NotImplementedError"))):
                continue
            case _:
                return False
    return True


def uses(names: Collection[str], function: AnyFunction, module: Module) -> dict[str, str]:
    """The first telling thing that the body does with each parameter; empty where there is none."""
    if is_stub(function):
        return {}
    loads: dict[str, list[ast.Name]] = {name: [] for name in names}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id in loads and isinstance(node.ctx, ast.Load):
            loads[node.id].append(node)
    return {name: _use(found, module) for name, found in loads.items()}


def _use(loads: list[ast.Name], module: Module) -> str:
    if not loads:
        return "Not used in the body."
    keys, attributes, passed = dict[str, None](), dict[str, None](), dict[str, None]()
    is_iterated = False
    for load in loads:
        above = parent(load)
        match above:
            case ast.For(iter=looped) | ast.AsyncFor(iter=looped) if looped is load:
                is_iterated = True
            case ast.comprehension(iter=looped) if looped is load:
                is_iterated = True
            case ast.Subscript(value=value, slice=ast.Constant() as key) if value is load:
                keys[code(key)] = None
            case ast.Attribute(value=value, attr=attribute) if value is load:
                attributes[f"`{attribute}`"] = None
            case ast.Call(func=callee) if callee is not load and module.qualified(callee):
                if not isinstance(parent(above), ast.Raise):
                    passed[code(callee)] = None
    if is_iterated:
        return "Iterated over."
    if keys:
        return f"Read at {_listed(list(keys))}."
    if attributes:
        return f"Its {_listed(list(attributes))} {'is' if len(attributes) == 1 else 'are'} used."
    if passed:
        return f"Passed to {_listed(list(passed))}."
    return ""


def _always_returns(function: AnyFunction) -> bool:
    return isinstance(function.body[-1], ast.Return)


def _one_of(values: Sequence[ast.expr]) -> str:
    said = list(dict.fromkeys(code(value) for value in values))
    if len(said) == 1:
        return f"The value of {said[0]}."
    if len(said) <= _MOST_NAMED:
        return f"One of {', '.join(said[:-1])} and {said[-1]}."
    return f"One of {len(said)} values, the last of them {said[-1]}."


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMED:
        return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _type(value: ast.expr) -> str | None:
    match value:
        case ast.JoinedStr():
            return "str"
        case ast.Constant(value=bool() | int() | float() | str() | bytes() as constant):
            return type(constant).__name__
        case ast.Compare() | ast.UnaryOp(op=ast.Not()):
            # Comparing arrays gives arrays; `in`, `is` and `not` give booleans always.
            is_plain = isinstance(value, ast.UnaryOp) or all(
                isinstance(op, ast.In | ast.NotIn | ast.Is | ast.IsNot) for op in value.ops
            )
            return "bool" if is_plain else None
        case ast.List() | ast.ListComp():
            return "list"
        case ast.Dict() | ast.DictComp():
            return "dict"
        case ast.Set() | ast.SetComp():
            return "set"
        case ast.Tuple():
            return "tuple"
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()), attr="join" | "format")):
            return "str"
        case ast.Call(func=ast.Name(id=name)):
            if name in _BOOLEAN:
                return "bool"
            if name in _NUMBER:
                return "int"
            return "str" if name in _TEXT else _CONTAINER.get(name)
        case _:
            return None


def _item_type(annotation: ast.expr | None) -> str | None:
    match annotation:
        case ast.Subscript(slice=ast.Tuple(elts=[first, *_])):
            return ast.unparse(first)
        case ast.Subscript(slice=item):
            return ast.unparse(item)
        case _:
            return None
