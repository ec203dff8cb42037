"""What a task of any code agent names: inline code, files of the workspace, or a repository."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from sutazai.agents.contract import AgentError
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisError
from sutazai.analysis.protocol import Inline, Place
from sutazai.analysis.repositories import Checkout, Range, Repositories, RepositoryUnavailable
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.sandbox import SandboxUnavailable
from sutazai.analysis.workspace import Limits
from sutazai.errors import ErrorCode

_MAX_PATTERNS = 1_000
_INLINE_NAME = "inline.py"

# Fields that name files; several of them may be given, each a string or a list.
_PATH_FIELDS = ("file_path", "file", "files", "paths")


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """The code of one task.

    `what` is for the analysis. `root` is the folder that its files lie in, None for inline code,
    and `repository`, for the result, says which commit was read, None where it was no repository.
    """

    what: Reviewable
    root: str | None = None
    repository: dict[str, Any] | None = None


class CodeInput:
    """Opens what tasks name.

    `workspace` is the folder that tasks may name files in, None for none; `excluded` are absolute
    paths in it that no task may read, such as the data folder. Without `repositories`, none are
    fetched.
    """

    def __init__(
        self,
        *,
        workspace: str | None,
        excluded: Sequence[str] = (),
        repositories: Repositories | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._repositories = repositories
        self._place = (
            Place(
                root=str(Path(workspace).absolute()),
                excluded=tuple(excluded),
                limits=self._limits,
            )
            if workspace is not None
            else None
        )

    @property
    def workspace(self) -> Place | None:
        """The folder that tasks may name files in, None for none."""
        return self._place

    @asynccontextmanager
    async def commits(
        self, metadata: Mapping[str, Any], base: str, head: str | None
    ) -> AsyncIterator[Range]:
        """Two commits of the repository that `metadata` names; errors as in `opened`."""
        with _explained():
            fetching = self._fetching(metadata)
            url, branch = (_text(metadata, field) for field in ("repository", "branch"))
            async with fetching.commits(url or "", base, head or branch) as commits:
                yield commits

    @asynccontextmanager
    async def opened(self, metadata: Mapping[str, Any]) -> AsyncIterator[Given]:
        """The code that `metadata` names, there for as long as the context lasts.

        What goes wrong in it, with the input, the analysis or the sandbox, becomes an AgentError.
        """
        with _explained():
            if metadata.get("repository") is None:
                yield named_here(metadata, self._place)
            else:
                fetching = self._fetching(metadata)
                url, branch = (_text(metadata, field) for field in ("repository", "branch"))
                async with fetching.checkout(url or "", branch) as checkout:
                    yield self._fetched(metadata, checkout)

    def _fetching(self, metadata: Mapping[str, Any]) -> Repositories:
        if self._repositories is None:
            raise InputError("No `repository` is fetched here; give `code` or `files`.")
        if metadata.get("code") is not None:
            raise InputError("Give either `code` or `repository`.")
        return self._repositories

    def _fetched(self, metadata: Mapping[str, Any], checkout: Checkout) -> Given:
        place = Place(root=checkout.root, limits=self._limits)
        return Given(
            what=Reviewable(place=place, patterns=_patterns(metadata)),
            root=checkout.root,
            repository={
                "url": checkout.repository,
                "branch": checkout.branch,
                "commit": checkout.commit,
                "skipped": msgspec.to_builtins(checkout.skipped),
            },
        )


@contextmanager
def _explained() -> Iterator[None]:
    """What goes wrong with the input, the analysis or the sandbox, as an AgentError."""
    try:
        yield
    except InputError as error:
        raise AgentError(str(error)) from None
    except AnalysisError as error:
        raise AgentError(str(error), code=ErrorCode.INTERNAL_ERROR, retryable=True) from None
    except RepositoryUnavailable as error:
        raise AgentError(str(error), code=ErrorCode.SERVICE_UNAVAILABLE, retryable=True) from None
    except SandboxUnavailable as error:
        raise AgentError(str(error), code=ErrorCode.SERVICE_UNAVAILABLE) from None


def named_here(metadata: Mapping[str, Any], place: Place | None) -> Given:
    """What a task names that nothing has to be fetched for. Raises InputError."""
    patterns, language = _patterns(metadata), _text(metadata, "language")
    if metadata.get("code") is not None:
        return Given(what=Reviewable(inline=(_inline(metadata["code"], language, patterns),)))
    if place is None:
        raise InputError("This server has no workspace; give the code itself as `code`.")
    return Given(what=Reviewable(place=place, patterns=patterns), root=place.root)


def _inline(code: Any, language: str | None, patterns: tuple[str, ...]) -> Inline:
    if not isinstance(code, str):
        raise InputError("`code` must be a string.")
    if not code.strip():
        raise InputError("`code` is empty: give the code itself, or name `files`.")
    if len(patterns) > 1:
        raise InputError("With `code`, at most one file name may be given.")
    try:
        content = code.encode()
    except UnicodeEncodeError:
        raise InputError("`code` is not valid Unicode: it holds a lone surrogate.") from None
    name = patterns[0] if patterns else _INLINE_NAME
    # Without a name or language, code given to an agent for Python is Python.
    known = language.lower() if language else ("python" if not patterns else None)
    return Inline(name=name, content=content, language=known)


def _text(metadata: Mapping[str, Any], field: str) -> str | None:
    value = metadata.get(field)
    if value is not None and not isinstance(value, str):
        raise InputError(f"`{field}` must be a string.")
    return value.strip() or None if value is not None else None


def _patterns(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    found = [pattern for field in _PATH_FIELDS for pattern in _listed(metadata, field)]
    if len(found) > _MAX_PATTERNS:
        raise InputError(f"`files` names {len(found)} paths; at most {_MAX_PATTERNS} are taken.")
    return tuple(found)


def _listed(metadata: Mapping[str, Any], field: str) -> list[str]:
    value = metadata.get(field)
    if value is None:
        return []
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise InputError(f"`{field}` must be a path or a list of paths.")
    if not values or not all(item.strip() for item in values):
        told = "is empty" if value in ([], "") else "holds an empty path"
        raise InputError(
            f"`{field}` {told}: give paths or globs such as `src/**/*.py`, or leave it out for the "
            "whole workspace."
        )
    return values
