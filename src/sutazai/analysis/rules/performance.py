"""Performance traps: work that grows with the square of the input, or is done again and again."""

import ast
import re
from collections.abc import Iterator

from sutazai.analysis.findings import Confidence, RawFinding
from sutazai.analysis.parsing import Module
from sutazai.analysis.rules.hit import hit
from sutazai.analysis.scopes import (
    Loop,
    Scope,
    Scopes,
    grown,
    is_inside,
    kind_of,
    names_in,
    own_nodes,
    repeating_loop,
)

_FEW = 8
_QUERY_METHODS = frozenset({"execute", "scalar", "scalars", "fetch", "fetchrow", "fetchval"})
_DATABASE_NAME = re.compile(
    r"(^|_)(cur|cursor|conn|connection|session|db|database|engine|con|tx|transaction)$"
)
_WRITES = re.compile(r"(^|\W|_)(insert|update|delete|replace|merge)", re.IGNORECASE)
_BATCH = re.compile(r"chunk|batch|slice|page", re.IGNORECASE)
_MUTATORS = frozenset(
    [
        "append",
        "extend",
        "insert",
        "remove",
        "pop",
        "clear",
        "add",
        "discard",
        "update",
        "sort",
        "reverse",
        "popleft",
        "appendleft",
        "setdefault",
    ]
)


def find_performance_traps(module: Module) -> Iterator[RawFinding]:
    """Every trap of this file, rule by rule."""
    scopes = Scopes(module)
    yield from _string_building(module, scopes)
    yield from _membership(module, scopes)
    for call in module.of(ast.Call):
        if isinstance(call.func, ast.Attribute):
            yield from _method_call(call, call.func, scopes)
        elif isinstance(call.func, ast.Name) and call.func.id == "sorted":
            yield from _sorting(call, call.args[:1], scopes)
    for loop in module.of(ast.For):
        match loop.iter:
            case ast.Call(func=ast.Attribute(attr="readlines"), args=[]):
                yield hit(loop.iter, "reads-all-lines", "The loop runs over `readlines()`.")
            case _:
                pass


def _method_call(call: ast.Call, func: ast.Attribute, scopes: Scopes) -> Iterator[RawFinding]:
    match func.attr:
        case "insert" | "pop":
            yield from _front_of_list(call, func, scopes)
        case "compile":
            yield from _regex(call)
        case "sort":
            yield from _sorting(call, [func.value], scopes)
        case "get" | "filter" | "first" | "all" | "one" | "query":
            yield from _query(call, func, scopes, orm=True)
        case name if name in _QUERY_METHODS:
            yield from _query(call, func, scopes, orm=False)
        case _:
            pass


def _string_building(module: Module, scopes: Scopes) -> Iterator[RawFinding]:
    grown_by: list[ast.AugAssign | ast.Assign] = [*module.of(ast.AugAssign), *module.of(ast.Assign)]
    told: set[tuple[str, int]] = set()
    for statement in grown_by:
        growth = grown(statement)
        if growth is None:
            continue
        name, added = growth
        loop = repeating_loop(statement)
        if loop is None:
            continue
        scope = scopes.around(statement)
        if scope.kind(name) != "str" and not (name not in scope.values and kind_of(added) == "str"):
            continue
        before = [where for where, _ in scope.values.get(name, ()) if grown(where) is None]
        if any(is_inside(where, loop) for where in before):
            continue  # starts afresh on each round
        if (name, loop.lineno) in told:
            continue  # the same string growing in several places is one trap
        told.add((name, loop.lineno))
        yield hit(
            statement,
            "string-building-in-loop",
            f"`{name}` grows by string concatenation on each round of the loop at line "
            f"{loop.lineno}.",
            confidence=Confidence.HIGH if before else Confidence.MEDIUM,
        )


def _membership(module: Module, scopes: Scopes) -> Iterator[RawFinding]:
    for compare in module.of(ast.Compare):
        match compare:
            case ast.Compare(
                left=left, ops=[ast.In() | ast.NotIn()], comparators=[ast.Name(id=name)]
            ) if not isinstance(left, ast.Constant):
                loop = repeating_loop(compare)
                scope = scopes.around(compare)
                if loop is None or scope.kind(name) != "list":
                    continue
                if scope.assigned_in(name, loop) or _is_few(name, scope):
                    continue
                yield hit(
                    compare,
                    "list-membership-in-loop",
                    f"`{name}` is a list, searched on each round of the loop at line "
                    f"{loop.lineno}.",
                )
            case _:
                pass


def _is_few(name: str, scope: Scope) -> bool:
    """Whether the list is a short literal that nothing extends."""
    short = all(
        isinstance(value, ast.List) and 0 < len(value.elts) <= _FEW
        for _, value in scope.values.get(name, ())
        if value is not None
    )
    return bool(scope.values.get(name)) and short and not _mutated(name, scope.node)


def _mutated(name: str, where: ast.AST) -> bool:
    for node in own_nodes(where):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=found), attr=attr)):
                if found == name and attr in _MUTATORS:
                    return True
            case ast.AugAssign(target=ast.Name(id=found)) if found == name:
                return True
            case ast.Subscript(value=ast.Name(id=found), ctx=ast.Store() | ast.Del()):
                if found == name:
                    return True
            case _:
                pass
    return False


