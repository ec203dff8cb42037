"""Annotations that mypy's own inference allows, kept only where the code still checks with them."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import msgspec

from sutazai.analysis.typecheck.annotation import Names, annotation
from sutazai.analysis.typecheck.edits import Edit, edited
from sutazai.analysis.typecheck.functions import (
    Open,
    open_functions,
    parameter_edit,
    return_edit,
)
from sutazai.analysis.typecheck.mypy import Checker, Message, import_roots

_ROUNDS = 3
_TRIES = 8
_LEAST_SECONDS = 20.0
_REVEALED = 'Revealed type is "'
_MOST_FUNCTIONS = 2_000


class Annotated(msgspec.Struct, frozen=True, kw_only=True):
    """One function that was annotated; `returns` and `parameters` as they are written."""

    file: str
    line: int
    function: str
    returns: str | None
    parameters: dict[str, str]


class Inferred(msgspec.Struct, kw_only=True):
    """The files with their new annotations (only those that changed), and which those are."""

    files: dict[str, str]
    annotated: list[Annotated]
    rejected: int


class _Candidate(msgspec.Struct, kw_only=True):
    """Annotations for one function, in the file as it was at the beginning."""

    of: Open
    returns: str | None = None
    parameters: dict[str, str] = {}

    @property
    def is_empty(self) -> bool:
        return self.returns is None and not self.parameters


def infer(checker: Checker, files: Mapping[str, str], trees: Mapping[str, ast.Module]) -> Inferred:
    """Annotate what can be: types that mypy reveals of results, defaults and calls.

    A candidate stays only if a check of all files with it finds no error that was not there
    before. `trees` are those of exactly these files.
    """
    functions = [
        one for file in sorted(files) for one in open_functions(file, files[file], trees[file])
    ][:_MOST_FUNCTIONS]
    if not functions:
        return Inferred(files={}, annotated=[], rejected=0)
    work = _Work(checker, files, trees, functions)
    for _ in range(_ROUNDS):
        if checker.seconds_left < _LEAST_SECONDS or not work.reveal():
            break
    rejected = work.verify()
    kept = [one for one in work.candidates if not one.is_empty]
    after = work.texts(kept)
    return Inferred(
        files={file: text for file, text in after.items() if text != files[file]},
        annotated=[
            Annotated(
                file=one.of.file,
                line=one.of.node.lineno,
                function=one.of.name,
                returns=one.returns,
                parameters=one.parameters,
            )
            for one in kept
        ],
        rejected=rejected,
    )


class _Work:
    def __init__(
        self,
        checker: Checker,
        files: Mapping[str, str],
        trees: Mapping[str, ast.Module],
        functions: Sequence[Open],
    ) -> None:
        self._checker = checker
        self._files = files
        self._trees = trees
        self._lines = {file: text.split("\n") for file, text in files.items()}
        self.candidates = [_Candidate(of=one, parameters={}) for one in functions]
        modules = _modules(files)
        self._names = {file: Names(modules[file], trees[file]) for file in files}
        self._calls = _calls(trees, functions)

    # --- what mypy knows

    def reveal(self) -> bool:
        """One round: have mypy reveal what is still open; whether that brought anything."""
        asked: dict[tuple[str, int, int], tuple[_Candidate, str | None]] = {}
        wrapped: dict[str, list[Edit]] = defaultdict(list)
        for one in self.candidates:
            for expression, parameter, file in self._wanted(one):
                place = (file, expression.lineno, expression.col_offset)
                if place in asked:
                    continue
                asked[place] = (one, parameter)
                wrapped[file] += _wrapping(expression)
        texts = {file: self._text(file, wrapped.get(file, ())) for file in self._files}
        for file in [file for file in wrapped if not _parses(texts[file])]:
            texts[file] = self._text(file, wrapped.pop(file) and ())
            asked = {place: what for place, what in asked.items() if place[0] != file}
        shifts = {file: _Shifts(self._edits(file, wrapped.get(file, ()))) for file in wrapped}
        found: dict[tuple[int, str | None], list[str]] = defaultdict(list)
        places = {
            (file, line, shifts[file].column(line, column) - nearer): (file, line, column)
            # Around a tuple without parentheses we write a pair of them, which is then its own.
            for nearer in (1, 0)
            for file, line, column in asked
        }
        numbers = {id(one): number for number, one in enumerate(self.candidates)}
        for message in self._checker.run(texts):
            at = places.get((message.file, message.line, message.column))
            if message.severity == "note" and message.message.startswith(_REVEALED) and at:
                candidate, parameter = asked[at]
                revealed = message.message.removeprefix(_REVEALED).rstrip('"')
                found[numbers[id(candidate)], parameter].append(revealed)
        return self._take(found)

    def _wanted(self, one: _Candidate) -> Iterator[tuple[ast.expr, str | None, str]]:
        if one.returns is None and one.of.returns and one.of.place:
            yield from ((expression, None, one.of.file) for expression in one.of.returns)
        for argument in one.of.parameters:
            if argument.arg in one.parameters:
                continue
            for file, expression in self._calls.get((id(one.of), argument.arg), ()):
                yield expression, argument.arg, file

    def _take(self, found: Mapping[tuple[int, str | None], list[str]]) -> bool:
        news = False
        for number, one in enumerate(self.candidates):
            names, line = self._names[one.of.file], one.of.node.lineno
            if one.returns is None and one.of.returns is not None and one.of.place:
                revealed = list(found.get((number, None), ()))
                silent = one.of.falls_through or one.of.bare_return
                complete = len(revealed) >= len(one.of.returns)
                # Who returns something here and nothing there is told by mypy to say so.
                if complete and not (silent and one.of.returns):
                    one.returns = annotation(revealed or ["None"], names, line)
                news = news or one.returns is not None
            for argument in one.of.parameters:
                if argument.arg not in one.parameters:
                    calls = self._calls.get((id(one.of), argument.arg), ())
                    revealed = list(found.get((number, argument.arg), ()))
                    default = one.of.defaults.get(argument.arg)
                    if len(revealed) < len(calls) or not (calls or default):
                        continue
                    if default is not None:
                        revealed.append(_of_default(default))
                    written = annotation(revealed, names, line)
                    # A default of None alone says nothing of what else is handed in.
                    if written and written != "None" and self._edit(one, argument, written):
                        one.parameters[argument.arg] = written
                        news = True
        return news

    def _edit(self, one: _Candidate, argument: ast.arg, written: str) -> Edit | None:
        default = one.of.defaults.get(argument.arg)
        return parameter_edit(self._lines[one.of.file], argument, default, written)

    # --- what holds

    def verify(self) -> int:
        """Drop candidates until the files check as they did before; how many were dropped."""
        before = _errors(self._checker.run(dict(self._files)))
        dropped = 0
        for attempt in range(_TRIES):
            live = [one for one in self.candidates if not one.is_empty]
            if not live:
                return dropped
            errors = _errors(self._checker.run(self.texts(live)))
            new = [
                several[0]
                for place, several in errors.items()
                if len(several) > len(before.get(place, ()))
            ]
            if not new:
                return dropped
            last = attempt == _TRIES - 1 or self._checker.seconds_left < _LEAST_SECONDS
            blamed = live if last else self._blamed(live, new)
            for one in blamed:
                one.returns, one.parameters = None, {}
            dropped += len(blamed)
        return dropped

    def _blamed(self, live: list[_Candidate], new: list[Message]) -> list[_Candidate]:
        blamed: dict[int, _Candidate] = {}
        for message in new:
            line = self._lines[message.file][message.line - 1] if message.line > 0 else ""
            near = [
                one
                for one in live
                if (one.of.file == message.file and message.line in one.of.lines)
                or one.of.name in line
            ]
            near = near or [one for one in live if one.of.file == message.file] or live
            blamed.update({id(one): one for one in near})
        return list(blamed.values())

    # --- the text

    def texts(self, candidates: Sequence[_Candidate]) -> dict[str, str]:
        """Every file with the annotations of these candidates."""
        edits: dict[str, list[Edit]] = defaultdict(list)
        for one in candidates:
            edits[one.of.file] += self._edits_of(one)
        return {file: edited(text, edits.get(file, ())) for file, text in self._files.items()}

    def _edits(self, file: str, more: Sequence[Edit]) -> list[Edit]:
        own = [
            edit for one in self.candidates if one.of.file == file for edit in self._edits_of(one)
        ]
        return [*own, *more]

    def _text(self, file: str, more: Sequence[Edit]) -> str:
        return edited(self._files[file], self._edits(file, more))

    def _edits_of(self, one: _Candidate) -> Iterator[Edit]:
        if one.returns is not None and one.of.place is not None:
            yield return_edit(one.of.place, one.returns)
        for argument in one.of.parameters:
            written = one.parameters.get(argument.arg)
            if written and (edit := self._edit(one, argument, written)):
                yield edit


class _Shifts:
    """Where a place of the old text stands in the new one, for edits that keep the lines."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        self._by_line: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for edit in edits:
            grown = len(edit.text.encode()) - (edit.end_column - edit.column)
            self._by_line[edit.line].append((edit.column, grown))

    def column(self, line: int, column: int) -> int:
        return column + sum(grown for at, grown in self._by_line[line] if at <= column)


