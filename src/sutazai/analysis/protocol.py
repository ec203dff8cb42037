"""What the pool and its worker processes say to each other: length-prefixed msgpack."""

import struct
from typing import BinaryIO

import msgspec

from sutazai.analysis.findings import Finding
from sutazai.analysis.workspace import Limits, Skipped

HEADER = struct.Struct("<Q")
"""A message's length in bytes goes before it."""


class Inline(msgspec.Struct, frozen=True, kw_only=True):
    """Code given in the task itself. `language` overrules what the name says."""

    name: str
    content: bytes
    language: str | None = None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the workspace is and what in it must not be read; absolute paths."""

    root: str
    excluded: tuple[str, ...] = ()
    limits: Limits = Limits()


class FileRef(msgspec.Struct, frozen=True, kw_only=True):
    """One file to review: `parts` below the workspace's root, or `inline`.

    `key` names its review in the cache: a digest of content, name and analyser versions.
    """

    file: str
    size: int
    key: str
    parts: tuple[bytes, ...] = ()
    inline: Inline | None = None


class Collect(msgspec.Struct, tag=True, kw_only=True):
    """Find and digest the files that `patterns` and `inline` mean."""

    place: Place | None
    patterns: tuple[str, ...]
    inline: tuple[Inline, ...]


class Review(msgspec.Struct, tag=True, kw_only=True):
    """Review these files."""

    place: Place | None
    files: list[FileRef]


class Call(msgspec.Struct, tag=True, kw_only=True):
    """Run a function of ours: `module:name` below `sutazai.analysis`, its argument in msgpack."""

    function: str
    argument: bytes


class Unparsed(msgspec.Struct, frozen=True, kw_only=True):
    """A file that no parser could read, so that only part of the analysis covers it."""

    file: str
    line: int
    reason: str


class FileReview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything found in one file; what the cache keeps, unless `key` is empty.

    An empty key marks a review that may turn out better next time, such as one cut short. What is
    no Python is `only_scanned`, for secrets.
    """

    file: str
    key: str
    lines: int
    findings: list[Finding]
    suppressed: int = 0
    unparsed: Unparsed | None = None
    skipped: Skipped | None = None
    only_scanned: bool = False


class Collected(msgspec.Struct, tag=True, kw_only=True):
    """Answer to Collect. `analysers` maps each analyser to its version."""

    files: list[FileRef]
    skipped: list[Skipped]
    skipped_total: int
    analysers: dict[str, str]


class Progress(msgspec.Struct, tag=True, kw_only=True):
    """So far in the Review that is running: what has been finished since the last Progress."""

    files: int
    lines: int
    issues: int


class Reviewed(msgspec.Struct, tag=True, kw_only=True):
    """Answer to Review, in the order of its files."""

    files: list[FileReview]


class Returned(msgspec.Struct, tag=True, kw_only=True):
    """Answer to Call: what the function returned, in msgpack."""

    value: bytes


class Refused(msgspec.Struct, tag=True, kw_only=True):
    """The input cannot be used; the message is for the user."""

    message: str


class Failed(msgspec.Struct, tag=True, kw_only=True):
    """The worker met an error of its own."""

    message: str


Request = Collect | Review | Call
Answer = Collected | Progress | Reviewed | Returned | Refused | Failed

_encoder = msgspec.msgpack.Encoder()


def encode(message: Request | Answer) -> bytes:
    """One frame: length and body."""
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next body from a blocking stream; None at its end, even in the middle of a frame."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    body = stream.read(length)
    return body if len(body) == length else None
