"""What an agent is: the same contract for the built-in ones and for those from outside."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from sutazai.errors import ErrorCode
from sutazai.llm.port import Model


class AgentDescription(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent introduces itself to the registry.

    `capabilities` are the task types it takes, `max_capacity` how many at once;
    `configuration` holds the defaults that a user may change. `transport` (`http` or `redis`) is
    how an agent from outside gets its work, None for one that a worker hosts. `needs_model` are
    the capabilities that it has only while a language model can be reached.
    """

    agent_id: str
    name: str
    type: str
    capabilities: tuple[str, ...]
    max_capacity: int
    configuration: dict[str, Any] = {}
    transport: str | None = None
    needs_model: tuple[str, ...] = ()


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one task, as an agent sees it.

    `traceparent` (W3C Trace Context) is what an agent from outside puts its own spans below.
    """

    assignment_id: str
    task_id: str
    type: str
    description: str
    metadata: dict[str, Any]
    attempt: int
    configuration: dict[str, Any]
    traceparent: str | None = None


FAILURE_CODE = r"[A-Z][A-Z0-9_]{0,31}"
"""The form of what a task's failure is called for programs, such as OUT_OF_DISK; a pattern.

The specification's codes say what the server knows; what an agent fails of has no fixed list.
"""


class AgentError(Exception):
    """Raised by an agent when it cannot do the task; the message is shown to the user.

    `code` is the specification's or the agent's own, in the form of FAILURE_CODE. Only a
    `retryable` failure uses up further attempts: bad input stays bad. `result` is what there
    is to show for the work all the same, kept beside the error.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = ErrorCode.VALIDATION_ERROR,
        retryable: bool = False,
        result: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retryable = retryable
        self.result = result


class ResultCache(Protocol):
    """Finished pieces of work, kept across tasks and restarts, by the digest of their inputs."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The entries that are there; a missing key is simply absent."""
        ...

    async def put_many(self, entries: Mapping[str, bytes]) -> None:
        """Keep these; an entry under a key that is taken replaces it."""
        ...


class Colleague(msgspec.Struct, frozen=True, kw_only=True):
    """Another agent, as one that may want its help sees it."""

    agent_id: str
    name: str
    capabilities: tuple[str, ...]
    is_online: bool


class StepOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one step of a workflow ended; `output` is None of one that is too large to be shown."""

    step_id: str
    type: str
    status: str
    task_id: str | None
    error: str | None
    output: Any


class WorkflowOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a workflow that an agent had executed ended; `workflow` is what was executed."""

    execution_id: str
    status: str
    workflow: dict[str, Any]
    steps: tuple[StepOutcome, ...]
    error: str | None
    error_code: str | None


class TaskContext(Protocol):
    """What the runner lends to an agent for one assignment."""

    @property
    def cache(self) -> ResultCache:
        """The result cache of the installation."""
        ...

    @property
    def model(self) -> Model:
        """The language model, as this agent is configured; there may be none at the moment."""
        ...

    async def output(self, text: str) -> None:
        """Show some of the work as it comes, as `task.output` events; nothing is kept of it.

        Cheap to call often: pieces travel together, and only so much of them for one attempt.
        """
        ...

    async def progress(self, percent: int, **counters: int) -> None:
        """Tell how far the work is, 0 to 100, with counters such as `lines_processed`.

        Cheap to call often: the runner keeps the newest and writes a few times a second.
        """
        ...

    def colleagues(self) -> Sequence[Colleague]:
        """Every agent of the installation, this one among them, by id."""
        ...

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
        """Have a task done, for the same user, and wait for its result; AgentError if it fails.

        While it waits, the agent holds no place and no attempt: `handle` is cancelled, and called
        anew once all that it waited for has ended. The call then finds what it had done before, by
        `key`, or else by being the same type's nth call; so what comes before a call must lead to
        the same calls again. Calls made at once (`asyncio.gather`) are done side by side. At most
        5 tasks deep, and never round in a circle: AgentError says which.
        """
        ...

    async def check_workflow(self, workflow: Mapping[str, Any]) -> None:
        """AgentError unless it is a workflow that could be executed; executes nothing."""
        ...

    async def execute(
        self, workflow: Mapping[str, Any], given: Mapping[str, Any], *, key: str | None = None
    ) -> WorkflowOutcome:
        """Have a workflow executed, on the terms of `delegate`, and wait for its end.

        One that failed or was cancelled is an outcome, too. It is in no list of workflows.
        """
        ...


@runtime_checkable
class Foreseeing(Protocol):
    """An agent that can tell beforehand whether it has done a task's work already; optional."""

    async def is_cached(
        self, task_type: str, metadata: Mapping[str, Any], cache: ResultCache, *, has_model: bool
    ) -> bool | None:
        """Whether `handle` would now answer from the cache alone, for this very input.

        `has_model`: a language model can be reached. None where only doing it would tell. Does none
        of the work, and keeps nothing. AgentError where the task could not be done.
        """
        ...


class Agent(Protocol):
    """Does tasks of its capabilities, one call to `handle` per assignment."""

    @property
    def description(self) -> AgentDescription:
        """Who this is; constant for the life of the object."""
        ...

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """The task's result, JSON-compatible.

        Cancellation (asyncio) means: stop at once, nobody wants the result. Raises AgentError when
        the task cannot be done; anything else counts as a crash of this attempt and is retried.
        """
        ...
