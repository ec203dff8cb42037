"""The base that a review is compared with: the same, at the commit that `since` names."""

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from sutazai.agents.contract import AgentError
from sutazai.analysis.changes.history import Snapshot, write_snapshot
from sutazai.analysis.findings import Finding
from sutazai.analysis.globs import InputError
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.protocol import Place
from sutazai.analysis.reviewer import Reviewable
from sutazai.builtin_agents.code_input import CodeInput, named_here

_WHOLE = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")

Review = Callable[[Reviewable], Awaitable[Sequence[Finding]]]


async def add_base(
    answer: dict[str, Any],
    metadata: Mapping[str, Any],
    code: CodeInput,
    pool: AnalysisPool,
    review: Review,
) -> None:
    """Put what there was at the commit that `since` names into an answer, where it can be read.

    It is `since_base`, for the memory of findings to compare with and to take out. The commit is
    one of the `repository`, by its whole id, or of the workspace's own; any other can only be one
    that was reviewed before. Raises AgentError where the commit cannot be fetched.
    """
    commit = metadata.get("since")
    if not isinstance(commit, str):
        return
    if metadata.get("repository") is not None:
        if _WHOLE.fullmatch(commit) is None:
            return
        found = await _fetched({**metadata, "branch": commit}, code, review)
    else:
        if _COMMIT.fullmatch(commit) is None or metadata.get("code") is not None:
            return
        given = await _here(metadata, commit, code, pool, review)
        if given is None:
            return
        found = given
    answer["since_base"] = msgspec.to_builtins(list(found))


async def _fetched(
    metadata: Mapping[str, Any], code: CodeInput, review: Review
) -> Sequence[Finding]:
    try:
        async with code.opened(metadata) as given:
            return await _reviewed(given.what, review)
    except AgentError as error:
        message = f"`since`: {error.message}"
        raise AgentError(message, code=error.code, retryable=error.retryable) from None


async def _here(
    metadata: Mapping[str, Any], commit: str, code: CodeInput, pool: AnalysisPool, review: Review
) -> Sequence[Finding] | None:
    """What there was at a commit of the workspace's own repository; None where it has none such."""
    place = code.workspace
    if place is None:
        return None
    folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="since-")
    try:
        wanted = Snapshot(place=place, commit=commit, folder=folder.name)
        if (await pool.call(write_snapshot, wanted)).problem is not None:
            return None
        there = Place(root=folder.name, limits=place.limits)
        return await _reviewed(named_here(metadata, there).what, review)
    finally:
        await asyncio.to_thread(folder.cleanup)


async def _reviewed(what: Reviewable, review: Review) -> Sequence[Finding]:
    try:
        return await review(what)
    except InputError:
        return []  # what is named was not there yet
