"""Parts of files for a language model to look at, without their secrets, and its repairs tried on.

Runs in worker processes, by `AnalysisPool.call`.
"""

import ast
import codecs
import difflib
import re
from collections.abc import Iterator, Sequence

import msgspec

from sutazai.analysis.engines.secrets import scan_text
from sutazai.analysis.hiding import hidden_by
from sutazai.analysis.parsing import Module, parse
from sutazai.analysis.reading import Taken, contents, decoded
from sutazai.analysis.redaction import Redactor
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.rules.secrets import find_secrets
from sutazai.analysis.source import Source, SourceError

MOST_LINES = 60
"""Lines of one excerpt."""

_MOST_LETTERS = 4_000
_AROUND = 12
_MOST_REPLACED = 30
_SILENCES = re.compile(
    r"(?i:#\s*(?:noqa|nosec|sutazai:|type:\s*ignore|pyright:|pylint:))|\bAny\b|\bcast\("
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_ROUTES = re.compile(r"^(route|get|post|put|patch|delete|websocket|api_view|action|mutation)$")
_TOUCHES = re.compile(
    r"^(execute|executemany|query|filter|get_or_404|save|delete|update|send_file|open|unlink|transfer"
    r"|charge|refund|set_password|login|authenticate)$"
)
_GIVEN = frozenset({"request", "user", "user_id", "account_id", "order_id", "session", "payload"})


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a file; with `last`, exactly the lines to that one."""

    file: str
    line: int
    last: int | None = None


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Excerpts around `places`, and `functions` more that are worth a look of their own."""

    what: Reviewable
    places: tuple[Place, ...]
    functions: int = 0


class Excerpt(msgspec.Struct, frozen=True, kw_only=True):
    """Lines `start` to `end` of a file, secrets masked."""

    file: str
    start: int
    end: int
    lines: tuple[str, ...]

    @property
    def numbered(self) -> str:
        """As text, each line with its number."""
        return "\n".join(f"{self.start + at}| {line}" for at, line in enumerate(self.lines))

    def line_of(self, quote: str, near: int) -> int | None:
        """The line that a quote is of, the nearest to a number; None where no line reads so."""
        wanted = quote.strip()
        numbered = enumerate(self.lines, self.start)
        found = [number for number, line in numbered if wanted and line.strip() == wanted]
        return min(found, key=lambda number: abs(number - near), default=None)


class Excerpts(msgspec.Struct, kw_only=True):
    """One for each place, None where the file or the line is gone; and the functions."""

    places: list[Excerpt | None]
    functions: list[Excerpt]


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """Lines `first` to `last` of a file, to be replaced."""

    what: Reviewable
    file: str
    first: int
    last: int
    replacement: str


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """The file with the repair, and the repair as a unified diff; or why it cannot be made."""

    content: bytes = b""
    patch: str = ""
    problem: str | None = None


def cut(wanted: Wanted) -> Excerpts:
    """The excerpts. Raises InputError where what is wanted cannot be read any more."""
    sources = {source.file: source for source in _sources(wanted.what)}
    looked = {file: _Looked(source) for file, source in sources.items()}
    places = []
    for place in wanted.places:
        one = looked.get(place.file)
        places.append(one.at(place) if one is not None else None)
    found = [
        (score, one, function)
        for one in looked.values()
        if wanted.functions and not one.source.is_test
        for score, function in one.worth_a_look()
    ]
    found.sort(key=lambda told: (-told[0], told[1].source.file, told[2].lineno))
    functions = [one.excerpt_of(function) for _, one, function in found[: wanted.functions]]
    return Excerpts(places=places, functions=functions)


def repair(wanted: Repair) -> Repaired:
    """Try a repair on; nothing is written."""
    taken = Taken()
    found = [one for one in contents(wanted.what, taken) if one.file == wanted.file]
    source = decoded(found[0], taken) if found else None
    if source is None:
        return Repaired(problem="the file is gone")
    if b"\r" in found[0].content or not _is_utf8(found[0].content):
        return Repaired(problem="the file has another encoding or other ends of lines than a patch")
    first, last = wanted.first, wanted.last
    if not 1 <= first <= last <= len(source.lines) or last - first >= _MOST_REPLACED:
        return Repaired(problem="it names lines that are not there, or too many")
    replacement = wanted.replacement.strip("\n").split("\n")
    if len(replacement) > _MOST_REPLACED + last - first:
        return Repaired(problem="it is too long")
    if _silences(replacement) > _silences(source.lines[first - 1 : last]):
        return Repaired(problem="it silences what it should repair")
    after = [*source.lines[: first - 1], *replacement, *source.lines[last:]]
    end = "\n" if source.text.endswith("\n") else ""
    before, text = source.text, "\n".join(after) + end
    if before == text:
        return Repaired(problem="it changes nothing")
    if source.is_python:
        try:
            trees = ast.parse(before), ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            return Repaired(problem="it is no Python, or repairs what is none")
        if _statements(trees[1]) < _statements(trees[0]):
            # The finding would be gone with what it was about.
            return Repaired(problem="it takes code away")
        if (hidden := hidden_by(*trees)) is not None:
            return Repaired(problem=f"it could hide what it should repair: it brings {hidden}")
    patch = _patch(source.file.removeprefix("/"), before, text)
    redactor = _redactor(source, _parsed(source))
    # What is masked in the excerpt would be written into the file as asterisks, and what is masked
    # in the patch would not apply.
    if redactor.text(patch) != patch or any("****" in line for line in replacement):
        return Repaired(problem="it would have to quote a secret")
    return Repaired(content=text.encode(), patch=patch)


def _statements(tree: ast.Module) -> int:
    """How many statements do something."""
    return sum(isinstance(node, ast.stmt) and not _does_nothing(node) for node in ast.walk(tree))


def _does_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _silences(lines: Sequence[str]) -> int:
    return sum(len(_SILENCES.findall(line)) for line in lines)


def _patch(name: str, before: str, after: str) -> str:
    told = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    unended = "\n\\ No newline at end of file\n"
    return "".join(line if line.endswith("\n") else line + unended for line in told)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return not content.startswith(codecs.BOM_UTF8)


def _sources(what: Reviewable) -> Iterator[Source]:
    taken = Taken()
    for one in contents(what, taken):
        source = decoded(one, taken)
        if source is not None:
            yield source


def _parsed(source: Source) -> Module | None:
    if not source.is_python:
        return None
    try:
        return parse(source)
    except (SourceError, RecursionError):
        return None


def _redactor(source: Source, module: Module | None) -> Redactor:
    own = list(find_secrets(module)) if module is not None else []
    return Redactor(source, [*scan_text(source), *own])


class _Looked:
    """A file that excerpts are cut from."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._module = _parsed(source)
        self._redactor = _redactor(source, self._module)

    def at(self, place: Place) -> Excerpt | None:
        """The lines that a place means, or what is around it; None where the line is gone."""
        if place.last is None or not 1 <= place.line <= len(self.source.lines):
            return self.around(place.line)
        return self._excerpt(place.line, min(place.last, place.line + MOST_LINES - 1))

    def around(self, line: int) -> Excerpt | None:
        """The innermost function around a line, or else some lines before and after it."""
        if not 1 <= line <= len(self.source.lines):
            return None
        holding = [
            function
            for function in self._functions()
            if _start(function) <= line <= (function.end_lineno or function.lineno)
        ]
        if holding:
            innermost = max(holding, key=lambda function: function.lineno)
            start, end = _start(innermost), innermost.end_lineno or innermost.lineno
            if end - start < MOST_LINES:
                return self._excerpt(start, end)
        return self._excerpt(line - _AROUND, line + _AROUND)

    def excerpt_of(self, function: _Function) -> Excerpt:
        start = _start(function)
        end = min(function.end_lineno or start, start + MOST_LINES - 1)
        return self._excerpt(start, end)

    def worth_a_look(self) -> Iterator[tuple[int, _Function]]:
        """Functions that take what users send or touch what is worth guarding, best first."""
        for function in self._functions():
            length = (function.end_lineno or function.lineno) - function.lineno
            score = _score(function)
            if score and 2 <= length <= MOST_LINES:
                yield score, function

    def _functions(self) -> Iterator[_Function]:
        if self._module is not None:
            yield from self._module.of(ast.FunctionDef)
            yield from self._module.of(ast.AsyncFunctionDef)

    def _excerpt(self, start: int, end: int) -> Excerpt:
        start, end = max(1, start), min(len(self.source.lines), end)
        lines: list[str] = []
        letters = 0
        for number in range(start, end + 1):
            line = self._redactor.line(number)[:400]
            letters += len(line)
            if letters > _MOST_LETTERS and lines:
                break
            lines.append(line)
        return Excerpt(
            file=self.source.file, start=start, end=start + len(lines) - 1, lines=tuple(lines)
        )


def _start(function: _Function) -> int:
    return min([function.lineno, *(one.lineno for one in function.decorator_list)])


def _score(function: _Function) -> int:
    score = 0
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        score += 4 * bool(_ROUTES.match(name))
    arguments = {one.arg for one in (*function.args.args, *function.args.kwonlyargs)}
    score += 2 * bool(arguments & _GIVEN)
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if _TOUCHES.match(name):
                return score + 2
    return score
