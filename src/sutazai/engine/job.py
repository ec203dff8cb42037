"""What a job is, how it can end, and who handles its kind."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from sutazai.clock import SECOND
from sutazai.database import Connection

MOST_ATTEMPTS = 100
PRIORITIES = range(1, 11)


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job about to be enqueued.

    `key` is unique among live jobs. `queue` is what workers claim by. `run_at` (microseconds)
    delays it; `held` keeps it until `store.unhold`. `timeout` is in microseconds, per attempt.
    `traceparent` (W3C Trace Context) says which trace its attempts belong to.
    """

    key: str
    kind: str
    queue: str
    priority: int = 5
    payload: str = ""
    max_attempts: int = 3
    timeout: int | None = None
    run_at: int | None = None
    held: bool = False
    traceparent: str | None = None


class Job(msgspec.Struct, frozen=True):
    """A live job as its worker holds it; the token fences this attempt from every other."""

    id: int
    key: str
    kind: str
    queue: str
    priority: int
    payload: str
    attempt: int
    max_attempts: int
    timeout: int | None
    token: int
    worker: str | None
    consumer: str | None
    traceparent: str | None = None


class Attempt(NamedTuple):
    """An attempt by what a remote worker calls it: the job's key and the token of its claim."""

    key: str
    token: int


class Succeeded(msgspec.Struct, frozen=True):
    """The attempt did the work; `value` is whatever the handler's `ended` wants to record."""

    value: Any = None


class Failed(msgspec.Struct, frozen=True):
    """The attempt did not do the work; a retryable failure uses the attempts that are left.

    `delay` (microseconds) until the next one, where the engine's usual will not do; `value` is
    whatever the handler's `ended` wants to record.
    """

    code: str
    message: str
    retryable: bool = False
    value: Any = None
    delay: int | None = None


class Released(msgspec.Struct, frozen=True):
    """The worker gives the job back untouched, as when it shuts down; no attempt is used up.

    It is claimable again at `run_at` (microseconds), or at once.
    """

    reason: str
    run_at: int | None = None


class Lost(msgspec.Struct, frozen=True):
    """The worker's lease lapsed: it died, hung, or was cut off. Only the rescuer says so."""

    reason: str


class Parked(msgspec.Struct, frozen=True):
    """The attempt waits for other work and holds nothing meanwhile; it uses up no attempt.

    The job is held: whoever ends what it waits for lets it go by `store.unhold`.
    """


Outcome = Succeeded | Failed | Released | Parked | Lost


class Ending(NamedTuple):
    """An attempt that is over, with what becomes of its job.

    `final`: the job is gone. Otherwise it runs again at `run_at` (microseconds), or at once where
    that is None, unless it was parked.
    """

    job: Job
    outcome: Outcome
    final: bool
    run_at: int | None


class Handler(Protocol):
    """Does the jobs of one kind. The hooks run inside the engine's own transactions.

    They may be run again with the rest of the unit, so they touch nothing but the database.
    """

    def readied(self, connection: Connection, jobs: Sequence[Job], now: int) -> None:
        """Delayed or retried jobs became claimable."""
        ...

    def started(self, connection: Connection, jobs: Sequence[Job], now: int) -> Mapping[int, Any]:
        """Jobs were claimed; what is returned for a job's id is handed to its `run`."""
        ...

    async def run(self, job: Job, prepared: Any) -> Outcome:
        """Do the work, outside of any transaction; cancellation means to stop at once."""
        ...

    def before_ended(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """Attempts are about to end: whatever `ended` locks besides, it locks here.

        These locks come before those of the jobs; whether the ends are accepted is not known yet.
        """
        ...

    def ended(self, connection: Connection, endings: Sequence[Ending], now: int) -> None:
        """Attempts ended and their ends were accepted; late ends of lost leases never get here."""
        ...


class Consumer(NamedTuple):
    """Who takes jobs from which queues, and how many at once."""

    name: str
    queues: tuple[str, ...]
    capacity: int


def retry_delay(attempt: int, jitter: float) -> int:
    """Microseconds to wait after a failed attempt: 1, 2, 4 … 60 s, give or take a fifth.

    `jitter` is a random number in [0, 1).
    """
    base = min(60.0, 2.0 ** (attempt - 1))
    return int(base * (0.8 + 0.4 * jitter) * SECOND)
