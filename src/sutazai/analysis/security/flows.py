"""Flows across functions and files: what a request brings in here does its harm over there."""

import ast
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sutazai.analysis.findings import Confidence, RawFinding, Severity
from sutazai.analysis.parsing import Module
from sutazai.analysis.rules.flow import Flow
from sutazai.analysis.rules.hit import short
from sutazai.analysis.rules.taint import Taint

Function = ast.FunctionDef | ast.AsyncFunctionDef
_MOST_FUNCTIONS = 20_000
_LONGEST_CHAIN = 8
_CRITICAL = {"sql-injection", "command-injection", "code-injection", "template-injection"}
_CRITICAL |= {"unsafe-deserialization", "unsafe-yaml"}


class _Key(NamedTuple):
    """A function: its file and its dotted name within it."""

    file: str
    name: str


class _Handed(NamedTuple):
    """A call that hands on request data: to which parameter of what, and where."""

    target: _Key
    parameter: str
    line: int
    column: int
    text: str


class _Seen(NamedTuple):
    """What a function does with what it is given: what reaches a sink in it, what it hands on."""

    sinks: list[RawFinding]
    handed: list[_Handed]


class _Recorder(Flow):
    """Goes through a function and notes which of our own functions get request data."""

    def __init__(
        self,
        project: "_Project",
        key: _Key,
        seeds: Mapping[str, Taint] | None = None,
    ) -> None:
        self._project = project
        self._key = key
        self.handed: list[_Handed] = []
        super().__init__(project.modules[key.file], project.functions[key], seeds)

    def called(self, call: ast.Call) -> None:
        target = self._project.resolve(self._key, call)
        if target is None:
            return
        for parameter, argument in self._project.bind(target, call):
            if self.level(argument) is Taint.REQUEST:
                self.handed.append(
                    _Handed(
                        target,
                        parameter,
                        call.lineno,
                        call.col_offset + 1,
                        short(ast.unparse(argument)),
                    )
                )


class _Project:
    """Every function of the project, and which of them a call means."""

    def __init__(self, modules: Mapping[str, Module]) -> None:
        self.modules = modules
        self.functions: dict[_Key, Function] = {}
        self._by_name: dict[str, list[_Key]] = defaultdict(list)
        for file, module in modules.items():
            for node in (*module.of(ast.FunctionDef), *module.of(ast.AsyncFunctionDef)):
                if not isinstance(node, Function) or len(self.functions) >= _MOST_FUNCTIONS:
                    continue
                above = module.symbol(node)
                key = _Key(file, f"{above}.{node.name}" if above else node.name)
                self.functions[key] = node
                self._by_name[node.name].append(key)
        self._dotted = {file: _dotted(file) for file in modules}

    def resolve(self, caller: _Key, call: ast.Call) -> _Key | None:
        """The function of this project that a call means; None where that is not plain."""
        module = self.modules[caller.file]
        match call.func:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                owner = caller.name.rpartition(".")[0]
                return self._known(_Key(caller.file, f"{owner}.{name}"))
            case _:
                pass
        full = module.qualified(call.func)
        if not full:
            return None
        here = self._known(_Key(caller.file, full))
        if here is not None:
            return here
        last = full.rpartition(".")[2]
        candidates = [
            key
            for key in self._by_name.get(last, ())
            if _fits(full, self._dotted[key.file], key.name)
        ]
        return candidates[0] if len(candidates) == 1 else None

    def _known(self, key: _Key) -> _Key | None:
        return key if key in self.functions else None

    def bind(self, target: _Key, call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
        """Which argument becomes which parameter."""
        given = self.functions[target].args
        names = [one.arg for one in (*given.posonlyargs, *given.args)]
        if names and names[0] in ("self", "cls"):
            names = names[1:]
        for name, argument in zip(names, call.args, strict=False):
            if isinstance(argument, ast.Starred):
                break
            yield name, argument
        known = {*names, *(one.arg for one in given.kwonlyargs)}
        for keyword in call.keywords:
            if keyword.arg in known:
                yield keyword.arg, keyword.value


def find_flows(modules: Mapping[str, Module]) -> dict[str, list[RawFinding]]:
    """By file: the calls through which a request's data reaches something dangerous elsewhere.

    A finding stands where the data leaves the function that took it from the request; its message
    names every step to the place of the harm.
    """
    project = _Project(modules)
    beginnings: dict[_Key, list[_Handed]] = {}
    for key in project.functions:
        recorder = _Recorder(project, key)
        for _ in recorder.run():
            pass  # what one function shows by itself is the review's
        if recorder.handed:
            beginnings[key] = recorder.handed
    seen: dict[tuple[_Key, str], _Seen] = {}
    found: dict[str, list[RawFinding]] = defaultdict(list)
    for key, handed in beginnings.items():
        told: set[tuple[str, int, int]] = set()
        for first in handed:
            for path, sink in _reach(project, seen, first):
                place = (sink.rule, first.line, sink.line)
                if place not in told:
                    told.add(place)
                    found[key.file].append(_finding(first, path, sink))
    return found


def _reach(
    project: _Project, seen: dict[tuple[_Key, str], _Seen], first: _Handed
) -> Iterator[tuple[list[_Handed], RawFinding]]:
    """Breadth first, so that each sink is told with the shortest way to it."""
    queue = deque([[first]])
    visited = {(first.target, first.parameter)}
    while queue:
        path = queue.popleft()
        at = (path[-1].target, path[-1].parameter)
        if at not in seen:
            seen[at] = _look(project, *at)
        for sink in seen[at].sinks:
            yield path, sink
        for onward in seen[at].handed:
            place = (onward.target, onward.parameter)
            if place not in visited and len(path) < _LONGEST_CHAIN:
                visited.add(place)
                queue.append([*path, onward])


def _look(project: _Project, key: _Key, parameter: str) -> _Seen:
    """What happens in a function when one of its parameters carries a request's data."""
    recorder = _Recorder(project, key, {parameter: Taint.REQUEST})
    sinks = [raw for raw in recorder.run() if "from the request" in raw.message]
    return _Seen(sinks, recorder.handed)


def _finding(first: _Handed, path: list[_Handed], sink: RawFinding) -> RawFinding:
    through = " → ".join(f"{one.target.name}({one.parameter})" for one in path)
    where = f"{path[-1].target.file}, line {sink.line}"
    severity = Severity.CRITICAL if sink.rule in _CRITICAL else Severity.HIGH
    message = (
        f"`{first.text}` from the request goes through {through} and does its harm in {where}."
    )
    return RawFinding(
        engine="sutazai",
        code=f"{sink.rule}-across-functions",
        rule=sink.rule,
        line=first.line,
        column=first.column,
        end_line=first.line,
        message=message,
        description=message,
        severity=severity,
        confidence=Confidence.HIGH,
    )


def _dotted(file: str) -> tuple[str, ...]:
    parts = file.strip("/").removesuffix(".py").removesuffix(".pyi").split("/")
    return tuple(parts[:-1] if parts[-1] == "__init__" else parts)


def _fits(full: str, module: tuple[str, ...], name: str) -> bool:
    """Whether the dotted name of a call, with imports resolved, means a function of a module.

    The file lies at `src/shop/db.py` and is imported as `shop.db`: the call's name ends with the
    function's, and what is before it is an end of the file's path.
    """
    if not full.endswith(name) or full == name:
        return False
    before = full[: -len(name)].rstrip(".").split(".")
    return 0 < len(before) <= len(module) and tuple(before) == module[-len(before) :]