def _wrapping(expression: ast.expr) -> list[Edit]:
    line, column = expression.lineno, expression.col_offset
    end_line, end_column = expression.end_lineno or line, expression.end_col_offset or column
    extra = isinstance(expression, ast.Tuple)
    return [
        Edit(line, column, line, column, "reveal_type((" if extra else "reveal_type("),
        Edit(end_line, end_column, end_line, end_column, "))" if extra else ")"),
    ]


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _of_default(default: ast.expr) -> str:
    """The type of a default that is a literal; of anything else one that cannot be written."""
    match default:
        case ast.Constant(value=None):
            return "None"
        case ast.Constant(value=bool() | int() | float() | str() | bytes() as value):
            return type(value).__name__
        case ast.UnaryOp(operand=ast.Constant(value=int() | float() as value)):
            return type(value).__name__
        case _:
            return "?"


def _errors(messages: Sequence[Message]) -> dict[tuple[str, int, str | None], list[Message]]:
    """By place and code: what a message says changes with the annotations around it."""
    found: dict[tuple[str, int, str | None], list[Message]] = defaultdict(list)
    for one in messages:
        if one.severity == "error":
            found[one.file, one.line, one.code].append(one)
    return found


def _modules(files: Mapping[str, str]) -> dict[str, str]:
    """The dotted name under which mypy knows each file."""
    roots = [PurePosixPath(root) for root in import_roots(file.lstrip("/") for file in files)]
    found = {}
    for file in files:
        path = PurePosixPath(file.lstrip("/"))
        root = next(root for root in roots if path.is_relative_to(root))
        parts = path.relative_to(root).with_suffix("").parts
        found[file] = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return found


