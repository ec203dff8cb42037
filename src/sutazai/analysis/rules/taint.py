"""How far an expression inside one function may carry text that came from outside."""

import ast
import re
from collections.abc import Mapping
from enum import IntEnum

from sutazai.analysis.parsing import Module
from sutazai.analysis.scopes import own_nodes

_DEEPEST = 40


class Taint(IntEnum):
    """Where a value comes from, the worse the greater."""

    NONE = 0
    PARAMETER = 1
    REQUEST = 2


_REQUEST_PARTS = frozenset(
    [
        "args",
        "form",
        "values",
        "json",
        "data",
        "cookies",
        "headers",
        "files",
        "GET",
        "POST",
        "query_params",
        "path_params",
        "query_string",
        "view_args",
        "query",
        "match_info",
        "body",
        "rel_url",
    ]
)
_REQUEST_CALLS = frozenset({"get_json", "get_data", "read", "post", "text", "getlist"})
_ROUTES = frozenset(["route", "get", "post", "put", "delete", "patch", "websocket", "api_route"])
_CLEANERS = frozenset(
    [
        "int",
        "float",
        "bool",
        "len",
        "hash",
        "UUID",
        "secure_filename",
        "basename",
        "escape",
        "quote",
        "hexdigest",
        "digest",
        "sha256",
        "isinstance",
        "literal_eval",
        "fullmatch",
        "sorted_keys",
        "hash_password",
        "quote_plus",
        "quote_identifier",
        "urlencode",
        "date",
        "datetime",
        "Decimal",
        "round",
        "abs",
        "ord",
        "safe_join",
    ]
)
_SAFE_ANNOTATION = re.compile(r"\b(int|float|bool|UUID|date|datetime|Decimal|Depends|Session)\b")
_CHECKERS = re.compile(
    r"valid|check|sanit|safe|allow|verify|ensure|permit|clean|within", re.IGNORECASE
)
_CHECK_METHODS = frozenset(
    [
        "isalnum",
        "isidentifier",
        "isdigit",
        "isdecimal",
        "isnumeric",
        "isalpha",
        "startswith",
        "match",
        "fullmatch",
        "is_relative_to",
        "relative_to",
        "commonpath",
        "commonprefix",
        "resolve",
    ]
)


class TaintState:
    """What each name of one function carries, as the statements are gone through in order."""

    def __init__(
        self, module: Module, function: ast.AST, seeds: Mapping[str, Taint] | None = None
    ) -> None:
        """`seeds` are what its parameters carry; without them, what its signature suggests."""
        self._module = module
        self._levels: dict[str, Taint] = {}
        self.parameters: set[str] = set()
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            self._take_parameters(function)
        if seeds is not None:
            self._levels = dict(seeds)
        self.checked = _checked_names(function)

    def assign(self, target: ast.expr, value: ast.expr | None, *, grows: bool = False) -> None:
        """Record `target = value`, or `target += value` where it grows."""
        level = self.level(value) if value is not None else Taint.NONE
        for name in _target_names(target):
            kept = self._levels.get(name, Taint.NONE) if grows else Taint.NONE
            self._levels[name] = max(level, kept)

    def level(self, node: ast.expr, depth: int = 0) -> Taint:
        """The worst that `node` may carry."""
        if depth > _DEEPEST:
            return Taint.NONE
        match node:
            case ast.Name(id=name):
                return Taint.NONE if name in self.checked else self._levels.get(name, Taint.NONE)
            case ast.Attribute(value=value, attr=attr):
                if attr in _REQUEST_PARTS and self._is_request(value):
                    return Taint.REQUEST
                return self.level(value, depth + 1)
            case ast.Call():
                return self._call(node, depth)
            case ast.Subscript(value=value):
                if self._module.qualified(value) == "sys.argv":
                    return Taint.PARAMETER
                return self.level(value, depth + 1)
            case ast.Compare() | ast.Lambda():
                return Taint.NONE
            case ast.IfExp(body=body, orelse=orelse):
                return max(self.level(body, depth + 1), self.level(orelse, depth + 1))
            case _:
                children = [c for c in ast.iter_child_nodes(node) if isinstance(c, ast.expr)]
                return max((self.level(c, depth + 1) for c in children), default=Taint.NONE)

    def _call(self, node: ast.Call, depth: int) -> Taint:
        func = node.func
        name = func.attr if isinstance(func, ast.Attribute) else ""
        name = func.id if isinstance(func, ast.Name) else name
        if name in _CLEANERS:
            return Taint.NONE
        if isinstance(func, ast.Name) and name == "input":
            return Taint.PARAMETER
        receiver = Taint.NONE
        if isinstance(func, ast.Attribute):
            if name in _REQUEST_CALLS and self._is_request(func.value):
                return Taint.REQUEST
            receiver = self.level(func.value, depth + 1)
            # Looking something up gives a value of ours, whatever the key was.
            if name == "get" and receiver is Taint.NONE:
                return Taint.NONE
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        return max((receiver, *(self.level(argument, depth + 1) for argument in given)))

    def _is_request(self, node: ast.expr) -> bool:
        name = self._module.qualified(node)
        return name.rsplit(".", 1)[-1] in ("request", "req")

    def _take_parameters(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        level = Taint.REQUEST if is_route(function) else Taint.PARAMETER
        arguments = function.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        for argument in every:
            note = ast.unparse(argument.annotation) if argument.annotation else ""
            if argument.arg in ("self", "cls", "request", "req") or _SAFE_ANNOTATION.search(note):
                continue
            self.parameters.add(argument.arg)
            self._levels[argument.arg] = level


def is_route(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a decorator binds the function to a path, so that requests reach it."""
    for decorator in function.decorator_list:
        match decorator:
            case ast.Call(
                func=ast.Attribute(attr=attr), args=[ast.Constant(value=str(path)), *_]
            ) if attr in _ROUTES and path.startswith("/"):
                return True
            case _:
                pass
    return False


def _target_names(target: ast.expr) -> list[str]:
    match target:
        case ast.Name(id=name):
            return [name]
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return [name for element in elements for name in _target_names(element)]
        case ast.Starred(value=value):
            return _target_names(value)
        case _:
            return []


def _checked_names(function: ast.AST) -> set[str]:
    """Names that the function looks at before it uses them: in a condition, or by a checker."""
    checked: set[str] = set()
    for node in own_nodes(function):
        if isinstance(node, ast.If | ast.Assert | ast.While | ast.IfExp):
            checked |= _checked_by(node.test)
        elif isinstance(node, ast.Call):
            func = node.func
            name = func.attr if isinstance(func, ast.Attribute) else ""
            name = func.id if isinstance(func, ast.Name) else name
            if _CHECKERS.search(name) or name in ("relative_to", "commonpath"):
                checked |= {a.id for a in node.args if isinstance(a, ast.Name)}
                if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name):
                    checked.add(func.value.id)
    return checked


def _checked_by(test: ast.expr) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(test):
        match node:
            case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()], comparators=[right]):
                # `x in ALLOWED`, and `".." in x`.
                names |= {n.id for n in (left, right) if isinstance(n, ast.Name)}
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in _CHECK_METHODS:
                candidates = [value, *node.args]
                names |= {
                    inner.id
                    for candidate in candidates
                    for inner in ast.walk(candidate)
                    if isinstance(inner, ast.Name)
                }
            case _:
                pass
    return names
