"""The whole answer about a change: what runs in a worker."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import msgspec

from sutazai.analysis.changes.diffs import add_sides, read_diff
from sutazai.analysis.changes.history import read_range
from sutazai.analysis.changes.model import Change, Commit, FileChange, FileKind, Risk, SymbolChange
from sutazai.analysis.changes.risks import find_risks, redactor_of
from sutazai.analysis.changes.symbols import changed_symbols
from sutazai.analysis.engines.secrets import scan_text
from sutazai.analysis.globs import InputError
from sutazai.analysis.protocol import Place
from sutazai.analysis.redaction import Redactor
from sutazai.analysis.source import Source, looks_like_test
from sutazai.analysis.workspace import NotReadable, Workspace

_MOST_SYMBOLS = 2_000
_MOST_NAMED = 3
_MOST_EXCERPTS = 40
_LONGEST_EXCERPT = 6_000
_LONGEST_LINE = 300
_POINTS = {"high": 5, "medium": 2, "low": 1}
_WORDS = {
    "added": "added",
    "removed": "removed",
    "renamed": "renamed",
    "signature": "with another signature",
    "body": "with another body",
}
_VERBS = {
    "added": "Add",
    "removed": "Remove",
    "renamed": "Rename",
    "signature": "Change the signature of",
}
_PROSE = (".md", ".rst", ".txt")
_ADVICE = {
    "public-api": "Look for callers of what was renamed, removed or given another signature.",
    "secret": "Take the secret out, and replace it where it is used: history keeps it.",
    "dangerous-call": "See where the data of the new dangerous calls comes from.",
    "new-finding": "Look at what the reviewer's rules find in the new lines.",
    "security-sensitive": "Have somebody who knows the security of it read these lines.",
    "destructive-sql": "Make sure that what is dropped is backed up and used no more.",
    "migration": "Try the migration, and the way back, on a copy of real data.",
    "dependencies": "Check the new versions' licences and advisories, and the lock file.",
    "deployment": "Run the changed pipeline or image once before it is merged.",
    "concurrency": "Think through two of them at once, and one that dies in the middle.",
    "swallowed-error": "Ask which exceptions are meant; the others should be seen.",
    "check-removed": "Ask who checks now what these lines checked.",
    "tests-missing": "Ask for a test that fails without the change.",
    "tests-removed": "Ask what tests now what these tests tested.",
    "test-skipped": "Ask when the skipped tests come back.",
    "size": "Consider reviewing it in parts, the largest files first.",
    "left-over": "Take the left-overs out.",
    "rule-silenced": "Ask for the reason of each silenced complaint.",
    "binary": "Ask where the binary files come from.",
}


class SummaryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A diff, or a range of the workspace's commits; `excerpt` asks for some of its lines."""

    diff: str | None = None
    base: str | None = None
    head: str | None = None
    place: Place | None = None
    excerpt: bool = False


class FileSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One file: what became of it, and by how many lines."""

    file: str
    old_file: str | None
    change: str
    added: int
    removed: int
    is_test: bool
    sections: list[str]


class ChangeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What changed, what is risky, what to check, and the line for the changelog.

    `excerpt` has changed lines, some of each file, secrets masked; empty unless asked for.
    """

    summary: str
    files: list[FileSummary]
    symbols: list[SymbolChange]
    symbols_truncated: bool
    risks: list[Risk]
    level: str
    score: int
    checklist: list[str]
    changelog_kind: str | None
    changelog_line: str | None
    commits: list[Commit]
    base: str | None
    head: str | None
    left_out: list[str]
    excerpt: str = ""


def summarise_change(request: SummaryRequest) -> ChangeSummary:
    """Read the change and judge it. Raises InputError for what cannot be read."""
    change = _read(request)
    symbols: list[SymbolChange] = []
    unseen = 0
    for file in change.files:
        found = changed_symbols(file)
        if found is None and file.path.endswith(".py") and file.kind is not FileKind.BINARY:
            unseen += 1
        symbols += _masked(file, found or [])
    if unseen:
        change.left_out.append(f"In {unseen} Python files no syntax trees could be compared.")
    risks = find_risks(change.files, symbols)
    score = sum(_POINTS[one.level] for one in risks)
    kind, line = _changelog(change, symbols)
    return ChangeSummary(
        summary=_sentence(change, symbols, risks),
        files=[_file(one) for one in change.files],
        symbols=symbols[:_MOST_SYMBOLS],
        symbols_truncated=len(symbols) > _MOST_SYMBOLS,
        risks=risks,
        level=risks[0].level if risks else "low",
        score=score,
        checklist=_checklist(risks, symbols),
        changelog_kind=kind,
        changelog_line=line,
        commits=change.commits,
        base=change.base,
        head=change.head,
        left_out=change.left_out,
        excerpt=_excerpt(change.files) if request.excerpt else "",
    )


def _excerpt(files: Sequence[FileChange]) -> str:
    """The first changed lines of each file, as many of each as there is room for."""
    files = files[:_MOST_EXCERPTS]
    share = _LONGEST_EXCERPT // max(1, len(files))
    told: list[str] = []
    for file in files:
        redactor = redactor_of(file)
        room = share
        told.append(f"{file.kind.value} {file.path}")
        for sign, lines in (("-", file.removed), ("+", file.added)):
            # Half for what went, the rest for what came.
            until = room // 2 if sign == "-" else 0
            for line in lines:
                text = f"{sign}{redactor.text(line.text)[:_LONGEST_LINE]}"
                room -= len(text) + 1
                if room < until:
                    break
                told.append(text)
    return "\n".join(told)


