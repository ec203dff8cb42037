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
