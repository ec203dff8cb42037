"""Real repositories, made and fetched by the real git."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from sutazai.adapters.git import GitRepositories
from sutazai.adapters.git_sources import Sources
from sutazai.callbacks.guard import AddressGuard

MEGABYTE = 1024 * 1024
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    **{
        f"GIT_{who}_{what}": "author"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


class Origin(NamedTuple):
    """A repository to be fetched, with a working copy."""

    path: Path

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    def git(self, *arguments: str, given: bytes | None = None) -> str:
        """What git prints."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env=_ENVIRONMENT,
            input=given,
            capture_output=True,
            check=True,
        )
        return done.stdout.decode().strip()

    def commit(self, **files: str | bytes) -> str:
        """Commit these; the commit's id. `__` in a name stands for a slash, `_py` for `.py`."""
        for name, content in files.items():
            path = self.path / name.replace("__", "/").replace("_py", ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "-A")
        return self.record()

    def record(self) -> str:
        """Commit what was staged."""
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        return self.git("rev-parse", "HEAD")

    def stage(self, mode: str, content: bytes, name: str) -> None:
        """Put an entry into the index that need not exist as a file."""
        digest = self.git("hash-object", "-w", "--stdin", given=content)
        self.git("update-index", "--add", "--cacheinfo", f"{mode},{digest},{name}")


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """The folder below which repositories may be named."""
    path = tmp_path / "roots"
    path.mkdir()
    return path


@pytest.fixture
def origin(roots: Path) -> Origin:
    path = roots / "project"
    path.mkdir()
    made = Origin(path)
    made.git("init", "-q", "-b", "main")
    return made


async def no_address(host: str) -> list[str]:
    """A resolver that knows nobody."""
    raise OSError(host)


@pytest.fixture
def repositories(tmp_path: Path, roots: Path) -> GitRepositories:
    return make(tmp_path, roots)


def make(
    tmp_path: Path, roots: Path, *, most: int = 10 * MEGABYTE, keep: int = 100 * MEGABYTE
) -> GitRepositories:
    guard = AddressGuard(resolve=no_address)
    sources = Sources(guard=guard, hosts=["github.com"], roots=[str(roots)])
    return GitRepositories(
        folder=str(tmp_path / "cache"),
        sources=sources,
        most_bytes=most,
        keep_bytes=keep,
        seconds=60,
    )
