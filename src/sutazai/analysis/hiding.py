"""What a repair may not bring: code that the analysis cannot see through.

A finding that is gone is proof of a repair only where what was found could not merely have moved
out of sight. So of everything that hides what a program does, a repaired file may hold no more
than it did: names that are looked up by text, calls of what is not named, functions handed on as
values, values spelled out piece by piece, new functions, modules that nobody knows here, errors
that are caught and forgotten. What it newly calls must be known to be harmless (`calling`). What
this costs is some good repairs; what it keeps out is a vulnerability that nobody sees any more.
"""

import ast
import builtins
import re
import sys
from collections import Counter
from collections.abc import Iterator

from sutazai.analysis.calling import imported_names, unknown_call, words

# Look something up by text, run text, or reach what no import names.
_LOOKUPS = words("""
    getattr setattr delattr vars globals locals dir eval exec compile execfile import_module
    importlib builtins operator attrgetter methodcaller itemgetter partial partialmethod reduce
    ctypes cffi runpy code codeop marshal pickle dill inspect gc modules imp pkgutil pydoc locate
    resolve_name types FunctionType CodeType MethodType breakpoint settrace setprofile
    """)
_USUAL_DUNDERS = frozenset(
    {"__name__", "__file__", "__doc__", "__all__", "__init__", "__version__"}
)
# Make text of text, in ways that are not followed from what goes in to what comes out.
_BUILDERS = words("""
    replace translate maketrans format_map substitute safe_substitute Template fromhex unhexlify
    b64decode b32decode b16decode b85decode a85decode decompress getvalue swapcase zfill
    """)
_FOLDED = words(
    "chr ord str bytes bytearray int bool bin hex oct ascii repr reversed sorted sum format"
)
_HARMLESS = frozenset({"SafeLoader", "CSafeLoader"})
_INTERPRETER = re.compile(
    r"(\S*/)?(env|busybox|sudo|xargs|\w{0,4}sh|cmd|powershell|pwsh|python[\d.]*|perl|ruby|node|php|awk"
    r"|osascript)(\.exe)?(\s.*)?",
    re.DOTALL,
)
_CLASSES = frozenset(
    name for name, value in vars(builtins).items() if isinstance(value, type) and name != "type"
)
_FUNCTIONS = frozenset(vars(builtins)) - _CLASSES - {"True", "False", "None", "Ellipsis"}
_Defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def hidden_by(before: ast.Module, after: ast.Module) -> str | None:
    """What the file holds more of after a repair that could hide what it does; None for nothing."""
    flags = frozenset(
        word.arg for word in _of(before, ast.keyword) if word.arg and _is_flag(word.value)
    )
    known = _roots(before)
    more = Counter(_hiding(after, flags, known))
    more.subtract(_hiding(before, flags, known))
    return next((kind for kind, count in more.items() if count > 0), None) or unknown_call(
        before, after
    )


def _hiding(tree: ast.Module, flags: frozenset[str], known: frozenset[str]) -> Iterator[str]:
    """Everything in a file that hides something, in words."""
    imported = imported_names(tree).keys()
    defined = {one.name for one in ast.walk(tree) if isinstance(one, _Defined)}
    handed_on = imported | defined | _FUNCTIONS
    for node in ast.walk(tree):
        yield from _looked_up(node)
        yield from _unseen(node)
        match node:
            case ast.Import() | ast.ImportFrom():
                yield from _imports(node, known)
            case ast.Call():
                yield from _called(node, flags)
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) if name in handed_on:
                yield f"another meaning of {name}"
            case ast.arg(arg=name) if name in imported | _FUNCTIONS:
                yield f"another meaning of {name}"
    yield from _values(tree, handed_on)


def _of(tree: ast.AST, kind: type[ast.keyword]) -> Iterator[ast.keyword]:
    return (node for node in ast.walk(tree) if isinstance(node, kind))


def _is_flag(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, bool)


