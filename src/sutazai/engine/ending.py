"""From an outcome to what becomes of the job, in one place for worker and rescuer."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar, assert_never

import structlog

from sutazai.clock import SECOND
from sutazai.database import Connection, StepFailed, step, tally
from sutazai.engine import store
from sutazai.engine.job import (
    Ending,
    Failed,
    Handler,
    Job,
    Lost,
    Outcome,
    Parked,
    Released,
    Succeeded,
    retry_delay,
)
from sutazai.errors import ErrorCode

_logger = structlog.get_logger(__name__)

# When an attempt whose end cannot be recorded at all is looked at again.
_POSTPONED = 60 * SECOND
_UNRECORDED = Failed(
    ErrorCode.INTERNAL_ERROR, "The result could not be recorded; the server's log has the reason."
)

T = TypeVar("T")
Handlers = Mapping[str, Handler]


def decide(job: Job, outcome: Outcome, *, now: int) -> Ending:
    """Whether the job is over, and if not when it runs again."""
    match outcome:
        case Succeeded():
            return Ending(job, outcome, final=True, run_at=None)
        case Failed(retryable=retryable, delay=delay):
            if retryable and job.attempt < job.max_attempts:
                if delay is None:
                    delay = retry_delay(job.attempt, random.random())  # noqa: S311  # jitter is no secret
                return Ending(job, outcome, final=False, run_at=now + delay)
            return Ending(job, outcome, final=True, run_at=None)
        case Lost():
            return Ending(job, outcome, final=job.attempt >= job.max_attempts, run_at=None)
        case Released(run_at=run_at):
            return Ending(job, outcome, final=False, run_at=run_at)
        case Parked():
            return Ending(job, outcome, final=False, run_at=None)
        case _:
            assert_never(outcome)


def apply(
    connection: Connection, endings: Sequence[Ending], handlers: Handlers, *, now: int
) -> int:
    """End the attempts still held, tell their handlers, drop the rest; how many counted."""
    if not endings:
        return 0
    lock_first(connection, endings, handlers)
    done = store.finish(
        connection, [store.Held(end.job.id, end.job.token) for end in endings if end.final]
    )
    done |= store.put_back(
        connection,
        [
            store.Again(
                end.job.id,
                end.job.token,
                end.run_at,
                _attempts_used(end),
                held=isinstance(end.outcome, Parked),
            )
            for end in endings
            if not end.final
        ],
    )
    accepted = [end for end in endings if end.job.id in done]
    for kind, group in by_kind(accepted, lambda end: end.job.kind):
        handlers[kind].ended(connection, group, now)
        for end in group:
            tally(connection, "attempts", kind, _shown(end))
    return len(accepted)


def lock_first(connection: Connection, endings: Sequence[Ending], handlers: Handlers) -> None:
    """Take the handlers' locks that come before those of these jobs."""
    for kind, group in by_kind((end.job for end in endings), lambda job: job.kind):
        if kind in handlers:  # an unknown one is told of where its own end is recorded
            handlers[kind].before_ended(connection, group)


def apply_apart(
    connection: Connection, endings: Sequence[Ending], handlers: Handlers, *, now: int
) -> None:
    """As `apply`, but an end that its handler cannot record does not take the others with it.

    It becomes a failure; where not even that can be recorded, it is left for later.
    """
    lock_first(connection, endings, handlers)
    for end in endings:
        for candidate in (end, decide(end.job, _UNRECORDED, now=now)):
            try:
                step(connection, partial(apply, connection, [candidate], handlers, now=now))
            except StepFailed:
                _logger.exception("engine.end_unrecorded", job=end.job.key, kind=end.job.kind)
            else:
                break
        else:
            held = store.Held(end.job.id, end.job.token)
            store.postpone(connection, held, lease_expires_at=now + _POSTPONED)


def _shown(end: Ending) -> str:
    match end.outcome:
        case Succeeded():
            return "succeeded"
        case Failed():
            return "failed" if end.final else "retried"
        case Lost():
            return "lost" if end.final else "rescued"
        case Released():
            return "released"
        case Parked():
            return "parked"
        case _:
            assert_never(end.outcome)


def _attempts_used(ending: Ending) -> int:
    unused = isinstance(ending.outcome, Released | Parked)
    return ending.job.attempt - 1 if unused else ending.job.attempt


def by_kind(items: Iterable[T], kind_of: Callable[[T], str]) -> list[tuple[str, list[T]]]:
    """The items of each kind together, in the order they came."""
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(kind_of(item), []).append(item)
    return list(groups.items())
