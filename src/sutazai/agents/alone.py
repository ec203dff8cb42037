"""What an agent is lent where there is no server: for `sutazai review --here`, and for tests."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from sutazai.agents.contract import AgentError, Colleague, ResultCache, WorkflowOutcome
from sutazai.errors import ErrorCode
from sutazai.llm.none import NoModel
from sutazai.llm.port import Model


class NoCache:
    """Remembers nothing."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Nothing."""
        return {}

    async def put_many(self, entries: Mapping[str, bytes]) -> None:
        """Nothing."""


class Alone:
    """A `TaskContext` for an agent that has no colleagues; derive from it to see its progress."""

    def __init__(self) -> None:
        self.cache: ResultCache = NoCache()
        self.model: Model = NoModel()

    async def output(self, text: str) -> None:
        """Nobody looks."""

    async def progress(self, percent: int, **counters: int) -> None:
        """Nobody looks."""

    def colleagues(self) -> Sequence[Colleague]:
        """None."""
        return ()

    async def delegate(
        self,
        type: str,  # noqa: A002  # the task's field
        description: str,
        metadata: Mapping[str, Any],
        *,
        agent: str | None = None,
        key: str | None = None,
        timeout_seconds: float | None = None,
        max_attempts: int | None = None,
    ) -> dict[str, Any]:
        """AgentError."""
        _refuse(f"{type} is another agent's work")

    async def check_workflow(self, workflow: Mapping[str, Any]) -> None:
        """AgentError."""
        _refuse("Workflows are executed by a server")

    async def execute(
        self, workflow: Mapping[str, Any], given: Mapping[str, Any], *, key: str | None = None
    ) -> WorkflowOutcome:
        """AgentError."""
        _refuse("Workflows are executed by a server")


def _refuse(reason: str) -> NoReturn:
    message = f"{reason}, and there is none here. Start one: sutazai serve."
    raise AgentError(message, code=ErrorCode.SERVICE_UNAVAILABLE)
