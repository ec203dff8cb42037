"""Whether findings are true in the least that can be checked: each quotes the line it names."""

import io
import re
import tokenize
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_LONGEST_QUOTE = 400


def untrue(root: Path, issues: Iterable[Mapping[str, Any]]) -> list[str]:
    """The findings (`/file:line`) whose quote is not what stands in the workspace's file.

    Read here anew and by other means than the analysis reads, so that the two can disagree.
    """
    lines: dict[str, list[str]] = {}
    wrong = []
    for issue in issues:
        file = issue["file"]
        if file not in lines:
            lines[file] = _lines(root / file.lstrip("/"))
        if not _quotes(lines[file], issue["line"], issue["code"]):
            wrong.append(f"{file}:{issue['line']}")
    return wrong


def _quotes(lines: list[str], number: int, quote: str) -> bool:
    if not 1 <= number <= len(lines):
        return False
    line = lines[number - 1]
    # The middle of a secret is masked with as many asterisks.
    said = re.compile("".join("." if one == "*" else re.escape(one) for one in quote))
    if len(line) <= _LONGEST_QUOTE:
        return said.fullmatch(line) is not None
    return bool(quote.strip("*")) and said.search(line) is not None


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
    except OSError:
        return []
    encoding = "utf-8"
    if path.suffix in (".py", ".pyi"):
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        except SyntaxError:
            return []
    try:
        text = io.TextIOWrapper(io.BytesIO(content), encoding=encoding, newline=None).read()
    except UnicodeDecodeError:
        text = io.TextIOWrapper(io.BytesIO(content), encoding="latin-1", newline=None).read()
    return text.removeprefix("\ufeff").split("\n")
