"""The files of the repository, as the house rules look at them."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_BINARY = {".png", ".jpg", ".ico", ".gif", ".woff2", ".db", ".gz", ".zip", ".pyc"}


def _ignored_directories() -> set[str]:
    lines = (ROOT / ".gitignore").read_text("utf-8").split()
    return {".git", "node_modules"} | {line.rstrip("/") for line in lines if line.endswith("/")}


def _walk() -> Iterator[Path]:
    ignored = _ignored_directories()
    for directory, subdirectories, names in os.walk(ROOT):
        subdirectories[:] = sorted(set(subdirectories) - ignored)
        # In a worktree `.git` is a file, which says where the repository is.
        yield from (Path(directory, name) for name in sorted(set(names) - {".git"}))


@cache
def text_files() -> list[Path]:
    """Every text file that is, or could be, committed."""
    return [path for path in _walk() if path.suffix not in _BINARY and not path.is_symlink()]


@cache
def python_files(*roots: str) -> list[Path]:
    """The Python files below these folders of the repository."""
    wanted = [ROOT / root for root in roots]
    return [
        path
        for path in text_files()
        if path.suffix == ".py" and any(path.is_relative_to(root) for root in wanted)
    ]


def shown(path: Path, line: int | None = None) -> str:
    """The path as an editor opens it."""
    relative = path.relative_to(ROOT).as_posix()
    return relative if line is None else f"{relative}:{line}"


def report(found: list[str]) -> str:
    """The violations, one a line."""
    return "\n".join(["", *found])
