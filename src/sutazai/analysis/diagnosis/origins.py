"""Backwards from a value to where it came from: in the function, its callers and its callees."""

import ast
from collections.abc import Iterator, Sequence

import msgspec

from sutazai.analysis.diagnosis.expressions import name_of
from sutazai.analysis.diagnosis.project import (
    AnyFunction,
    File,
    Project,
    function_around,
    own_expressions,
)
from sutazai.analysis.documentation.bodies import code, own_nodes
from sutazai.analysis.parsing import parent

_DEEPEST = 6
_MOST_ASSIGNMENTS = 3
_MOST_CALLS = 4


class Spot(msgspec.Struct, frozen=True, kw_only=True):
    """A statement on the way of a failure: in `file`, at `line`, within `function`."""

    file: File
    line: int
    function: AnyFunction | None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """An expression that a value comes from; `steps` away, `how` it got there in words."""

    expression: ast.expr | None
    file: File
    line: int
    steps: int
    how: str
    parameter: str = ""


class Origins:
    """Follows values through a project. `calls` are the frames of the failure, outermost first."""

    def __init__(self, project: Project, calls: Sequence[Spot]) -> None:
        self._project = project
        self._calls = list(calls)
        self._seen: set[tuple[str, int, str]] = set()

    def of(self, expression: ast.expr, spot: Spot) -> list[Origin]:
        """All places that the value of an expression may come from, the nearest first."""
        self._seen.clear()
        at = self._calls.index(spot) if spot in self._calls else -1
        found = list(self._follow(expression, spot, at, 0))
        return sorted(found, key=lambda one: one.steps)

    def _follow(self, expression: ast.expr, spot: Spot, at: int, steps: int) -> Iterator[Origin]:
        key = (spot.file.name, expression.lineno, ast.unparse(expression)[:200])
        if steps > _DEEPEST or key in self._seen:
            return
        self._seen.add(key)
        match expression:
            case ast.Name(id=name):
                yield from self._name(name, spot, at, steps)
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                yield from self._attribute(name, spot, at, steps)
            case ast.Await(value=value) | ast.NamedExpr(value=value):
                yield from self._follow(value, spot, at, steps)
            case ast.IfExp(body=body, orelse=other):
                yield from self._follow(body, spot, at, steps + 1)
                yield from self._follow(other, spot, at, steps + 1)
            case ast.BoolOp(values=values):
                yield from self._follow(values[-1], spot, at, steps + 1)
            case _:
                yield Origin(
                    expression=expression,
                    file=spot.file,
                    line=expression.lineno,
                    steps=steps,
                    how="",
                )
                if isinstance(expression, ast.Call):
                    yield from self._call(expression, spot, steps)

    def _name(self, name: str, spot: Spot, at: int, steps: int) -> Iterator[Origin]:
        values = list(_assigned(name, spot.function, spot.file, spot.line))
        for value, how in values[:_MOST_ASSIGNMENTS]:
            yield Origin(
                expression=value, file=spot.file, line=value.lineno, steps=steps + 1, how=how
            )
            moved = Spot(file=spot.file, line=value.lineno, function=spot.function)
            yield from self._follow(value, moved, at, steps + 1)
        if values or spot.function is None:
            return
        if any(one.arg == name for one in _parameters(spot.function)):
            yield from self._argument(name, spot, at, steps)
            return
        for value, how in list(_assigned(name, None, spot.file, 10**9))[:_MOST_ASSIGNMENTS]:
            yield Origin(
                expression=value, file=spot.file, line=value.lineno, steps=steps + 1, how=how
            )

    def _argument(self, name: str, spot: Spot, at: int, steps: int) -> Iterator[Origin]:
        function = spot.function
        assert function is not None
        default = _default(function, name)
        if default is not None:
            yield Origin(
                expression=default,
                file=spot.file,
                line=default.lineno,
                steps=steps + 1,
                how=f"is the default of `{name}`",
                parameter=name,
            )
        caller = self._calls[at - 1] if at > 0 else None
        calls = (
            [(caller, call) for call in _calls_at(caller, function.name)]
            if caller is not None
            else list(self._calls_of(function))[:_MOST_CALLS]
        )
        for where, call in calls:
            value = _given(call, function, name)
            if value is None:
                continue
            how = f"is given as `{name}` to `{function.name}`"
            yield Origin(
                expression=value, file=where.file, line=value.lineno, steps=steps + 1, how=how
            )
            before = self._calls.index(where) if where in self._calls else -1
            yield from self._follow(value, where, before, steps + 1)

    def _calls_of(self, function: AnyFunction) -> Iterator[tuple[Spot, ast.Call]]:
        for file in self._project.files.values():
            for call in file.module.of(ast.Call):
                if name_of(call.func) == function.name:
                    around = function_around(file, call)
                    yield Spot(file=file, line=call.lineno, function=around), call

    def _attribute(self, name: str, spot: Spot, at: int, steps: int) -> Iterator[Origin]:
        owner = parent(spot.function) if spot.function is not None else None
        if not isinstance(owner, ast.ClassDef):
            return
        found = 0
        for node in ast.walk(owner):
            targets: list[ast.expr] = []
            value: ast.expr | None = None
            if isinstance(node, ast.Assign):
                targets, value = node.targets, node.value
            elif isinstance(node, ast.AnnAssign):
                targets, value = [node.target], node.value
            for target in targets:
                is_it = isinstance(target, ast.Attribute) and target.attr == name
                is_field = isinstance(target, ast.Name) and target.id == name and node in owner.body
                if value is None or not (is_it or is_field) or found >= _MOST_ASSIGNMENTS:
                    continue
                found += 1
                how = f"is what `self.{name}` is set to"
                yield Origin(
                    expression=value, file=spot.file, line=value.lineno, steps=steps + 1, how=how
                )
                around = function_around(spot.file, value)
                moved = Spot(file=spot.file, line=value.lineno, function=around)
                yield from self._follow(
                    value, moved, at if around is spot.function else -1, steps + 2
                )

    def _call(self, call: ast.Call, spot: Spot, steps: int) -> Iterator[Origin]:
        """What the called function returns, where it is one of the project's."""
        for file, function in self._callees(call, spot):
            returns = [node for node in own_nodes(function) if isinstance(node, ast.Return)]
            for node in returns:
                how = f"is returned by `{function.name}`"
                yield Origin(
                    expression=node.value, file=file, line=node.lineno, steps=steps + 1, how=how
                )
                if node.value is not None:
                    moved = Spot(file=file, line=node.lineno, function=function)
                    yield from self._follow(node.value, moved, -1, steps + 1)
            if falls_through(function.body) and not _is_generator(function):
                yield Origin(
                    expression=None,
                    file=file,
                    line=function.lineno,
                    steps=steps + 1,
                    how=f"`{function.name}` can end without returning anything",
                )

    def _callees(self, call: ast.Call, spot: Spot) -> list[tuple[File, AnyFunction]]:
        found = self._project.functions(name_of(call.func))
        same = [pair for pair in found if pair[0] is spot.file]
        if isinstance(call.func, ast.Attribute) and len(found) > _MOST_CALLS:
            return same[:1]  # a method's name that many classes have says little
        return (same or found)[:_MOST_CALLS]


