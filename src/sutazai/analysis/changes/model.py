"""A change as plain data: files with their lines and, where there are any, both of their sides."""

from enum import StrEnum

import msgspec


class FileKind(StrEnum):
    """What became of a file."""

    ADDED = "added"
    REMOVED = "removed"
    MODIFIED = "modified"
    RENAMED = "renamed"
    BINARY = "binary"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A changed line; `number` counts in the old file for removed lines, else in the new one."""

    number: int
    text: str


class FileChange(msgspec.Struct, kw_only=True):
    """One file; `before` and `after` are its whole sides, None where they are not known."""

    path: str
    old_path: str
    kind: FileKind
    added: list[Line] = []
    removed: list[Line] = []
    sections: list[str] = []
    """What the diff names as the functions around its hunks."""
    before: str | None = None
    after: str | None = None


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One commit of a range, newest first."""

    commit: str
    subject: str


class Change(msgspec.Struct, kw_only=True):
    """All of it; `base` and `head` are commits where it is a range."""

    files: list[FileChange]
    commits: list[Commit] = []
    base: str | None = None
    head: str | None = None
    left_out: list[str] = []
    """Why some sides are missing, a sentence each."""


class SymbolChange(msgspec.Struct, frozen=True, kw_only=True):
    """One function, class or method that is another than before; lines are None where it is not."""

    change: str
    kind: str
    symbol: str
    file: str
    line: int | None
    old_line: int | None
    before: str | None
    after: str | None
    public: bool
    breaking: str = ""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the change, as evidence; `side` is new or old."""

    file: str
    line: int
    side: str
    text: str


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """Something to look at: `level` is high, medium or low."""

    rule: str
    level: str
    message: str
    evidence: list[Place]
    occurrences: int
