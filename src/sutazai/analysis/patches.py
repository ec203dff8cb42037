"""Unified diffs that `git apply` and `patch -p1` take, applied again here as a check."""

import difflib
import re
from collections.abc import Iterator

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_NO_NEWLINE = "\\ No newline at end of file\n"


class PatchError(Exception):
    """A diff does not fit the text; the message says where."""


def unified(path: str, before: str | None, after: str) -> str:
    """The diff of one file below the root, empty where nothing changes; None for a new file."""
    path = path.lstrip("/")
    old = _lines(before or "")
    new = _lines(after)
    start = "/dev/null" if before is None else f"a/{path}"
    pieces = []
    for line in difflib.unified_diff(old, new, start, f"b/{path}", lineterm="\n"):
        pieces.append(line)
        if not line.endswith("\n"):
            pieces.append("\n" + _NO_NEWLINE)
    return "".join(pieces)


def applied(before: str, diff: str) -> str:
    """The text after a diff of one file, whose every line must fit. Raises PatchError."""
    old = _lines(before)
    new: list[str] = []
    at = 0
    for start, body in _hunks(diff):
        if start < at or start > len(old):
            raise PatchError(f"a hunk begins at line {start + 1}, out of order")
        new += old[at:start]
        at = start
        for line in body:
            kind, text = line[:1], line[1:]
            if kind != "+":
                if at >= len(old) or old[at] != text:
                    raise PatchError(f"line {at + 1} is another than the diff says")
                at += 1
            if kind != "-":
                new.append(text)
    return "".join([*new, *old[at:]])


def reversed_diff(diff: str) -> str:
    """The diff of one file that takes it back; for `applied`, which looks at hunks alone."""
    turned = []
    for line in _lines(diff):
        if found := _HUNK.match(line):
            old, new = (found[1], found[2] or "1"), (found[3], found[4] or "1")
            turned.append(f"@@ -{new[0]},{new[1]} +{old[0]},{old[1]} @@\n")
        elif line[:1] in "+-":
            turned.append(("-" if line[0] == "+" else "+") + line[1:])
        else:
            turned.append(line)
    return "".join(turned)


def _hunks(diff: str) -> Iterator[tuple[int, list[str]]]:
    start, body = -1, list[str]()
    for line in _lines(diff):
        if found := _HUNK.match(line):
            if start >= 0:
                yield start, body
            # A hunk without old lines names the line before it.
            start, body = int(found[1]) - (found[2] != "0"), []
        elif start >= 0 and line == _NO_NEWLINE:
            body[-1] = body[-1].removesuffix("\n")
        elif start >= 0:
            body.append(line)
    if start >= 0:
        yield start, body


def _lines(text: str) -> list[str]:
    # Not splitlines(): form feeds and the like end no line of a file.
    return re.findall(r"[^\n]*\n|[^\n]+\Z", text)