def _front_of_list(call: ast.Call, func: ast.Attribute, scopes: Scopes) -> Iterator[RawFinding]:
    match call:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name)), args=[first, *rest]):
            is_zero = isinstance(first, ast.Constant) and first.value == 0
            right_shape = len(rest) == (1 if func.attr == "insert" else 0)
            if not is_zero or not right_shape:
                return
            loop = repeating_loop(call)
            scope = scopes.around(call)
            if loop is None or scope.kind(name) != "list" or scope.assigned_in(name, loop):
                return
            yield hit(
                call,
                "front-of-list-in-loop",
                f"`{name}.{func.attr}(0…)` on each round of the loop at line {loop.lineno}.",
                confidence=Confidence.HIGH,
            )
        case _:
            return


def _regex(call: ast.Call) -> Iterator[RawFinding]:
    match call:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="re")), args=[ast.Constant(), *_]):
            loop = repeating_loop(call)
            if loop is not None:
                yield hit(
                    call,
                    "regex-compiled-in-loop",
                    f"A constant pattern is compiled in the loop at line {loop.lineno}.",
                    confidence=Confidence.HIGH,
                )
        case _:
            return


def _sorting(call: ast.Call, subject: list[ast.expr], scopes: Scopes) -> Iterator[RawFinding]:
    match subject:
        case [ast.Name(id=name)]:
            loop = repeating_loop(call)
            if loop is None:
                return
            scope = scopes.around(call)
            changing = _names_changed_in(loop, scope)
            if name in changing or _changed_in(name, loop, call):
                return
            if any(names_in(keyword.value) & changing for keyword in call.keywords):
                return
            yield hit(
                call,
                "sort-in-loop",
                f"`{name}` does not change in the loop at line {loop.lineno}.",
            )
        case _:
            return


def _changed_in(name: str, loop: Loop, besides: ast.Call) -> bool:
    """Whether the loop may change what `name` holds: calls a method of it or hands it on."""
    for node in own_nodes(loop):
        if node is besides or not isinstance(node, ast.Call | ast.Subscript | ast.AugAssign):
            continue
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=found), attr=attr)):
                if found == name and attr in _MUTATORS:
                    return True
            case ast.Subscript(value=ast.Name(id=found), ctx=ast.Store() | ast.Del()):
                if found == name:
                    return True
            case ast.AugAssign(target=ast.Name(id=found)) if found == name:
                return True
            case _:
                pass
        if isinstance(node, ast.Call) and any(
            isinstance(argument, ast.Name) and argument.id == name for argument in node.args
        ):
            plain = isinstance(node.func, ast.Name) and node.func.id in ("len", "sorted", "print")
            if not plain:
                return True
    return False


def _query(
    call: ast.Call, func: ast.Attribute, scopes: Scopes, *, orm: bool
) -> Iterator[RawFinding]:
    if not (_is_orm(func) if orm else _is_database(func.value)):
        return
    loop = repeating_loop(call)
    if not isinstance(loop, ast.For | ast.AsyncFor) or _goes_by_batches(loop):
        return
    if call.args and _WRITES.search(ast.unparse(call.args[0])[:300]):
        return  # writing row by row has reasons of its own, such as one answer for each row
    changing = _names_changed_in(loop, scopes.around(call))
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    # A list of statements to run one by one is no N+1: there the loop variable is the statement.
    if arguments and isinstance(arguments[0], ast.Name):
        arguments = arguments[1:]
    used = {name for argument in arguments for name in names_in(argument)}
    if used & changing:
        yield hit(
            call,
            "query-in-loop",
            f"`{ast.unparse(func)[:60]}` runs for each element of the loop at line {loop.lineno}.",
        )


def _goes_by_batches(loop: ast.For | ast.AsyncFor) -> bool:
    """Whether each round handles many elements at once, which is the cure for N+1."""
    header = f"{ast.unparse(loop.target)} {ast.unparse(loop.iter)}"[:300]
    return bool(_BATCH.search(header))


def _is_database(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else ""
    name = node.id if isinstance(node, ast.Name) else name
    match node:
        case ast.Call(func=ast.Attribute(attr="cursor" | "connect" | "session")):
            return True
        case _:
            return bool(_DATABASE_NAME.search(name.lower()))


def _is_orm(func: ast.Attribute) -> bool:
    match func:
        case ast.Attribute(value=ast.Attribute(attr="objects"), attr="get" | "filter"):
            return True
        case ast.Attribute(value=ast.Name(id="session"), attr="query" | "get"):
            return True
        case ast.Attribute(value=ast.Attribute(attr="session"), attr="query" | "get"):
            return True
        case _:
            return False


def _names_changed_in(loop: Loop, scope: Scope) -> set[str]:
    """Names that have another value on each round: the target, and what the body assigns."""
    changed = names_in(loop.target) if isinstance(loop, ast.For | ast.AsyncFor) else set()
    for name, places in scope.values.items():
        if any(where is not loop and is_inside(where, loop) for where, _ in places):
            changed.add(name)
    return changed
