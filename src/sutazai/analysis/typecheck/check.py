"""A type check of what a task names: mypy's findings, and a patch of annotations that holds."""

import ast
import tempfile
import tomllib
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sutazai.analysis.dependencies.imported import foreign_imports, own_modules
from sutazai.analysis.findings import Confidence, Finding, RawFinding, Severity
from sutazai.analysis.merge import merge
from sutazai.analysis.parsing import Module, parse
from sutazai.analysis.protocol import Unparsed
from sutazai.analysis.reading import take
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.source import Source, SourceError
from sutazai.analysis.typecheck.edits import unified
from sutazai.analysis.typecheck.functions import count
from sutazai.analysis.typecheck.inferring import Annotated, infer
from sutazai.analysis.typecheck.mypy import Checker, Message, Options

_NEWEST = "3.14"
# What fails when the line is run, as far as a checker can tell.
_HIGH = {"name-defined", "call-arg", "attr-defined", "abstract", "return", "used-before-def"}
# What says that types are missing, not that they are wrong.
_LOW = {
    "no-untyped-def",
    "no-untyped-call",
    "type-arg",
    "no-any-return",
    "no-any-unimported",
    "unused-ignore",
    "redundant-cast",
    "var-annotated",
    "untyped-decorator",
    "no-any-expr",
}
_ELSEWHERE = {"import-not-found", "import-untyped", "import"}


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to check. `strict` None takes the project's own word; `annotate`: infer annotations."""

    what: Reviewable
    strict: bool | None = None
    version: str | None = None
    annotate: bool = True


class Check(msgspec.Struct, kw_only=True):
    """Findings; the patch, empty where there is none; functions annotated before and after it."""

    findings: list[Finding]
    patch: str
    annotated: list[Annotated]
    rejected: int
    functions: int
    functions_annotated: int
    functions_annotated_after: int
    options: dict[str, Any]
    taken_as_any: list[str]
    files: int
    lines: int
    unparsed: list[Unparsed]
    skipped: list[Any]
    skipped_total: int


def check(request: CheckRequest) -> Check:
    """Check what a task names. Raises InputError where there is no Python in it."""
    taken = take(request.what)
    sources = {source.file: source for source in taken.sources if source.is_python}
    if not sources:
        raise taken.nothing("Python file")
    modules, unparsed = _parsed(sources)
    options = _options(request, taken.sources, modules)
    files = {file: sources[file].text for file in modules}
    trees = {file: tree for file, text in files.items() if (tree := _tree(text)) is not None}
    with tempfile.TemporaryDirectory(prefix="types-") as folder:
        checker = Checker(Path(folder), options)
        messages = checker.run(files) if files else []
        plain = {file: files[file] for file in trees}
        inferred = infer(checker, plain, trees) if request.annotate and plain else None
    changed = inferred.files if inferred else {}
    before = [count(tree) for tree in trees.values()]
    after = [count(ast.parse(changed.get(file, files[file]))) for file in trees]
    return Check(
        findings=_findings(messages, sources, modules, options),
        patch="".join(unified(file, files[file], changed[file]) for file in sorted(changed)),
        annotated=inferred.annotated if inferred else [],
        rejected=inferred.rejected if inferred else 0,
        functions=sum(one.functions for one in before),
        functions_annotated=sum(one.annotated for one in before),
        functions_annotated_after=sum(one.annotated for one in after),
        options={
            "strict": options.strict,
            "python_version": options.version,
            "plugins": "not loaded",
        },
        taken_as_any=_elsewhere(modules),
        files=len(sources),
        lines=sum(len(source.lines) for source in sources.values()),
        unparsed=unparsed,
        skipped=taken.skipped,
        skipped_total=taken.skipped_total,
    )


def _parsed(sources: Mapping[str, Source]) -> tuple[dict[str, Module], list[Unparsed]]:
    # mypy stops at the first file that it cannot parse, so none of these goes in.
    modules: dict[str, Module] = {}
    unparsed = []
    for file, source in sources.items():
        try:
            modules[file] = parse(source)
        except SourceError as error:
            unparsed.append(Unparsed(file=file, line=error.line, reason=error.reason))
    return modules, unparsed


def _tree(text: str) -> ast.Module | None:
    """As `ast` parses it here; None for syntax that is newer than this Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _options(
    request: CheckRequest, sources: list[Source], modules: Mapping[str, Module]
) -> Options:
    strict, version = request.strict, request.version
    for source in sources:
        if source.file in ("/pyproject.toml", "pyproject.toml") and strict is None:
            strict = _project_is_strict(source.text)
    newer = any(_tree(one.source.text) is None for one in modules.values())
    return Options(
        strict=bool(strict), version=version or (_NEWEST if newer else None), newer=newer
    )


def _project_is_strict(text: str) -> bool:
    try:
        said = tomllib.loads(text).get("tool", {}).get("mypy", {}).get("strict")
    except (tomllib.TOMLDecodeError, AttributeError, RecursionError):
        return False
    return said is True


def _findings(
    messages: list[Message],
    sources: Mapping[str, Source],
    modules: Mapping[str, Module],
    options: Options,
) -> list[Finding]:
    raws: dict[str, list[RawFinding]] = defaultdict(list)
    for one in messages:
        if one.severity != "error" or one.code in _ELSEWHERE or one.line < 1:
            continue
        raws[one.file].append(_raw(one, sources[one.file], options))
    found: list[Finding] = []
    for file, several in raws.items():
        # Two errors of one line are two findings.
        apart: Counter[int] = Counter()
        rounds: dict[int, list[RawFinding]] = defaultdict(list)
        for raw in several:
            rounds[apart[raw.line]].append(raw)
            apart[raw.line] += 1
        for group in rounds.values():
            found += merge(sources[file], modules[file], group)[0]
    found.sort(key=lambda one: one.sort_key)
    return found


def _raw(one: Message, source: Source, options: Options) -> RawFinding:
    code = one.code or "misc"
    severity = Severity.HIGH if code in _HIGH else Severity.MEDIUM
    if code in _LOW:
        severity = Severity.LOW
    line = source.lines[one.line - 1] if one.line <= len(source.lines) else ""
    # Ours count characters, mypy's count bytes.
    before = line.encode("utf-8", "surrogatepass")[: max(one.column, 0)]
    if options.newer and not line.isascii():
        before = b" " * (len(line) - len(line.lstrip()))
    hint = f" {one.hint}" if one.hint else ""
    return RawFinding(
        engine="mypy",
        code=code,
        rule="missing-type" if code in _LOW else "type-error",
        line=one.line,
        column=len(before.decode("utf-8", "replace")) + 1,
        end_line=max(one.line, one.end_line) if code not in _LOW else one.line,
        message=one.message + hint,
        description=_sentence(one.message) + hint,
        severity=severity,
        confidence=Confidence.HIGH,
    )


def _sentence(message: str) -> str:
    text = message.strip()
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _elsewhere(modules: Mapping[str, Module]) -> list[str]:
    """First names of what is imported from outside of the files that were checked."""
    own = own_modules(modules)
    return sorted({one.module for one in foreign_imports(modules, own)})