def falls_through(body: Sequence[ast.stmt]) -> bool:
    """Whether a block's end can be reached."""
    last = body[-1]
    match last:
        case ast.Return() | ast.Raise() | ast.Continue() | ast.Break():
            return False
        case ast.If(body=yes, orelse=no):
            return not no or falls_through(yes) or falls_through(no)
        case ast.With(body=inner) | ast.AsyncWith(body=inner):
            return falls_through(inner)
        case ast.While(test=ast.Constant(value=True)):
            return any(isinstance(one, ast.Break) for one in ast.walk(last))
        case ast.Try(body=inner, handlers=handlers, orelse=other, finalbody=final):
            if final and not falls_through(final):
                return False
            tail = other or inner
            return falls_through(tail) or any(falls_through(one.body) for one in handlers)
        case ast.Match(cases=cases):
            wild = any(
                isinstance(one.pattern, ast.MatchAs) and one.pattern.pattern is None
                for one in cases
            )
            return not wild or any(falls_through(one.body) for one in cases)
        case _:
            return True


def _is_generator(function: AnyFunction) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in own_nodes(function))


def _assigned(
    name: str, function: AnyFunction | None, file: File, before: int
) -> Iterator[tuple[ast.expr, str]]:
    """The values that a name is given up to a line, the last first."""
    nodes = list(own_nodes(function)) if function is not None else list(_module_nodes(file))
    found: list[tuple[int, ast.expr, str]] = []
    for node in nodes:
        match node:
            case ast.Assign(targets=targets, value=value):
                if any(_binds(target, name) for target in targets):
                    found.append((node.lineno, value, f"is assigned to `{name}`"))
            case ast.AnnAssign(target=ast.Name(id=bound), value=ast.expr() as value) if (
                bound == name
            ):
                found.append((node.lineno, value, f"is assigned to `{name}`"))
            case ast.NamedExpr(target=ast.Name(id=bound), value=value) if bound == name:
                found.append((node.lineno, value, f"is assigned to `{name}`"))
            case ast.AugAssign(target=ast.Name(id=bound), value=value) if bound == name:
                found.append((node.lineno, value, f"changes `{name}`"))
            case ast.For(target=target, iter=looped) | ast.AsyncFor(target=target, iter=looped):
                if _binds(target, name):
                    found.append((node.lineno, looped, f"is what `{name}` runs over"))
            case ast.comprehension(target=target, iter=looped) if _binds(target, name):
                found.append((looped.lineno, looped, f"is what `{name}` runs over"))
            case ast.withitem(context_expr=given, optional_vars=ast.expr() as target):
                if _binds(target, name):
                    found.append((given.lineno, given, f"is entered as `{name}`"))
    found.sort(key=lambda one: -one[0])
    for line, value, how in found:
        if line <= before:
            yield value, how