def _read(request: SummaryRequest) -> Change:
    if request.diff is not None:
        change = read_diff(request.diff)
        if request.place is not None:
            workspace = Workspace(request.place.root, request.place.excluded, request.place.limits)
            add_sides(change, request.diff, lambda path: _text(workspace, path))
        return change
    if request.place is None or request.base is None or request.head is None:
        raise InputError("This server has no workspace; give the `diff` itself.")
    workspace = Workspace(request.place.root, request.place.excluded, request.place.limits)
    change = read_range(workspace, request.place.root, request.base, request.head)
    change.commits = [
        msgspec.structs.replace(one, subject=_without_secrets(one.subject))
        for one in change.commits
    ]
    return change


def _text(workspace: Workspace, path: str) -> str | None:
    parts = tuple(part.encode("utf-8", "replace") for part in path.split("/") if part)
    if not parts or b".." in parts or b"." in parts or workspace.excludes(parts):
        return None
    try:
        return workspace.read(parts).decode("utf-8").replace("\r\n", "\n")
    except (NotReadable, UnicodeDecodeError, ValueError):
        return None


def _without_secrets(text: str) -> str:
    source = Source(file="message", text=text, lines=[text], is_python=False, is_test=False)
    return Redactor(source, scan_text(source)).text(text)


def _masked(file: FileChange, symbols: list[SymbolChange]) -> list[SymbolChange]:
    redactor = redactor_of(file)
    return [
        msgspec.structs.replace(
            one,
            before=redactor.text(one.before) if one.before else one.before,
            after=redactor.text(one.after) if one.after else one.after,
        )
        for one in symbols
    ]


def _file(one: FileChange) -> FileSummary:
    return FileSummary(
        file=one.path,
        old_file=one.old_path if one.old_path != one.path else None,
        change=one.kind.value,
        added=len(one.added),
        removed=len(one.removed),
        is_test=looks_like_test(one.path),
        sections=list(dict.fromkeys(one.sections))[:20],
    )


def _sentence(change: Change, symbols: Sequence[SymbolChange], risks: Sequence[Risk]) -> str:
    added = sum(len(file.added) for file in change.files)
    removed = sum(len(file.removed) for file in change.files)
    noun = "file" if len(change.files) == 1 else "files"
    text = f"Changes {len(change.files)} {noun} (+{added} -{removed})"
    counts = Counter(one.change for one in symbols)
    parts = [f"{counts[kind]} {word}" for kind, word in _WORDS.items() if counts[kind]]
    if parts:
        text += f"; functions and classes: {', '.join(parts)}"
    levels = Counter(one.level for one in risks)
    if levels:
        text += "; risks: " + ", ".join(f"{levels[one]} {one}" for one in _POINTS if levels[one])
    return text


def _checklist(risks: Sequence[Risk], symbols: Sequence[SymbolChange]) -> list[str]:
    items = []
    for one in risks:
        shown = one.evidence[:_MOST_NAMED]
        places = [f"{at.file}:{at.line}" if at.line else at.file for at in shown]
        where = f" ({', '.join(dict.fromkeys(places))})" if places else ""
        items.append(f"{_ADVICE.get(one.rule, one.message)}{where}")
    breaking = [one for one in symbols if one.breaking]
    items += [f"`{one.symbol}`: {one.breaking}." for one in breaking[:20]]
    return items


def _changelog(change: Change, symbols: Sequence[SymbolChange]) -> tuple[str | None, str | None]:
    """The kind of Keep a Changelog and a line; nothing for what no user notices."""
    real = [file for file in change.files if not looks_like_test(file.path)]
    noticed = [file for file in real if PurePosixPath(file.path).suffix not in _PROSE]
    if not noticed:
        return None, None
    subjects = [one.subject for one in change.commits]
    public = [one for one in symbols if one.public and one.change != "body"]
    gone = [one for one in public if one.change == "removed"]
    new = [one for one in public if one.change == "added"]
    deprecated = any(
        "DeprecationWarning" in line.text or "@deprecated" in line.text
        for file in noticed
        for line in file.added
    )
    words = " ".join(subjects).lower()
    if any(word in words for word in ("cve-", "vulnerab", "security fix")):
        kind = "Security"
    elif deprecated:
        kind = "Deprecated"
    elif any(subject.lower().startswith(("fix", "bugfix", "hotfix")) for subject in subjects):
        kind = "Fixed"
    elif gone and not new:
        kind = "Removed"
    elif all(file.kind is FileKind.ADDED for file in noticed) or (
        new and not gone and not any(one.breaking for one in public)
    ):
        kind = "Added"
    else:
        kind = "Changed"
    if len(subjects) == 1:
        return kind, subjects[0].rstrip(".") + "."
    return kind, _facts(kind, public, noticed)


def _facts(kind: str, public: Sequence[SymbolChange], files: Sequence[FileChange]) -> str:
    parts: list[str] = []
    for change, verb in _VERBS.items():
        names = [f"`{one.symbol}`" for one in public if one.change == change]
        if names:
            parts.append(f"{verb.lower() if parts else verb} {_listed(names)}")
    if not parts:
        verb = "Add" if kind == "Added" else "Change"
        parts = [f"{verb} {_listed([f'`{one.path}`' for one in files])}"]
    return "; ".join(parts) + "."


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMED:
        return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
