"""A first sentence for what has none: neutral, and true by the name, the signature or the body."""

import ast
from collections.abc import Sequence

from sutazai.analysis.documentation.bodies import code, own_nodes
from sutazai.analysis.documentation.model import AnyFunction, Kind, Symbol
from sutazai.analysis.documentation.naming import (
    PREDICATES,
    conversion,
    is_noun,
    is_verb,
    words_of,
)
from sutazai.analysis.documentation.outputs import is_stub

_MOST = 4
_LONGEST_VALUE, _MOST_VALUES = 50, 2


def sentence(symbol: Symbol) -> str:
    """The sentence; ends in a full stop."""
    match symbol.kind:
        case Kind.MODULE:
            return _module(symbol)
        case Kind.CLASS:
            return _class(symbol)
        case _:
            return _function(symbol)


def first_sentence(text: str) -> str:
    """The first paragraph of a docstring on one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


def _module(symbol: Symbol) -> str:
    names = [one.name for one in symbol.members if one.public and one.kind is not Kind.ATTRIBUTE]
    values = [one.name for one in symbol.members if one.public and one.kind is Kind.ATTRIBUTE]
    if names:
        return f"Define {listed(names)}."
    if values:
        return f"Set {listed(values)}."
    is_package = symbol.file.endswith("__init__.py")
    return f"{'Package' if is_package else 'Module'} `{symbol.name}`."


def _class(symbol: Symbol) -> str:
    bases = [base.rpartition(".")[2].partition("[")[0] for base in symbol.bases]
    values = [one.name for one in symbol.members if one.kind is Kind.ATTRIBUTE and one.public]
    methods = [
        one.name
        for one in symbol.members
        if one.public and one.kind in (Kind.METHOD, Kind.PROPERTY)
    ]
    if any(base in ("Enum", "StrEnum", "IntEnum", "Flag", "IntFlag") for base in bases) and values:
        return f"One of {listed(values)}."
    of = f"`{bases[0]}`" if bases and bases[0] not in ("object", "ABC", "Protocol") else ""
    if methods:
        return f"{of or 'A class'} with {listed(methods)}."
    if values:
        return f"{of or 'A class'} with the attributes {listed(values)}."
    return f"A kind of {of}." if of else f"The class `{symbol.name}`."


def _function(symbol: Symbol) -> str:
    node = symbol.node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return f"`{symbol.name}`."
    single, words = _single_return(node), words_of(symbol.name)
    if symbol.kind is Kind.PROPERTY:
        if len(words) > 1 and words[0] in PREDICATES:
            return f"Whether {_predicate(words)}."
        return f"The value of {code(single)}." if single is not None else f"{_noun(words)}."
    if single is not None and not isinstance(single, ast.Name):
        return f"Return {code(single)}."
    if len(words) > 1 and words[0] in PREDICATES:
        return f"Tell whether {_predicate(words)}."
    if words and is_verb(words[0]):
        return f"{words[0].capitalize()} {' '.join(words[1:])}".rstrip() + "."
    if symbol.yields is not None:
        return f"Yield the {' '.join(words)}." if is_noun(words) else _given("Yield", symbol, node)
    if is_stub(node):
        return "Left to implementations." if symbol.kind is Kind.METHOD else f"`{symbol.name}`."
    if symbol.returns is not None:
        if turned := conversion(words):
            return f"Convert {turned[0]} to {turned[1]}."
        return (
            f"Return the {' '.join(words)}." if is_noun(words) else _given("Return", symbol, node)
        )
    if called := _called(node):
        return f"Call {listed(called, quote=False)}."
    changed = _set(node)
    return f"Set {listed(changed, quote=False)}." if changed else f"`{symbol.name}`."


def _given(verb: str, symbol: Symbol, node: AnyFunction) -> str:
    """What comes out by the signature and the body, where the name does not tell."""
    kind = ast.Return if verb == "Return" else ast.Yield
    found = [one.value for one in own_nodes(node) if isinstance(one, kind) and one.value]
    output = symbol.returns if verb == "Return" else symbol.yields
    names = [one.name for one in symbol.parameters]
    of = f" for {listed(names)}" if names else ""
    if output is not None and output.type:
        return f"{verb} `{output.type}`{of}."
    shown = list(dict.fromkeys(map(code, found)))
    if 1 <= len(shown) <= _MOST_VALUES and all(_is_telling(one, node) for one in found):
        return f"{verb} {' or '.join(shown)}{of}."
    return f"{verb} a value{of}."


def _is_telling(value: ast.expr, node: AnyFunction) -> bool:
    """Whether an expression is short, and understood without the body that it stands in."""
    local = {one.id for one in own_nodes(node) if isinstance(one, ast.Name) and _is_stored(one)} - {
        one.id for one in ast.walk(value) if isinstance(one, ast.Name) and _is_stored(one)
    }
    named = {one.id for one in ast.walk(value) if isinstance(one, ast.Name)}
    return len(ast.unparse(value)) <= _LONGEST_VALUE and not named & local


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _predicate(words: list[str]) -> str:
    rest = " ".join(words[1:])
    return f"it {words[0]} {rest}" if words[0] != "should" else f"it should {rest}"


def _noun(words: Sequence[str]) -> str:
    return f"The {' '.join(words)}" if words else "A value"


def _set(node: AnyFunction) -> list[str]:
    """The attributes and items that a body sets."""
    targets = (
        target
        for one in own_nodes(node)
        if isinstance(one, ast.Assign | ast.AugAssign | ast.AnnAssign)
        for target in (one.targets if isinstance(one, ast.Assign) else [one.target])
    )
    wanted = (ast.Attribute, ast.Subscript)
    return list(dict.fromkeys(code(one) for one in targets if isinstance(one, wanted)))


def _single_return(node: AnyFunction) -> ast.expr | None:
    """The expression of a body that is nothing but `return expression`."""
    body = [one for one in node.body if not _is_docstring(one)]
    match body:
        case [ast.Return(value=value)] if value is not None and len(ast.unparse(value)) <= 70:
            return value
        case _:
            return None


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _called(node: AnyFunction) -> list[str]:
    """What the statements of a body call, outermost first."""
    names: dict[str, None] = {}
    for one in own_nodes(node):
        if isinstance(one, ast.Expr):
            call = one.value.value if isinstance(one.value, ast.Await) else one.value
            if isinstance(call, ast.Call):
                names[code(call.func)] = None
    return list(names)


def listed(names: Sequence[str], *, quote: bool = True) -> str:
    """Names in backticks with commas and an `and`; the rest is counted."""
    shown = [f"`{name}`" if quote else name for name in names[:_MOST]]
    if len(names) > _MOST:
        return f"{', '.join(shown)} and {len(names) - _MOST} more"
    *rest, last = shown
    return f"{', '.join(rest)} and {last}" if rest else last
