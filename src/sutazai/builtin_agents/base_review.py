"""The base that a review is compared with: the same, at the commit that `since` names."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from sutazai.agents.contract import AgentError
from sutazai.analysis.findings import Finding
from sutazai.analysis.globs import InputError
from sutazai.analysis.reviewer import Reviewable
from sutazai.builtin_agents.code_input import CodeInput

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

Review = Callable[[Reviewable], Awaitable[Sequence[Finding]]]


async def add_base(
    answer: dict[str, Any], metadata: Mapping[str, Any], code: CodeInput, review: Review
) -> None:
    """Put what there was at the commit of a `repository` that `since` names into an answer.

    It is `since_base`, for the memory of findings to compare with and to take out. A shortened id
    can only be that of a commit which was reviewed before. Raises AgentError where the commit
    cannot be fetched.
    """
    commit = metadata.get("since")
    if metadata.get("repository") is None or not isinstance(commit, str):
        return
    if _COMMIT.fullmatch(commit) is None:
        return
    try:
        async with code.opened({**metadata, "branch": commit}) as given:
            try:
                found = await review(given.what)
            except InputError:
                found = []  # what is named was not there yet
    except AgentError as error:
        message = f"`since`: {error.message}"
        raise AgentError(message, code=error.code, retryable=error.retryable) from None
    answer["since_base"] = msgspec.to_builtins(list(found))