def _module_nodes(file: File) -> Iterator[ast.AST]:
    pending: list[ast.AST] = list(reversed(file.module.tree.body))
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, AnyFunction | ast.ClassDef | ast.Lambda):
            pending += reversed(list(ast.iter_child_nodes(node)))


def _binds(target: ast.expr, name: str) -> bool:
    match target:
        case ast.Name(id=bound):
            return bound == name
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return any(_binds(one, name) for one in elements)
        case ast.Starred(value=value):
            return _binds(value, name)
        case _:
            return False


def _parameters(function: AnyFunction) -> list[ast.arg]:
    arguments = function.args
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _default(function: AnyFunction, name: str) -> ast.expr | None:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    given = positional[len(positional) - len(arguments.defaults) :]
    for one, default in zip(given, arguments.defaults, strict=True):
        if one.arg == name:
            return default
    for one, kw_default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if one.arg == name:
            return kw_default
    return None


def _given(call: ast.Call, function: AnyFunction, name: str) -> ast.expr | None:
    """What a call gives for a parameter; None where that is the default, or cannot be told."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    positional = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    if (
        positional
        and positional[0] in ("self", "cls")
        and isinstance(parent(function), ast.ClassDef)
    ):
        positional = positional[1:]
    if name not in positional or any(isinstance(one, ast.Starred) for one in call.args):
        return None
    index = positional.index(name)
    return call.args[index] if index < len(call.args) else None


def _calls_at(spot: Spot, name: str) -> list[ast.Call]:
    """The calls on a line that may be the one that led to the next frame."""
    from sutazai.analysis.diagnosis.project import statement_at

    statement = statement_at(spot.file, spot.line)
    if statement is None:
        return []
    calls = [one for one in own_expressions(statement) if isinstance(one, ast.Call)]
    named = [call for call in calls if name_of(call.func) == name]
    return named or calls[:1]


def shown(expression: ast.expr) -> str:
    """An expression in a sentence."""
    return code(expression)
