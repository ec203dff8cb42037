"""Every command line that the documents show is one that there is, with the options it has."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from sutazai.cli.main import app

ROOT = Path(__file__).parents[3]
# `sutazai`, its words and options, to the end of the command, over escaped line ends.
_COMMAND = re.compile(r"(?:^|[(`$ ])sutazai ((?:[^\n`|;)\\]|\\\n)+)", re.MULTILINE)


def commands(text: str) -> Iterator[str]:
    """What follows `sutazai` in blocks, indented or fenced."""
    fenced = re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    for block in [*fenced, *indented]:
        for found in _COMMAND.finditer(block):
            yield found[1].replace("\\\n", " ").split(" -- ")[0]


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *(ROOT / "docs").glob("guides/*")],
    ids=lambda path: path.name,
)
def test_the_command_lines_that_a_document_shows_are_right(path: Path) -> None:
    for line in commands(path.read_text("utf-8")):
        known = typer.main.get_command(app)
        words = re.sub(r"'[^']*'|\"[^\"]*\"", "X", line).split()
        while words and hasattr(known, "commands"):
            word = words.pop(0)
            assert word in known.commands or word.startswith("-"), f"sutazai {line}"
            known = known.commands.get(word, known)
        options = {name for one in known.params for name in one.opts} | {"--help", "-h"}
        given = {word.split("=")[0] for word in words if re.fullmatch(r"--?[a-z][\w=-]*", word)}
        assert given <= options, f"sutazai {line}: {given - options}"
