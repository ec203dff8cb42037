"""What one attempt lends its agent, and how an agent's waiting becomes a parked job."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from sutazai.agents.contract import (
    AgentError,
    Assignment,
    Colleague,
    ResultCache,
    WorkflowOutcome,
)
from sutazai.llm.port import Model
from sutazai.tasks.model import DEFAULT_ATTEMPTS, DEFAULT_TIMEOUT_SECONDS, TaskDraft
from sutazai.tasks.outputs import Output

T = TypeVar("T")

LONGEST_KEY = 100
"""Characters of the name that a call is found again by."""


class Parent(NamedTuple):
    """The attempt that wants something done."""

    task_id: str
    attempt: int
    agent_id: str


class Delegating(Protocol):
    """Who has done what agents delegate; see `children`."""

    def colleagues(self) -> Sequence[Colleague]:
        """Every registered agent."""
        ...

    async def delegate(
        self, parent: Parent, call: str, draft: TaskDraft, traceparent: str | None
    ) -> dict[str, Any] | None:
        """The result of a task; None until it has ended."""
        ...

    async def check_workflow(self, workflow: Mapping[str, Any]) -> None:
        """AgentError with all that is wrong with a workflow."""
        ...

    async def execute(
        self, parent: Parent, call: str, workflow: Mapping[str, Any], given: dict[str, Any]
    ) -> WorkflowOutcome | None:
        """How a workflow ended; None until then."""
        ...


class NoteProgress(Protocol):
    """Who keeps the newest word of each attempt."""

    def note(
        self, assignment: Assignment, agent_id: str, percent: int, counters: Mapping[str, int]
    ) -> None:
        """Keep it."""
        ...


class Context:
    """What one assignment lends its agent; to be made in the asyncio task that calls `handle`."""

    def __init__(
        self,
        *,
        assignment: Assignment,
        agent_id: str,
        progress: NoteProgress,
        cache: ResultCache,
        output: Output,
        model: Model,
        children: Callable[[], Delegating],
        traceparent: str | None,
    ) -> None:
        self._assignment = assignment
        self._agent_id = agent_id
        self._progress = progress
        self._children = children
        self._traceparent = traceparent
        self._task = asyncio.current_task()
        self._calls: Counter[str] = Counter()
        self._asking = 0
        self._waiting = False
        self._is_parked = False
        self._never: asyncio.Future[Any] | None = None
        self._output = output
        self.cache = cache
        self.model = model

    async def output(self, text: str) -> None:
        """See `TaskContext.output`."""
        self._output.show(0, text)

    async def progress(self, percent: int, **counters: int) -> None:
        """See `TaskContext.progress`."""
        self._progress.note(self._assignment, self._agent_id, percent, counters)

    def colleagues(self) -> Sequence[Colleague]:
        """See `TaskContext.colleagues`."""
        return self._children().colleagues()

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
        """See `TaskContext.delegate`."""
        draft = TaskDraft(
            type=type,
            description=description,
            metadata=dict(metadata),
            agent=agent,
            timeout_seconds=timeout_seconds or DEFAULT_TIMEOUT_SECONDS,
            max_attempts=max_attempts or DEFAULT_ATTEMPTS,
            parent_id=self._assignment.task_id,
        )
        call = self._call(type, key)
        return await self._ended(
            lambda: self._children().delegate(self._parent, call, draft, self._traceparent)
        )

    async def check_workflow(self, workflow: Mapping[str, Any]) -> None:
        """See `TaskContext.check_workflow`."""
        await self._children().check_workflow(workflow)

    async def execute(
        self, workflow: Mapping[str, Any], given: Mapping[str, Any], *, key: str | None = None
    ) -> WorkflowOutcome:
        """See `TaskContext.execute`."""
        call = self._call("a workflow", key)
        return await self._ended(
            lambda: self._children().execute(self._parent, call, workflow, dict(given))
        )

    @property
    def _parent(self) -> Parent:
        return Parent(self._assignment.task_id, self._assignment.attempt, self._agent_id)

    def _call(self, what: str, key: str | None) -> str:
        if key is not None:
            if not 0 < len(key) <= LONGEST_KEY:
                raise AgentError(f"The key of a call has 1 to {LONGEST_KEY} characters.")
            return f"={key}"
        self._calls[what] += 1
        return f"{what}:{self._calls[what]}"

    async def _ended(self, ask: Callable[[], Awaitable[T | None]]) -> T:
        """What it answers; while it answers None, the attempt is to be parked."""
        self._asking += 1
        try:
            found = await ask()
        finally:
            self._asking -= 1
            # Not before what was asked at the same time is under way, too.
            if self._waiting and not self._asking:
                self._park()
        if found is not None:
            return found
        self._waiting = True
        if not self._asking:
            self._park()
        if self._task is None:
            raise asyncio.CancelledError
        if self._never is None:
            self._never = asyncio.get_running_loop().create_future()
        await self._never
        raise AssertionError("the future of a parked attempt has no result")

    def _park(self) -> None:
        if not self._is_parked and self._task is not None:
            self._is_parked = True
            self._task.cancel()

    def leave(self) -> bool:
        """After `handle` ended in whichever way: whether it was stopped for being parked alone."""
        task, self._task = self._task, None
        if self._never is not None:
            # What the agent began beside, and left behind, waits no longer.
            self._never.cancel()
        return self._is_parked and task is not None and task.uncancel() == 0
