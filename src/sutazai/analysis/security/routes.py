"""Routes that change something and ask nobody who they are, unlike those beside them."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from sutazai.analysis.findings import RawFinding
from sutazai.analysis.parsing import Module
from sutazai.analysis.rules.hit import hit
from sutazai.analysis.rules.taint import is_route

Function = ast.FunctionDef | ast.AsyncFunctionDef
_GUARD = re.compile(
    r"log(?:ged)?_?in_|login|auth|requires?_|permission|admin|role|protect|jwt|token|current_user"
    r"|principal|identity|verify_|session_user|needs",
    re.IGNORECASE,
)
_OPEN_BY_NATURE = re.compile(
    r"log_?in|log_?out|sign_?(?:in|up|on)|register|forgot|reset_?password|health|ping|webhook"
    r"|callback|token|oauth|auth|refresh|search|query|graphql|csp|report|track|contact|subscribe",
    re.IGNORECASE,
)
_CHANGES = {"post", "put", "patch", "delete"}
_LEAST_GUARDED = 2


def find_open_routes(modules: Mapping[str, Module]) -> dict[str, list[RawFinding]]:
    """By file: routes without a guard where most that change something have one."""
    found: dict[str, list[RawFinding]] = defaultdict(list)
    for file, module in modules.items():
        if module.source.is_test or _has_guarded_router(module):
            continue
        changing = [node for node in _routes(module) if _changes(node)]
        guarded = [node for node in changing if _is_guarded(module, node)]
        if len(guarded) < _LEAST_GUARDED or len(guarded) * 2 < len(changing):
            continue
        for node in changing:
            named = f"{node.name} {_path_of(node)}"
            if node in guarded or _OPEN_BY_NATURE.search(named):
                continue
            others = f"{len(guarded)} of the {len(changing)} routes here that change something"
            found[file].append(
                hit(
                    node,
                    "missing-authorisation",
                    f"`{node.name}` has no guard, while {others} have one.",
                    description=f"`{node.name}` changes something and asks nobody who they are, "
                    f"while {others} do.",
                )
            )
    return found


def _routes(module: Module) -> Iterator[Function]:
    for node in (*module.of(ast.FunctionDef), *module.of(ast.AsyncFunctionDef)):
        if isinstance(node, Function) and is_route(node):
            yield node


def _changes(node: Function) -> bool:
    for decorator in node.decorator_list:
        if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
            continue
        if decorator.func.attr in _CHANGES:
            return True
        if decorator.func.attr in ("route", "api_route"):
            for keyword in decorator.keywords:
                if keyword.arg == "methods":
                    named = {
                        one.value.lower()
                        for one in ast.walk(keyword.value)
                        if isinstance(one, ast.Constant) and isinstance(one.value, str)
                    }
                    if named & _CHANGES:
                        return True
    return False


def _path_of(node: Function) -> str:
    for decorator in node.decorator_list:
        match decorator:
            case ast.Call(args=[ast.Constant(value=str(path)), *_]):
                return path
            case _:
                pass
    return ""


def _is_guarded(module: Module, node: Function) -> bool:
    """By a decorator, a dependency among its parameters, or a call or look-up in its body."""
    for decorator in node.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = ast.unparse(target)
        if _GUARD.search(name.rpartition(".")[2]):
            return True
        if isinstance(decorator, ast.Call):
            given = [keyword for keyword in decorator.keywords if keyword.arg == "dependencies"]
            if given:
                return True
    arguments = node.args
    for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        note = ast.unparse(one.annotation) if one.annotation else ""
        if _GUARD.search(one.arg) or _GUARD.search(note):
            return True
    defaults = [*arguments.defaults, *(one for one in arguments.kw_defaults if one is not None)]
    if any(_GUARD.search(ast.unparse(one)) for one in defaults):
        return True
    for inner in ast.walk(ast.Module(body=node.body, type_ignores=[])):
        if isinstance(inner, ast.Call) and _GUARD.search(module.qualified(inner.func)):
            return True
        if isinstance(inner, ast.Attribute | ast.Name):
            name = inner.attr if isinstance(inner, ast.Attribute) else inner.id
            if name in ("current_user", "is_authenticated", "user"):
                return True
        if isinstance(inner, ast.Subscript) and "session" in ast.unparse(inner.value).lower():
            return True
    return False


def _has_guarded_router(module: Module) -> bool:
    """Whether a router of this file guards all that hangs on it."""
    for call in module.of(ast.Call):
        name = module.qualified(call.func)
        if name.rpartition(".")[2] in ("APIRouter", "FastAPI", "Router"):
            for keyword in call.keywords:
                if keyword.arg == "dependencies" and _GUARD.search(ast.unparse(keyword.value)):
                    return True
    return any(
        "before_request" in ast.unparse(decorator)
        for node in (*module.of(ast.FunctionDef), *module.of(ast.AsyncFunctionDef))
        if isinstance(node, Function)
        for decorator in node.decorator_list
    )
