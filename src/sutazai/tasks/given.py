"""Input that is looked at when a task is submitted, because its agent may see it much later."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sutazai.agents.service import AgentDirectory
from sutazai.errors import Detail, ErrorCode, SutazaiError
from sutazai.tasks.model import TaskDraft


class InputCheck(NamedTuple):
    """What one agent takes for one type.

    `problem` is given description and metadata, and says which field is wrong and how; None where
    none is. It runs on a thread.
    """

    agent_id: str
    problem: Callable[[str, Mapping[str, Any]], tuple[str, str] | None]


class InputChecks:
    """The checks that there are, by type of task."""

    def __init__(self, checks: Mapping[str, InputCheck], directory: AgentDirectory) -> None:
        self._checks = checks
        self._directory = directory

    async def check(self, draft: TaskDraft) -> None:
        """VALIDATION_ERROR where whoever may do this task would refuse its metadata."""
        check = self._checks.get(draft.type)
        if check is None:
            return
        doers = self._directory.agents_with(draft.type) if draft.agent is None else [draft.agent]
        if set(doers) != {check.agent_id}:
            return  # another agent may take other input
        wrong = await asyncio.to_thread(check.problem, draft.description, draft.metadata)
        if wrong is not None:
            field, message = wrong
            details = [Detail(f"metadata.{field}", message)]
            raise SutazaiError(ErrorCode.VALIDATION_ERROR, "Invalid input data", details=details)
