"""The port to repositories: code that a task names by a URL, as a folder to read."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from sutazai.analysis.workspace import Skipped


class Checkout(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one commit, in a folder that nobody changes.

    There are regular files only: what else the commit holds (submodules, links out of it, names
    that lead elsewhere, what is too large) is in `skipped`. `branch` is None for the default one.
    """

    root: str
    repository: str
    branch: str | None
    commit: str
    skipped: tuple[Skipped, ...] = ()


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Two commits of a repository with what lies between, in the `.git` of the folder `root`.

    `base` and `head` are commits' ids. There are no files beside it, and nobody changes it.
    """

    root: str
    repository: str
    base: str
    head: str


class RepositoryUnavailable(Exception):
    """The repository could not be fetched, but may be later; the message is for the user."""


class Repositories(Protocol):
    """Fetches repositories, and keeps what was fetched for the next task."""

    def checkout(self, url: str, branch: str | None) -> AbstractAsyncContextManager[Checkout]:
        """The newest commit of a branch, a tag, or the commit itself, for as long as it is held.

        Raises InputError for what may not or cannot be fetched, RepositoryUnavailable where it
        may work later.
        """
        ...

    def commits(self, url: str, base: str, head: str | None) -> AbstractAsyncContextManager[Range]:
        """A range of commits, for as long as it is held.

        Each is a branch, a tag or a commit's whole id, with `~` and `^` after it; None is where
        the default branch is. Raises as `checkout` does.
        """
        ...
