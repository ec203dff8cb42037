"""The whole answer about a failure: what runs in a worker."""

import ast
import re
from collections.abc import Sequence

import msgspec

from sutazai.analysis.changes.diffs import read_diff
from sutazai.analysis.diagnosis.expressions import Failing, find_failing
from sutazai.analysis.diagnosis.origins import Spot
from sutazai.analysis.diagnosis.project import Located, Project, function_around, statement_at
from sutazai.analysis.diagnosis.reproducing import RecordedFrame, Reproduction
from sutazai.analysis.diagnosis.suspects import Suspect, Suspects
from sutazai.analysis.diagnosis.tracebacks import Failure, Frame, parse_failures
from sutazai.analysis.documentation.bodies import code
from sutazai.analysis.globs import InputError
from sutazai.analysis.protocol import Unparsed
from sutazai.analysis.quoting import quoted
from sutazai.analysis.reading import Taken, take
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.source import Source
from sutazai.analysis.workspace import Skipped

_MANY_FILES = 600
_MOST_VALUES = 30
_MOST_DIAGNOSED = 5
_WHERE = re.compile(r"(?:\+\s+)?(?:where|and) {1,3}(?P<value>.{1,200}?) = (?P<name>.{1,200})$")
_NAME = re.compile(r"[A-Za-z_]\w{2,}")


class DiagnosisRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A traceback, or a failure made to happen again, or both; `diff` is a recent change."""

    what: Reviewable
    text: str | None = None
    diff: str | None = None
    reproduction: Reproduction | None = None


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A value at the failing line; `source` is message, runner or run."""

    name: str
    value: str
    source: str


class ShownFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the failure, as it is in the source; `in_source` is whether it was found."""

    file: str
    line: int
    function: str
    code: str
    in_source: bool
    moved: bool


class ShownFailure(msgspec.Struct, frozen=True, kw_only=True):
    """One exception of the chain, with the calls that led to it, outermost first."""

    type: str
    message: str
    relation: str
    frames: list[ShownFrame]


class FailingPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The line and the expression that failed, and the part of it whose value does not fit."""

    file: str
    line: int
    function: str
    code: str
    expression: str | None
    culprit: str | None


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Where it failed, with which values, and who may be to blame."""

    summary: str
    failures: list[ShownFailure]
    failing: FailingPoint | None
    values: list[Value]
    cause_kind: str | None
    cause: str
    confidence: str
    suspects: list[Suspect]
    reproduced: bool | None
    skipped: list[Skipped]
    unparsed: list[Unparsed]
    files: int


def diagnose(request: DiagnosisRequest) -> Diagnosis:
    """Find the cause. Raises InputError where there is no failure to look at."""
    failures = parse_failures(_text(request))
    taken = take(request.what)
    project = Project(_relevant(taken, failures))
    changed = _changed(request.diff)
    main = _main(failures)
    looked = [_Looked(project, failure) for failure in failures]
    suspects: dict[tuple[str, int], Suspect] = {}
    for index, one in enumerate(looked[:_MOST_DIAGNOSED]):
        weight = 1.0 if failures[index] is main else 0.6
        for suspect in one.suspects(changed):
            key = (suspect.file, suspect.line)
            weighed = msgspec.structs.replace(suspect, score=round(suspect.score * weight, 2))
            if key not in suspects or suspects[key].score < weighed.score:
                suspects[key] = weighed
    ranked = sorted(suspects.values(), key=lambda one: (-one.score, one.file, one.line))[:15]
    point = looked[failures.index(main)]
    top = ranked[0] if ranked else None
    return Diagnosis(
        summary=_summary(main, point, top),
        failures=[one.shown() for one in looked],
        failing=point.failing_point(),
        values=_values(request, main, point),
        cause_kind=top.kind if top is not None and top.score > 1 else None,
        cause=top.reason if top is not None and top.score > 1 else _no_cause(point),
        confidence=_confidence(top),
        suspects=ranked,
        reproduced=_is_reproduced(request, main),
        skipped=taken.skipped,
        unparsed=project.unparsed,
        files=len(project.files),
    )


def _text(request: DiagnosisRequest) -> str:
    if request.text is not None:
        return request.text
    run = request.reproduction
    if run is None:
        raise InputError("Give a `traceback`, or a `command` or `test` that fails.")
    if run.text:
        return run.text
    output = run.output.strip()
    said = f" Its output ends with: {quoted(output[-300:])}" if output else ""
    if run.limit is not None:
        raise InputError(f"The limit of {run.limit} ended the command before it failed.{said}")
    if run.exit_code == 0:
        raise InputError("The command succeeds here; there is no failure to look at.")
    raise InputError(f"The command ended with {run.exit_code}, without an exception.{said}")


def _relevant(taken: Taken, failures: Sequence[Failure]) -> list[Source]:
    """The files to parse: all of them, or of very many those that speak of what failed."""
    python = [source for source in taken.sources if source.is_python]
    if len(python) <= _MANY_FILES:
        return python
    frames = [frame for failure in failures for frame in failure.frames]
    names = {name for frame in frames for name in _NAME.findall(f"{frame.code} {frame.function}")}
    ends = {frame.file.replace("\\", "/").rpartition("/")[2] for frame in frames}
    first = [source for source in python if source.file.rpartition("/")[2] in ends]
    pattern = re.compile(rf"\bdef (?:{'|'.join(map(re.escape, sorted(names)[:500]))})\b")
    others = [source for source in python if source not in first and pattern.search(source.text)]
    return [*first, *others][:_MANY_FILES]


def _changed(diff: str | None) -> dict[str, set[int]]:
    if diff is None:
        return {}
    return {file.path: {line.number for line in file.added} for file in read_diff(diff).files}


def _main(failures: Sequence[Failure]) -> Failure:
    """The failure to explain: what others were caused by, else the one that was not handled."""
    members = [one for one in failures if one.relation == "member" and one.frames]
    if members:
        return members[0]
    last = failures[-1]
    if last.relation == "cause":
        return failures[0]
    return last if last.frames else failures[0]


class _Looked:
    """One failure with its frames found in the source."""

    def __init__(self, project: Project, failure: Failure) -> None:
        self._project = project
        self.failure = failure
        self._located: list[tuple[Frame, Located | None]] = [
            (frame, project.locate(frame)) for frame in failure.frames
        ]
        self.calls: list[Spot] = []
        self.failing: Failing | None = None
        last: tuple[Frame, Located] | None = None
        for frame, found in self._located:
            if found is None:
                continue
            file = project.files[found.file]
            statement = statement_at(file, found.line)
            around = function_around(file, statement) if statement is not None else None
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                around = statement
            self.calls.append(Spot(file=file, line=found.line, function=around))
            last = frame, found
        if last is not None:
            frame, found = last
            self.failing = find_failing(project.files[found.file], found.line, frame, failure)
        self._last = last

    def suspects(self, changed: dict[str, set[int]]) -> list[Suspect]:
        """Who may be to blame for this one."""
        return Suspects(self._project, self.failure, self.calls, self.failing).ranked(changed)

    def failing_point(self) -> FailingPoint | None:
        """Where it failed; None where none of its frames is in the source."""
        if self._last is None:
            return None
        frame, found = self._last
        file = self._project.files[found.file]
        failing = self.failing
        expression = failing.expression if failing is not None else None
        culprit = failing.culprit if failing is not None else None
        mask = file.redactor.text
        return FailingPoint(
            file=found.file,
            line=found.line,
            function=frame.function,
            code=file.quote(found.line),
            expression=mask(code(expression).strip("`")) if expression is not None else None,
            culprit=mask(code(culprit).strip("`")) if culprit is not None else None,
        )

    def shown(self) -> ShownFailure:
        """This one in the result; what is in the source is quoted from there."""
        frames = []
        for frame, found in self._located:
            file = self._project.files[found.file] if found is not None else None
            frames.append(
                ShownFrame(
                    file=found.file if found is not None else _short(frame.file),
                    line=found.line if found is not None else frame.line,
                    function=frame.function,
                    code=file.quote(found.line) if file and found else quoted(frame.code),
                    in_source=found is not None,
                    moved=found is not None and found.moved,
                )
            )
        return ShownFailure(
            type=self.failure.type,
            message=quoted(self.failure.message),
            relation=self.failure.relation,
            frames=frames,
        )

    def names(self) -> list[str]:
        """The names in the failing statement, the culprit's first."""
        if self.failing is None:
            return []
        nodes: list[ast.AST] = []
        if self.failing.culprit is not None:
            nodes += ast.walk(self.failing.culprit)
        nodes += ast.walk(self.failing.statement)
        return list(dict.fromkeys(node.id for node in nodes if isinstance(node, ast.Name)))


