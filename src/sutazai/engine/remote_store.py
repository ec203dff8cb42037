"""Attempts of remote workers: who does them is no process of ours, and reports from afar.

Nothing here watches the time for them, so a claim of theirs has a deadline in the jobs table: no
lease goes beyond it, and whoever rescues then knows that the time was over.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, case, exists, func, literal, select, update, values
from sqlalchemy import column as named
from sqlalchemy.types import String

from sutazai.database import Connection
from sutazai.engine import store
from sutazai.engine.job import Attempt, Job
from sutazai.engine.store import JOBS, Want

_IS_REMOTE = JOBS.c.deadline.is_not(None)
# Made once, as all that every assignment meets: making a statement costs more than running it.
_COUNT_RUNNING = select(func.count()).where(
    store.IS_RUNNING, JOBS.c.consumer == bindparam("consumer")
)
_FIND = select(*store.FIELDS).where(
    JOBS.c.key == bindparam("key"),
    JOBS.c.token == bindparam("token"),
    store.IS_RUNNING,
    _IS_REMOTE,
)


class Claimed(NamedTuple):
    """An attempt with the moment (µs) at which its lease lapses."""

    job: Job
    lease_expires_at: int


class Lease(NamedTuple):
    """An attempt that is held, the how manieth of its job it is, and until when (µs)."""

    attempt: Attempt
    number: int
    lease_expires_at: int


def _no_later_than(moment: int) -> Any:
    return case((JOBS.c.deadline < moment, JOBS.c.deadline), else_=literal(moment))


def claim(
    connection: Connection, want: Want, *, worker: str, lease_expires_at: int, now: int
) -> list[Claimed]:
    """Take what is ready, best first; see `store.claim`."""
    jobs = store.claim(
        connection, [want], worker=worker, lease_expires_at=lease_expires_at, timed_from=now
    )
    return [
        Claimed(job, min(lease_expires_at, now + (job.timeout or store.FOR_EVER))) for job in jobs
    ]


def _job(row: Row[*tuple[Any, ...]]) -> Job:
    return Job(*row)  # the columns are in the order of the fields


def count_running(connection: Connection, consumer: str) -> int:
    """How many attempts a consumer has under way."""
    running: int = connection.execute(_COUNT_RUNNING, {"consumer": consumer}).scalar_one()
    return running


def find(connection: Connection, attempt: Attempt) -> Job | None:
    """The job of an attempt that its remote worker still holds."""
    row = connection.execute(_FIND, attempt._asdict()).one_or_none()
    return None if row is None else _job(row)


def held_by(connection: Connection, consumer: str) -> list[Job]:
    """What a consumer has under way at remote workers."""
    rows = connection.execute(
        select(*store.FIELDS)
        .where(store.IS_RUNNING, _IS_REMOTE, JOBS.c.consumer == consumer)
        .order_by(JOBS.c.id)
    )
    return [_job(row) for row in rows]


def leases_of(connection: Connection, consumer: str) -> list[Lease]:
    """What a consumer holds, oldest first."""
    rows = connection.execute(
        select(JOBS.c.key, JOBS.c.token, JOBS.c.attempt, JOBS.c.lease_expires_at)
        .where(store.IS_RUNNING, _IS_REMOTE, JOBS.c.consumer == consumer)
        .order_by(JOBS.c.id)
    )
    return [Lease(Attempt(row[0], row[1]), row[2], row[3]) for row in rows]


def renew(
    connection: Connection,
    consumer: str,
    attempts: Collection[Attempt],
    *,
    lease_expires_at: int,
) -> list[Lease]:
    """Extend leases, none beyond its deadline; those of these attempts that are still held."""
    if not attempts:
        return []
    wanted = set(attempts)
    # Which they are is looked at first: a token says which attempt, a key alone does not.
    rows = connection.execute(
        select(JOBS.c.id, JOBS.c.key, JOBS.c.token)
        .where(
            JOBS.c.key.in_(sorted({attempt.key for attempt in wanted})),
            JOBS.c.consumer == consumer,
            store.IS_RUNNING,
            _IS_REMOTE,
        )
        .order_by(JOBS.c.id)
        .with_for_update()
    ).all()
    ids = [row[0] for row in rows if Attempt(row[1], row[2]) in wanted]
    if not ids:
        return []
    renewed = connection.execute(
        update(JOBS)
        .where(JOBS.c.id.in_(ids))
        .values(lease_expires_at=_no_later_than(lease_expires_at))
        .returning(JOBS.c.key, JOBS.c.token, JOBS.c.attempt, JOBS.c.lease_expires_at)
    )
    return [Lease(Attempt(row[0], row[1]), row[2], row[3]) for row in renewed]


def spare(connection: Connection, *, lease_expires_at: int) -> None:
    """Give every remote worker time to say that it is there: until now nobody was to hear it."""
    connection.execute(
        update(JOBS)
        .where(store.IS_RUNNING, _IS_REMOTE, JOBS.c.lease_expires_at < lease_expires_at)
        .values(lease_expires_at=_no_later_than(lease_expires_at))
    )


def begun_at(connection: Connection, jobs: Sequence[Job]) -> dict[int, int]:
    """When the attempts at these jobs began (µs), by the job's id; of remote workers alone."""
    if not jobs:
        return {}
    query = select(JOBS.c.id, JOBS.c.deadline - func.coalesce(JOBS.c.timeout, store.FOR_EVER))
    rows = connection.execute(query.where(JOBS.c.id.in_([job.id for job in jobs]), _IS_REMOTE))
    return {row[0]: row[1] for row in rows}


def is_overdue(job: Job, begun: int, *, now: int) -> bool:
    """Whether the time of a remote worker's attempt is over."""
    return begun + (job.timeout or store.FOR_EVER) <= now


def ready_among(connection: Connection, queues: Collection[str]) -> set[str]:
    """Those of these queues that have something to take, whatever their number."""
    if not queues:
        return set()
    # Named as a CTE: SQLite knows no column names behind a list of values.
    rows = values(named("queue", String)).data([(one,) for one in sorted(queues)])
    asked = rows.cte("asked")
    work = exists().where(JOBS.c.queue == asked.c.queue, store.IS_READY)
    return set(connection.execute(select(asked.c.queue).where(work)).scalars())
