"""A first sentence for what has none: neutral, and true by the name, the signature or the body."""

import ast
from collections.abc import Sequence

from sutazai.analysis.documentation.bodies import code, own_nodes
from sutazai.analysis.documentation.model import AnyFunction, Kind, Symbol
from sutazai.analysis.documentation.outputs import is_stub

_MOST = 4
_VERBS = frozenset(
    """accept add allow append apply ask assert begin bind build cache calculate call cancel
    change check choose clean clear close collect combine compare compile compute configure
    connect convert copy count create decode delete deliver deny describe deserialize detect
    disable discard display drop dump emit enable encode end ensure escape evaluate execute
    expand export extend extract fail fetch fill filter find finish fit flatten flush format
    forward freeze generate get give group guess handle hash hide ignore import increment
    initialize insert install invoke iterate join keep launch list load lock log login logout
    lookup make map mark match merge migrate move normalize notify open order pack parse pass
    pick place plot pop predict prepare print process publish pull push put query quote raise
    read receive record redirect reduce refresh refund register reject release reload remove
    rename render repeat replace report request reset resolve restart restore resume retry
    return reverse rewrite rotate round run save scan schedule score search select send
    serialize serve set ship show shuffle shut sign skip sleep slugify solve sort split start
    stop store strip submit subscribe sum swap sync take tell test toggle trace train
    transform translate trim truncate try unlock unpack unregister update upload upsert use
    validate verify visit wait walk warn watch wrap write yield""".split()  # noqa: SIM905  # a list of two hundred words
)
_PREDICATES = ("is", "has", "can", "should", "was", "needs", "contains", "exists")


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
    single = _single_return(node)
    if symbol.kind is Kind.PROPERTY:
        return f"The value of {code(single)}." if single is not None else f"{_noun(symbol.name)}."
    if single is not None and not isinstance(single, ast.Name):
        return f"Return {code(single)}."
    words = [word for word in symbol.name.lower().split("_") if word]
    if words and words[0] in _PREDICATES and len(words) > 1:
        return f"Tell whether {_predicate(words)}."
    if words and words[0] in _VERBS:
        return f"{words[0].capitalize()} {' '.join(words[1:])}".rstrip() + "."
    if symbol.yields is not None:
        return f"Yield the {' '.join(words)}."
    if symbol.returns is not None and not is_stub(node):
        return f"Return the {' '.join(words)}." if words else "Return a value."
    called = _called(node)
    return f"Call {listed(called, quote=False)}." if called else f"{_noun(symbol.name)}."


def _predicate(words: list[str]) -> str:
    rest = " ".join(words[1:])
    return f"it {words[0]} {rest}" if words[0] != "should" else f"it should {rest}"


def _noun(name: str) -> str:
    words = name.strip("_").replace("_", " ")
    return f"The {words}" if words else f"`{name}`"


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
