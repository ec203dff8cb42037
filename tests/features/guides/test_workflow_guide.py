"""The guide to workflows does what it says: every block of it is run, in order."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sutazai_client import SutazAIClient

from tests.features.sdk.embedding import PASSWORD, served

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "guides" / "workflow.md"
_BLOCK = re.compile(r"^```(\S*)[ ]?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PATIENCE = 180


class Block(NamedTuple):
    """A fenced block: its language, the word behind that, its text, and where it begins."""

    language: str
    word: str
    text: str
    line: int


def blocks() -> list[Block]:
    text = GUIDE.read_text("utf-8")
    return [
        Block(match[1], match[2], match[3], text.count("\n", 0, match.start()) + 1)
        for match in _BLOCK.finditer(text)
    ]


class Reader:
    """Does what the guide says, in a folder of its own, as the admin of a server."""

    def __init__(self, folder: Path, client: SutazAIClient) -> None:
        self.folder = folder
        self.client = client
        bin_folder = Path(sys.executable).parent
        self.environment = {
            **os.environ,
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "XDG_CONFIG_HOME": str(folder / "config"),
            "SUTAZAI_URL": client.base_url,
            "SUTAZAI_TOKEN": client.token or "",
            "TOKEN": client.token or "",
            "COLUMNS": "120",
            "PYTHONIOENCODING": "utf-8",
        }

    def do(self, block: Block) -> str | None:
        """What the block prints; None for one that prints nothing by its nature."""
        match block.language, block.word:
            case ("yaml", name) if name:
                (self.folder / name).write_text(block.text, "utf-8")
            case "json", "steps":
                steps = json.loads(block.text)
                self.client.create_workflow(f"line {block.line}", steps)
            case "sh", "":
                # Variables last from one block to the next.
                keep = "\nexport -p > variables"
                before = ". ./variables\n" if (self.folder / "variables").exists() else ""
                return self._printed(["bash", "-euc", f"set -a\n{before}{block.text}{keep}"])
            case "python", "":
                return self._printed([sys.executable, "-c", block.text])
            case other:
                raise AssertionError(f"line {block.line}: nobody knows how to run {other}")
        return None

    def _printed(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def matches(shown: str, printed: str) -> bool:
    """Whether it was printed as the guide shows it; … stands for anything."""
    wanted = [_pattern(line) for line in shown.strip().splitlines()]
    found = [line.rstrip() for line in printed.strip().splitlines()]
    if wanted and wanted[-1] == _pattern("…"):
        wanted, found = wanted[:-1], found[: len(wanted) - 1]
    return len(wanted) == len(found) and all(
        re.fullmatch(one, line) for one, line in zip(wanted, found, strict=True)
    )


def _pattern(line: str) -> str:
    # How wide the columns are depends on what stands in them.
    words = re.split(r" {2,}", line.strip())
    return r" +".join(re.escape(word).replace("…", ".*") for word in words)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    folder = tmp_path / "folder"
    folder.mkdir()
    with served(tmp_path) as server, SutazAIClient(server.url) as client:
        shutil.copytree(ROOT / "examples" / "shop", server.workspace / "shop")
        client.login("admin", PASSWORD)
        yield Reader(folder, client)


def test_every_block_of_the_guide_is_run_and_prints_what_it_shows(reader: Reader) -> None:
    printed: str | None = None
    known = {"yaml", "json", "sh", "python", "text"}
    found = blocks()
    assert {block.language for block in found} == known
    for block in found:
        if block.language == "text":
            assert printed is not None
            assert matches(block.text, printed), f"line {block.line}: it printed\n{printed}"
            printed = None
        else:
            printed = reader.do(block)


@pytest.mark.parametrize(
    ("shown", "printed", "fine"),
    [
        ("a…  b", "a1 x   b", True),
        ("a  b", "a b", True),
        ("a  b", "a c", False),
        ("a\n…", "a\nb\nc", True),
        ("a\nb", "a\nb\nc", False),
        ("a\nb", "a", False),
    ],
)
def test_what_is_shown_is_compared(shown: str, printed: str, *, fine: bool) -> None:
    assert matches(shown, printed) is fine
