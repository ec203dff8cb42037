"""Unified diffs read into changes, with the sides of files that can be known."""

import re
from collections.abc import Callable
from typing import Any

from sutazai.analysis.changes.model import Change, FileChange, FileKind, Line
from sutazai.analysis.globs import InputError
from sutazai.analysis.patches import PatchError, applied, reversed_diff

MOST_BYTES = 8 * 1024 * 1024
_MOST_FILES = 2_000
_MARKS = re.compile(r"^(diff --git |--- |\+\+\+ |@@ )", re.MULTILINE)


def read_diff(text: str) -> Change:
    """The files of a diff as `git diff` or `diff -u` writes it. Raises InputError."""
    import unidiff

    if len(text) > MOST_BYTES:
        raise InputError(f"The diff has more than {MOST_BYTES:,} characters.")
    if not _MARKS.search(text):
        raise InputError("`diff` is no unified diff: it has no file or hunk headers.")
    try:
        patch = unidiff.PatchSet(text.replace("\r\n", "\n"))
    except unidiff.UnidiffParseError as error:
        raise InputError(f"`diff` cannot be read as a unified diff: {error}") from None
    if len(patch) > _MOST_FILES:
        raise InputError(f"The diff has {len(patch)} files; at most {_MOST_FILES} are read.")
    files = [_file(one) for one in patch]
    if not files:
        raise InputError("`diff` changes no file.")
    return Change(files=files)


def _file(one: Any) -> FileChange:
    old, new = _plain(one.source_file), _plain(one.target_file)
    change = FileChange(path=one.path, old_path=one.path, kind=FileKind.MODIFIED)
    if one.is_binary_file:
        change.kind = FileKind.BINARY
    elif one.is_added_file:
        change.kind = FileKind.ADDED
    elif one.is_removed_file:
        change.kind = FileKind.REMOVED
    elif one.is_rename and old and new:
        change.kind, change.path, change.old_path = FileKind.RENAMED, new, old
    for hunk in one:
        if hunk.section_header.strip():
            change.sections.append(hunk.section_header.strip()[:200])
        for line in hunk:
            text = line.value.rstrip("\n")
            if line.is_added:
                change.added.append(Line(number=line.target_line_no or 0, text=text))
            elif line.is_removed:
                change.removed.append(Line(number=line.source_line_no or 0, text=text))
    if change.kind is FileKind.ADDED:
        change.before, change.after = "", _joined(change.added)
    if change.kind is FileKind.REMOVED:
        change.before, change.after = _joined(change.removed), ""
    return change


def _joined(lines: list[Line]) -> str:
    return "".join(f"{line.text}\n" for line in lines)


def _plain(path: str | None) -> str:
    path = path or ""
    if path == "/dev/null":
        return ""
    return path[2:] if path.startswith(("a/", "b/")) else path


def add_sides(change: Change, diff: str, read: Callable[[str], str | None]) -> None:
    """Fill in the sides from files as they are now, be that before the diff or after it."""
    parts = _by_file(diff)
    for file in change.files:
        part = parts.get(file.path) or parts.get(file.old_path)
        if file.before is not None or file.kind is FileKind.BINARY or part is None:
            continue
        for path in dict.fromkeys((file.path, file.old_path)):
            now = read(path)
            if now is None:
                continue
            try:
                file.before, file.after = now, applied(now, part)
            except PatchError:
                try:
                    file.before, file.after = applied(now, reversed_diff(part)), now
                except PatchError:
                    continue
            break
    if any(file.before is None and file.kind is not FileKind.BINARY for file in change.files):
        change.left_out.append(
            "Of some files only the changed lines are known: they are not in the workspace, or "
            "neither as before the diff nor as after it."
        )


def _by_file(diff: str) -> dict[str, str]:
    """The hunks of each file, by its path."""
    parts: dict[str, list[str]] = {}
    current: list[str] | None = None
    old = ""
    for line in diff.replace("\r\n", "\n").split("\n"):
        if line.startswith("--- ") and not line.startswith("--- -"):
            old, current = _plain(line[4:].split("\t")[0]), None
        elif line.startswith("+++ ") and current is None:
            path = _plain(line[4:].split("\t")[0]) or old
            current = parts.setdefault(path, [])
        elif line.startswith("diff --git "):
            current = None
        elif current is not None:
            current.append(line)
    return {path: "\n".join(lines) for path, lines in parts.items()}