def _calls(
    trees: Mapping[str, ast.Module], functions: Sequence[Open]
) -> dict[tuple[int, str], list[tuple[str, ast.expr]]]:
    """What is handed to each open parameter, for functions whose name stands for one thing only.

    A function that is handed on, or called with `*` or `**`, is left out: not all of its calls are
    plain to see.
    """
    by_name: dict[str, list[Open]] = defaultdict(list)
    for one in functions:
        by_name[one.name].append(one)
    defined: dict[str, int] = defaultdict(int)
    called: dict[str, list[tuple[str, ast.Call]]] = defaultdict(list)
    used: dict[str, int] = defaultdict(int)
    unplaced: set[int] = set()
    for file, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                # Before Python 3.12, what is inside of one does not know where it stands.
                unplaced.update(id(inner) for inner in ast.walk(node))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                defined[node.name] += 1
            elif isinstance(node, ast.Name):
                used[node.id] += 1
            elif isinstance(node, ast.Attribute):
                used[node.attr] += 1
            elif isinstance(node, ast.Call):
                name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
                if name in by_name:
                    called[name].append((file, node))
    found: dict[tuple[int, str], list[tuple[str, ast.expr]]] = defaultdict(list)
    for name, several in by_name.items():
        calls = called.get(name, [])
        if defined[name] != 1 or used[name] != len(calls) or name.startswith("__"):
            continue
        bound = [None if id(call) in unplaced else _bound(several[0], call) for _, call in calls]
        if any(one is None for one in bound):
            continue
        for (file, _), arguments in zip(calls, bound, strict=True):
            for parameter, expression in (arguments or {}).items():
                found[id(several[0]), parameter].append((file, expression))
    return found


def _bound(one: Open, call: ast.Call) -> dict[str, ast.expr] | None:
    """Parameter to argument; None for a call that does not show what goes where."""
    if any(isinstance(value, ast.Starred | ast.GeneratorExp) for value in call.args):
        return None
    if any(keyword.arg is None for keyword in call.keywords):
        return None
    given = one.node.args
    named = [value.arg for value in (*given.posonlyargs, *given.args)]
    if isinstance(call.func, ast.Attribute) and named and named[0] in ("self", "cls"):
        named = named[1:]
    if len(call.args) > len(named):
        return None
    bound = dict(zip(named, call.args, strict=False))
    bound |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    return bound
