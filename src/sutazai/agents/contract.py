"""What an agent is: the same contract for the built-in ones and for those from outside."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from sutazai.errors import ErrorCode


class AgentDescription(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent introduces itself to the registry.

    `capabilities` are the task types it takes, `max_capacity` how many at once;
    `configuration` holds the defaults that a user may change; `transport` (`http` or `redis`) is
    how an agent from outside gets its work, None for one that a worker hosts.
    """

    agent_id: str
    name: str
    type: str
    capabilities: tuple[str, ...]
    max_capacity: int
    configuration: dict[str, Any] = {}
    transport: str | None = None


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one task, as an agent sees it."""

    assignment_id: str
    task_id: str
    type: str
    description: str
    metadata: dict[str, Any]
    attempt: int
    configuration: dict[str, Any]


class AgentError(Exception):
    """Raised by an agent when it cannot do the task; the message is shown to the user.

    Only a `retryable` failure uses up further attempts: bad input stays bad.
    """

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode = ErrorCode.VALIDATION_ERROR,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retryable = retryable


class ResultCache(Protocol):
    """Finished pieces of work, kept across tasks and restarts, by the digest of their inputs."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The entries that are there; a missing key is simply absent."""
        ...

    async def put_many(self, entries: Mapping[str, bytes]) -> None:
        """Keep these; an entry under a key that is taken replaces it."""
        ...


class TaskContext(Protocol):
    """What the runner lends to an agent for one assignment."""

    @property
    def cache(self) -> ResultCache:
        """The result cache of the installation."""
        ...

    async def progress(self, percent: int, **counters: int) -> None:
        """Tell how far the work is, 0 to 100, with counters such as `lines_processed`.

        Cheap to call often: the runner keeps the newest and writes a few times a second.
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