def _looked_up(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
            dunder = name.startswith("__") and name.endswith("__")
            if (dunder and name not in _USUAL_DUNDERS) or not _LOOKUPS.isdisjoint(name.split(".")):
                yield f"{name}, which finds things by their names"
            elif name in _BUILDERS:
                yield f"{name}, which builds text out of sight"


def _unseen(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Lambda() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield "a function or class"
            yield from ("a decorator" for _ in getattr(node, "decorator_list", ()))
        case ast.ExceptHandler() if all(map(_is_nothing, node.body)):
            yield "an error that is swallowed"
        case ast.Name(id="suppress") | ast.Attribute(attr="suppress"):
            yield "an error that is swallowed"
        case ast.Global() | ast.Nonlocal():
            yield "a name of elsewhere"
        case ast.Attribute(value=ast.Constant() | ast.JoinedStr(), attr="join"):
            yield "text that is joined of pieces"
        case ast.Constant(value=str(text)) if _INTERPRETER.fullmatch(text):
            yield f"{text.split()[0]}, which runs what it is told"
        case ast.Constant(value=str(text)) if text.lower().startswith("http:"):
            yield "an address that is not encrypted"
        case ast.expr() if _is_spelled_out(node):
            yield "a constant that is spelled out in pieces"


def _is_nothing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Continue() | ast.Break() | ast.Return(value=None):
            return True
        case ast.Expr(value=ast.Constant()) | ast.Return(value=ast.Constant(value=None)):
            return True
    return False


def _is_spelled_out(node: ast.expr) -> bool:
    """Whether this is computed, of nothing but constants."""
    if isinstance(node, ast.Constant | ast.Tuple | ast.List | ast.Set | ast.Dict | ast.Starred):
        return False
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
        return False
    constants = False
    for inner in ast.walk(node):
        match inner:
            case ast.Constant():
                constants = True
            case ast.Name(id=name) if name not in _FOLDED:
                return False
            case ast.Call(func=ast.Name(id=name)) if name not in _FOLDED:
                return False
    return constants


def _imports(node: ast.Import | ast.ImportFrom, known: frozenset[str]) -> Iterator[str]:
    """New modules may be the standard library's, and those that the file knew before."""
    module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
    near = isinstance(node, ast.ImportFrom) and node.level > 0
    for one in node.names:
        root = (module or one.name).split(".")[0]
        if one.name == "*" or one.asname is not None:
            yield "an import under another name"
        elif near or (root not in known and root not in sys.stdlib_module_names):
            yield f"a module that was not imported before, {module or one.name}"
        if _LOOKUPS & set(module.split(".")):
            yield f"{module}, which finds things by their names"


def _called(call: ast.Call, flags: frozenset[str]) -> Iterator[str]:
    if not isinstance(call.func, ast.Name | ast.Attribute) or not _is_followed(call.func):
        yield "a call of something without a name"
    for given in call.args:
        if isinstance(given, ast.Starred):
            yield "arguments that are unpacked"
        elif _is_flag(given):
            yield "a flag without its name"
    for word in call.keywords:
        if word.arg is None:
            yield "arguments that are unpacked"
        elif word.arg in flags and not _is_flag(word.value):
            yield f"a computed {word.arg}"


def _is_followed(function: ast.expr) -> bool:
    """Whether what is called can be named: `a.b`, and methods of what such calls return."""
    while True:
        match function:
            case ast.Attribute(value=value) | ast.Await(value=value):
                function = value
            case ast.Call(func=ast.Name() | ast.Attribute() as value):
                function = value
            case _:
                break
    # What is chosen, or taken out of something that stands right here, may be anything.
    plain = ast.Name | ast.Constant | ast.JoinedStr | ast.Subscript | ast.BinOp
    if isinstance(function, ast.Subscript):
        return isinstance(function.value, ast.Name | ast.Attribute)
    return isinstance(function, plain)


def _values(tree: ast.Module, handed_on: set[str] | frozenset[str]) -> Iterator[str]:
    """Functions and modules that are handed on instead of being used."""
    todo: list[tuple[ast.AST, bool]] = [(tree, False)]
    while todo:
        node, used = todo.pop()
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                if not used and name in handed_on and not name.isupper():
                    yield f"{name} as a value"
            case ast.Attribute(value=value, attr=name):
                todo.append((value, used or name.isupper() or name in _HARMLESS))
            case ast.Call():
                todo.append((node.func, True))
                is_test = isinstance(node.func, ast.Name) and node.func.id in (
                    "isinstance",
                    "issubclass",
                )
                todo += [(given, is_test and at == 1) for at, given in enumerate(node.args)]
                todo += [(word.value, False) for word in node.keywords]
            case ast.Tuple():
                todo += [(one, used) for one in node.elts]
            case ast.ExceptHandler():
                if node.type is not None:
                    todo.append((node.type, True))
                todo += [(one, False) for one in node.body]
            case ast.arg():
                pass  # annotations run nothing
            case ast.AnnAssign():
                todo += [(one, False) for one in (node.target, node.value) if one is not None]
            case ast.Raise(exc=raised):
                todo += [(raised, True)] if isinstance(raised, ast.Name) else []
                if raised is not None and not isinstance(raised, ast.Name):
                    todo.append((raised, False))
            case _:
                todo += [(one, False) for one in ast.iter_child_nodes(node)]


def _roots(tree: ast.Module) -> frozenset[str]:
    """The packages that a file imports from."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {one.name.split(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return frozenset(found)
