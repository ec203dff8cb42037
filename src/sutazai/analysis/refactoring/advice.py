"""All that is advised of one project, found in a worker process."""

import os
import tempfile
from pathlib import Path

import msgspec

from sutazai.analysis.complexity import Measured, measured
from sutazai.analysis.findings import Finding, RawFinding
from sutazai.analysis.globs import InputError
from sutazai.analysis.merge import merge
from sutazai.analysis.parsing import Module, parse
from sutazai.analysis.protocol import Unparsed
from sutazai.analysis.reading import take
from sutazai.analysis.refactoring.duplicates import Duplicate, duplicates
from sutazai.analysis.refactoring.fixing import Change, Fixer
from sutazai.analysis.refactoring.unused import unused
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.source import Source, SourceError
from sutazai.analysis.workspace import NotReadable, Skipped, Workspace

_COGNITIVE, _CYCLOMATIC, _LINES = 15, 20, 80


class Advice(msgspec.Struct, kw_only=True):
    """`tests` are the files that look like tests, wherever in the project they are."""

    findings: list[Finding]
    suppressed: int
    duplicates: list[Duplicate]
    complex: list[Measured]
    changes: list[Change]
    tests: list[str]
    files: int
    lines: int
    unparsed: list[Unparsed]
    skipped: list[Skipped]
    skipped_total: int


def advise(what: Reviewable) -> Advice:
    """Look at what is named; what uses it is looked for in all of the project.

    Raises InputError where there is no Python in what is named.
    """
    taken = take(what)
    wanted = {source.file: source for source in taken.sources if source.is_python}
    if not wanted:
        raise taken.nothing("Python file")
    project = _project(what, taken.sources)
    modules, unparsed = _parsed(project, wanted)
    copies = [
        one for one in duplicates(modules) if any(place.file in wanted for place in one.places)
    ]
    others = [source for source in project if not source.is_python or source.file not in modules]
    raws = unused(modules, others, set(wanted))
    for file, found in _told_copies(copies, wanted).items():
        raws.setdefault(file, []).extend(found)
    functions = [one for file in wanted if file in modules for one in measured(modules[file])]
    hard = sorted(filter(_is_hard, functions), key=lambda one: (-one.cognitive, one.file, one.line))
    for one in hard:
        raws.setdefault(one.file, []).append(_told_hard(one))
    findings, suppressed = [], 0
    for file, group in raws.items():
        merged, accepted = merge(modules[file].source, modules[file], group)
        findings += merged
        suppressed += accepted
    return Advice(
        findings=sorted(findings, key=lambda one: one.sort_key),
        suppressed=suppressed,
        duplicates=copies,
        complex=hard,
        changes=_changes(what, [wanted[file] for file in wanted if file in modules], project),
        tests=[one.file for one in project if one.is_python and _holds_tests(one)],
        files=len(wanted),
        lines=sum(len(source.lines) for source in wanted.values()),
        unparsed=unparsed,
        skipped=taken.skipped,
        skipped_total=taken.skipped_total,
    )


def _project(what: Reviewable, taken: list[Source]) -> list[Source]:
    """Everything, where the task names a part of it."""
    if what.place is None or not what.patterns:
        return taken
    try:
        whole = take(Reviewable(place=what.place)).sources
    except InputError:
        return taken  # too large to be looked at as a whole
    known = {source.file for source in whole}
    return [*whole, *(source for source in taken if source.file not in known)]


def _parsed(
    project: list[Source], wanted: dict[str, Source]
) -> tuple[dict[str, Module], list[Unparsed]]:
    modules, unparsed = {}, []
    for source in project:
        if source.is_python:
            try:
                modules[source.file] = parse(source)
            except SourceError as error:
                if source.file in wanted:
                    unparsed.append(
                        Unparsed(file=source.file, line=error.line, reason=error.reason)
                    )
    return modules, unparsed


def _told_copies(copies: list[Duplicate], wanted: dict[str, Source]) -> dict[str, list[RawFinding]]:
    found: dict[str, list[RawFinding]] = {}
    for one in copies:
        first = next(place for place in one.places if place.file in wanted)
        others = [place for place in one.places if place is not first]
        where = ", ".join(f"{place.file}:{place.line}" for place in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        same = "word for word" if one.exact else "but for names and constants"
        raw = RawFinding(
            engine="sutazai",
            code="duplicated-code",
            rule="duplicated-code",
            line=first.line,
            end_line=first.end_line,
            message=f"{one.statements} statements, {len(one.places)} copies",
            description=f"These {one.lines} lines stand again at {where}{more}, {same}.",
        )
        found.setdefault(first.file, []).append(raw)
    return found


def _is_hard(one: Measured) -> bool:
    return one.cognitive > _COGNITIVE or one.cyclomatic > _CYCLOMATIC or one.lines > _LINES


def _told_hard(one: Measured) -> RawFinding:
    over = [
        f"{what} {value} (over {most})"
        for what, value, most in (
            ("cognitive complexity", one.cognitive, _COGNITIVE),
            ("cyclomatic complexity", one.cyclomatic, _CYCLOMATIC),
            ("lines", one.lines, _LINES),
        )
        if value > most
    ]
    return RawFinding(
        engine="sutazai",
        code="too-complex",
        rule="too-complex",
        line=one.line,
        end_line=one.line,
        message=f"cognitive {one.cognitive}, cyclomatic {one.cyclomatic}, {one.lines} lines",
        description=f"`{one.name}` is hard to follow: {', '.join(over)}.",
    )


def _changes(what: Reviewable, sources: list[Source], project: list[Source]) -> list[Change]:
    fixable = [source for source in sources if _is_plain(what, source)]
    with tempfile.TemporaryDirectory(prefix="fixes-") as folder:
        return Fixer(fixable, project, Path(folder)).changes() if fixable else []


def _is_plain(what: Reviewable, source: Source) -> bool:
    """Whether the file's bytes are the text that we read: a patch would not fit any other."""
    try:
        text = source.text.encode()
    except UnicodeEncodeError:
        return False
    if what.place is None:
        return any(one.name == source.file and one.content == text for one in what.inline)
    parts = tuple(os.fsencode(part) for part in source.file.split("/") if part)
    try:
        return (
            Workspace(what.place.root, what.place.excluded, what.place.limits).read(parts) == text
        )
    except NotReadable:
        return False


def _holds_tests(source: Source) -> bool:
    name = source.file.rpartition("/")[2]
    return name.startswith("test_") or name.endswith("_test.py")