def _short(path: str) -> str:
    """A path outside of the source; of installed packages the part that says which."""
    for mark in ("/site-packages/", "/dist-packages/"):
        if mark in path:
            return path.rpartition(mark)[2]
    return quoted(path)


def _values(request: DiagnosisRequest, main: Failure, point: _Looked) -> list[Value]:
    found: list[Value] = []
    if main.name == "KeyError" and main.message:
        found.append(Value(name="key", value=quoted(main.message), source="message"))
    for detail in main.details:
        where = _WHERE.search(detail)
        if where is not None:
            found.append(
                Value(name=quoted(where["name"]), value=quoted(where["value"]), source="runner")
            )
    recorded = _recorded(request.reproduction, point)
    if recorded is not None:
        first = [name for name in point.names() if name in recorded.values]
        rest = [name for name in recorded.values if name not in first]
        for name in [*first, *rest]:
            masked = quoted(f"{name} = {recorded.values[name]}").partition(" = ")[2]
            found.append(Value(name=name, value=masked, source="run"))
    return found[:_MOST_VALUES]


def _recorded(run: Reproduction | None, point: _Looked) -> RecordedFrame | None:
    """The frame of the run that is the failing one: the innermost of the same function."""
    if run is None or not point.calls:
        return None
    last = point.calls[-1]
    name = last.function.name if last.function is not None else "<module>"
    end = last.file.name.rpartition("/")[2]
    return next(
        (
            one
            for one in reversed(run.frames)
            if one.function == name and one.file.rpartition("/")[2] == end and one.values
        ),
        None,
    )


def _is_reproduced(request: DiagnosisRequest, main: Failure) -> bool | None:
    run = request.reproduction
    if run is None:
        return None
    if not run.text:
        return False
    return any(one.name == main.name for one in parse_failures(run.text))


def _summary(main: Failure, point: _Looked, top: Suspect | None) -> str:
    where = point.failing_point()
    message = quoted(main.message.split("\n")[0][:200])
    text = f"{main.name}: {message}" if message else main.name
    if where is not None:
        text += f", at {where.file}:{where.line} in {where.function}"
    if top is not None and top.score > 1:
        text += f". Probably {top.file}:{top.line}: {top.reason}"
    return text


def _no_cause(point: _Looked) -> str:
    if point.calls:
        return "Nothing in the source shows where the value comes from."
    return "None of the calls is in the source that was given."


def _confidence(top: Suspect | None) -> str:
    if top is None or top.score < 5:
        return "low"
    return "high" if top.score >= 8 else "medium"
