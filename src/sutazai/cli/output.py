"""Writing to a terminal what others wrote: nothing in it may steer the terminal."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_TAB = "    "


class Format(StrEnum):
    """How a command prints its answer."""

    TABLE = "table"
    JSON = "json"


class ReviewFormat(StrEnum):
    """How a review is printed: for people, for programs, for code scanning, for GitHub Actions."""

    TABLE = "table"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


def printable(text: str) -> str:
    r"""The text on one line, with every control and invisible character written out (`\x1b`).

    File contents, paths and messages come from others: an escape sequence in one could rewrite the
    screen, and a bidirectional mark could show code in another order than it runs.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character == "\t":
        return _TAB
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def out() -> "Console":
    """Standard output, for answers."""
    return _console(stderr=False)


def err() -> "Console":
    """Standard error, for progress and remarks, so that answers can be piped."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704  # rich calls it while handling the error, and would exit with 1

    stream = sys.stderr if stderr else sys.stdout
    if hasattr(stream, "reconfigure"):
        # A terminal that cannot show a character gets its code, not a crash.
        stream.reconfigure(errors="backslashreplace")
    return Terminal(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)


def print_json(value: Any) -> None:
    """Indented JSON, with nothing but ASCII in it."""
    print(json.dumps(value, indent=2))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table; the first column and ids stay whole, the others take what width is left."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=number == 0 or heading == "ID")
    for row in rows:
        table.add_row(*(Text(printable(_text(cell))) for cell in row))
    out().print(table)


def print_fields(pairs: Sequence[tuple[str, object]]) -> None:
    """Names with their values, one a line."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, Text(printable(_text(value))))
    out().print(table)


def age(moment: str) -> str:
    """How long ago a moment of the API was, such as `3 min`."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, dict):
        return json.dumps(value) if value else "-"
    return str(value)
