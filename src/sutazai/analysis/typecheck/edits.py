"""Small edits of source text by place, and patches made of them."""

import difflib
from collections.abc import Iterable
from typing import NamedTuple


class Edit(NamedTuple):
    """Replace what lies between two places with a text.

    Lines count from 1, columns from 0 in UTF-8 bytes, as in `ast`.
    """

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with edits applied that do not overlap; insertions at one place keep their order."""
    lines = [line.encode("utf-8", "surrogatepass") for line in text.split("\n")]
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    whole = b"\n".join(lines)
    done = b""
    at = 0
    for edit in sorted(edits, key=lambda one: (one.line, one.column)):
        begin = starts[edit.line - 1] + edit.column
        end = starts[edit.end_line - 1] + edit.end_column
        done += whole[at:begin] + edit.text.encode()
        at = end
    return (done + whole[at:]).decode("utf-8", "surrogatepass")


def unified(file: str, before: str, after: str) -> str:
    """A patch of one file, as `git apply` and `patch -p1` take it."""
    name = file.lstrip("/")
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )
