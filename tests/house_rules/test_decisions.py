"""Decisions are short, numbered, and name what keeps them true."""

import re
from pathlib import Path

import pytest

from tests.house_rules.tree import ROOT

FILES = sorted((ROOT / "docs/decisions").glob("*.md"))
SECTIONS = ["Context", "Decision", "Consequences", "Enforced by"]
STATUS = re.compile(
    r"^Status: (proposed|accepted|superseded by \[\d{4}\]\(\S+\)), \d{4}-\d\d-\d\d$"
)
ONE_SCREEN = 60


def test_they_are_numbered_without_a_gap() -> None:
    assert FILES
    assert [path.name[:4] for path in FILES] == [f"{n:04}" for n in range(1, len(FILES) + 1)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_each_has_its_parts_on_one_screen(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert re.fullmatch(rf"# {int(path.name[:4])}\. \S.*", lines[0])
    assert STATUS.match(lines[2])
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == SECTIONS
    assert len(lines) <= ONE_SCREEN


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_each_names_what_enforces_it_and_that_exists(path: Path) -> None:
    section = path.read_text("utf-8").partition("## Enforced by")[2]
    named = re.findall(r"`([\w./-]+/[\w./-]+|\w+\.toml|Makefile)`", section)
    assert named, "name a file or a folder in backticks"
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing
