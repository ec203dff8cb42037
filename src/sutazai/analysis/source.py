"""One file's content as every engine sees it: decoded once, with one kind of line ending."""

import codecs
import io
import re
import tokenize
from pathlib import PurePosixPath

import msgspec

MAX_QUOTE = 400
"""Characters of a line that a finding quotes at most."""

_PYTHON_SUFFIXES = {".py", ".pyi", ".pyw"}
_PYTHON_SHEBANG = re.compile(r"#!.{0,100}\bpython")
_TEST_FOLDERS = {"test", "tests", "testing", "conftest"}
# Codecs whose decoders are plain tables: others (utf-7, punycode, idna) can be slow or surprising.
_ENCODINGS = re.compile(
    r"(utf-?(8|16|32)(-sig|-le|-be)?|ascii|latin-?1|iso-?8859-?\d+|cp\d+|windows-?\d+|koi8-[rut]"
    r"|mac-?roman|big5|gbk|gb2312|gb18030|euc-(jp|kr)|shift-jis)$"
)


class SourceError(Exception):
    """The content cannot be taken as text; the message says why, `line` where (1 when unknown)."""

    def __init__(self, reason: str, line: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Decoded text: lines end in a bare newline, there is no byte order mark."""

    file: str
    text: str
    lines: list[str]
    is_python: bool
    is_test: bool


def excerpt(line: str, column: int) -> str:
    """The line, or the part of a very long one around `column` (from 1)."""
    if len(line) <= MAX_QUOTE:
        return line
    start = max(0, min(column - MAX_QUOTE // 2, len(line) - MAX_QUOTE))
    return line[start : start + MAX_QUOTE]


def read_source(file: str, content: bytes, language: str | None = None) -> Source:
    """Decode `content`. `language` overrules what the name says. Raises SourceError."""
    is_python = looks_python(file, content) if language is None else language == "python"
    try:
        encoding = _declared_encoding(content) if is_python else "utf-8"
        text = content.decode(encoding)
    except SourceError:
        if is_binary(content):
            raise SourceError("binary data, not text") from None
        raise
    except UnicodeDecodeError as error:
        if is_python and is_binary(content):
            raise SourceError("binary data, not text") from None
        if is_python:
            line = content.count(b"\n", 0, error.start) + 1
            raise SourceError(f"not valid {encoding}: {error.reason}", line) from None
        # Prose in an unknown 8-bit encoding still gets its secret scan; every byte has a meaning.
        text = content.decode("latin-1")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if is_python and "\x00" in text:
        raise SourceError("contains NUL characters", text.count("\n", 0, text.index("\x00")) + 1)
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return Source(
        file=file, text=text, lines=lines, is_python=is_python, is_test=looks_like_test(file)
    )


def looks_python(file: str, content: bytes) -> bool:
    """Whether the name, or the first line of a file without a suffix, says Python."""
    suffix = PurePosixPath(file).suffix.lower()
    if suffix:
        return suffix in _PYTHON_SUFFIXES
    return bool(_PYTHON_SHEBANG.match(content[:120].decode("latin-1")))


def looks_like_test(file: str) -> bool:
    """Whether a path is that of test code, by the usual names of files and folders."""
    path = PurePosixPath(file.lower())
    stem = path.stem
    named = stem.startswith("test_") or stem.endswith("_test") or stem in ("conftest", "tests")
    return named or any(part in _TEST_FOLDERS for part in path.parts[:-1])


def is_binary(content: bytes) -> bool:
    """Whether content is no text: NUL bytes near its start, without a UTF-16 or UTF-32 mark."""
    head = content[:8192]
    marked = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return b"\x00" in head and not marked


def _declared_encoding(content: bytes) -> str:
    try:
        name, _ = tokenize.detect_encoding(io.BytesIO(content[:4096]).readline)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise SourceError(f"unknown or invalid encoding: {error}") from None
    if not _ENCODINGS.match(name.lower().replace("_", "-")):
        raise SourceError(f"the declared encoding {name!r} is not one we read")
    return name
