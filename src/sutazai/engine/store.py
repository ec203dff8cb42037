"""The jobs table: live work only, so that claiming costs the same however much is finished."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    Row,
    SmallInteger,
    String,
    Table,
    Text,
    any_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    text,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.sql.selectable import Select

from sutazai.clock import SECOND
from sutazai.database import Connection, metadata, signal
from sutazai.engine.job import PRIORITIES, Job, NewJob

JOBS = Table(
    "jobs",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("key", String(128), nullable=False, unique=True),
    Column("kind", String(32), nullable=False),
    Column("queue", String(160), nullable=False),
    Column("priority", SmallInteger, nullable=False),
    # ready | scheduled | held | running
    Column("state", String(16), nullable=False),
    Column("payload", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("timeout", BigInteger),
    Column("run_at", BigInteger),
    Column("token", Integer, nullable=False),
    Column("worker", String(64)),
    Column("consumer", String(128)),
    Column("lease_expires_at", BigInteger),
    # When a remote worker's attempt is over whatever it says; see `remote_store`.
    Column("deadline", BigInteger),
    # The W3C trace context of what caused the job.
    Column("traceparent", String(64)),
    Index(
        "ix_jobs_ready",
        "queue",
        text("priority DESC"),
        "id",
        postgresql_where=text("state = 'ready'"),
        sqlite_where=text("state = 'ready'"),
    ),
    Index(
        "ix_jobs_scheduled",
        "run_at",
        postgresql_where=text("state = 'scheduled'"),
        sqlite_where=text("state = 'scheduled'"),
    ),
    Index(
        "ix_jobs_running",
        "lease_expires_at",
        postgresql_where=text("state = 'running'"),
        sqlite_where=text("state = 'running'"),
    ),
    sqlite_autoincrement=True,
)

READY = "jobs.ready"
"""Signal; the payload is the queue that has work, or empty when that may be any."""
SCHEDULED = "jobs.scheduled"
"""Signal: a job was given a time to run at."""
CANCELLED = "jobs.cancelled"
"""Signal; the payload is the key of a job taken from its worker, or empty when it may be any."""

FIELDS = (
    JOBS.c.id,
    JOBS.c.key,
    JOBS.c.kind,
    JOBS.c.queue,
    JOBS.c.priority,
    JOBS.c.payload,
    JOBS.c.attempt,
    JOBS.c.max_attempts,
    JOBS.c.timeout,
    JOBS.c.token,
    JOBS.c.worker,
    JOBS.c.consumer,
    JOBS.c.traceparent,
)
# Literals, not parameters: partial indexes are only used for a condition known when planning.
IS_READY = JOBS.c.state == literal_column("'ready'")
_IS_SCHEDULED = JOBS.c.state == literal_column("'scheduled'")
IS_RUNNING = JOBS.c.state == literal_column("'running'")

FOR_EVER = 10 * 365 * 24 * 3600 * SECOND
"""What stands for no timeout where there must be a deadline."""

_INSERT = insert(JOBS)


class Want(NamedTuple):
    """What one consumer could take now."""

    consumer: str
    queues: tuple[str, ...]
    limit: int


class Held(NamedTuple):
    """An attempt that somebody claims to hold: a job's id and the token of its claim."""

    id: int
    token: int


class Again(NamedTuple):
    """An attempt to be followed by another, at a time or (None) at once; or when it is let go."""

    id: int
    token: int
    run_at: int | None
    attempt: int
    held: bool = False


def _job(row: Row[*tuple[Any, ...]]) -> Job:
    return Job(*row)  # the columns are in the order of the fields


def enqueue_unless_there(connection: Connection, job: NewJob) -> None:
    """Add a job unless a live one has its key; several processes may try at once."""
    module = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = module.insert(JOBS).on_conflict_do_nothing(index_elements=["key"])
    connection.execute(statement, _row(job))
    signal(connection, SCHEDULED)


def _state(*, held: bool, run_at: int | None) -> str:
    if held:
        return "held"
    return "ready" if run_at is None else "scheduled"


def _row(job: NewJob) -> dict[str, object]:
    return {
        "key": job.key,
        "kind": job.kind,
        "queue": job.queue,
        "priority": job.priority,
        "state": _state(held=job.held, run_at=job.run_at),
        "payload": job.payload,
        "attempt": 0,
        "max_attempts": job.max_attempts,
        "timeout": job.timeout,
        "run_at": job.run_at,
        "token": 0,
        "traceparent": job.traceparent,
    }


def enqueue(connection: Connection, jobs: Sequence[NewJob]) -> None:
    """Add jobs in the caller's transaction; IntegrityError where a live job has the same key."""
    rows = [_row(job) for job in jobs]
    for row in rows:
        if row["state"] == "ready":
            signal(connection, READY, str(row["queue"]))
        elif row["state"] == "scheduled":
            signal(connection, SCHEDULED)
    if len(rows) == 1:
        connection.execute(_INSERT, rows[0])
    elif rows:
        connection.execute(_INSERT, rows)


def _pick(queues: int) -> Select[tuple[int]]:
    """The ids to take: highest priority first, then oldest, over so many queues together."""
    limit = bindparam("most", type_=Integer)
    arms = [
        select(JOBS.c.id, JOBS.c.priority)
        .where(JOBS.c.queue == bindparam(f"queue_{number}"), IS_READY)
        .order_by(JOBS.c.priority.desc(), JOBS.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .subquery(f"q{number}")
        for number in range(queues)
    ]
    if len(arms) == 1:
        return select(arms[0].c.id)
    together = union_all(*(select(arm.c.id, arm.c.priority) for arm in arms)).subquery("together")
    return select(together.c.id).order_by(together.c.priority.desc(), together.c.id).limit(limit)


def _is_among(dialect: str, chosen: CTE) -> ColumnElement[bool]:
    """Whether a job's id is one of a few chosen ones."""
    ids = select(chosen.c.id)
    if dialect == "sqlite":
        return JOBS.c.id.in_(ids)
    # PostgreSQL takes a LIMIT it does not know for a tenth of the table, which IN would then scan.
    array: ColumnElement[Any] = func.array(
        ids.scalar_subquery(), type_=postgresql.ARRAY(BigInteger)
    )
    return JOBS.c.id == any_(array)


@functools.cache
def _claim(dialect: str, queues: int) -> ReturningUpdate[Any]:
    """Made once for each number of queues: making it takes longer than running it."""
    picked = _pick(queues).cte("picked").prefix_with("MATERIALIZED")
    return (
        update(JOBS)
        .where(_is_among(dialect, picked))
        .values(
            state="running",
            worker=bindparam("by_worker"),
            consumer=bindparam("by_consumer"),
            attempt=JOBS.c.attempt + 1,
            token=JOBS.c.token + 1,
            lease_expires_at=bindparam("until"),
            # NULL where nobody is timed from here: NULL and a number make NULL.
            deadline=bindparam("timed_from", type_=BigInteger)
            + func.coalesce(JOBS.c.timeout, FOR_EVER),
        )
        .returning(*FIELDS)
    )


def claim(
    connection: Connection,
    wants: Sequence[Want],
    *,
    worker: str,
    lease_expires_at: int,
    timed_from: int | None = None,
) -> list[Job]:
    """Take what is ready for each want, best first, and begin an attempt on it.

    With `timed_from` (µs) the attempt has a deadline, its timeout after that; see `remote_store`.
    """
    taken: list[Job] = []
    for want in wants:
        values = {f"queue_{number}": queue for number, queue in enumerate(want.queues)}
        said = {
            "by_worker": worker,
            "by_consumer": want.consumer,
            "until": lease_expires_at,
            "timed_from": timed_from,
            "most": want.limit,
        }
        rows = connection.execute(_claim(connection.dialect.name, len(values)), {**values, **said})
        # RETURNING has no order of its own.
        taken += sorted(map(_job, rows), key=lambda job: (-job.priority, job.id))
    return taken


_HAS_READY = select(exists().where(JOBS.c.queue == bindparam("queue"), IS_READY))


def signal_again(connection: Connection, queues: Iterable[str]) -> None:
    """Signal those of these queues, a handful, that have something ready still."""
    for queue in queues:
        values = {"queue": queue}
        if connection.execute(_HAS_READY, values).scalar():  # sutazai: ignore[query-in-loop]
            signal(connection, READY, queue)


_FINISH = (
    delete(JOBS)
    # By id as well: alone, SQLite would compare the pairs with every row of the table.
    .where(JOBS.c.id.in_(bindparam("ids", expanding=True)))
    .where(tuple_(JOBS.c.id, JOBS.c.token).in_(bindparam("held", expanding=True)))
    .returning(JOBS.c.id)
)


def finish(connection: Connection, held: Sequence[Held]) -> set[int]:
    """Delete the jobs whose attempt is still the one named; the ids that were."""
    if not held:
        return set()
    values = {"ids": [attempt.id for attempt in held], "held": held}
    return set(connection.execute(_FINISH, values).scalars())


def put_back(connection: Connection, again: Sequence[Again]) -> set[int]:
    """End attempts that will be followed by another; the ids still held under their token."""
    done: set[int] = set()
    for item in again:
        row = connection.execute(
            update(JOBS)
            .where(JOBS.c.id == item.id, JOBS.c.token == item.token, IS_RUNNING)
            .values(
                state=_state(held=item.held, run_at=item.run_at),
                run_at=item.run_at,
                attempt=item.attempt,
                token=JOBS.c.token + 1,
                worker=None,
                consumer=None,
                lease_expires_at=None,
                deadline=None,
            )
            .returning(JOBS.c.id, JOBS.c.queue)
        ).one_or_none()
        if row is not None:
            done.add(row.id)
            if item.held:
                continue
            if item.run_at is None:
                signal(connection, READY, row.queue)
            else:
                signal(connection, SCHEDULED)
    return done


def renew(
    connection: Connection, held: Iterable[Held], *, worker: str, lease_expires_at: int
) -> set[Held]:
    """Extend the leases of a worker's attempts; those of them that it still holds."""
    ids = sorted({attempt.id for attempt in held})
    rows = connection.execute(
        update(JOBS)
        .where(IS_RUNNING, JOBS.c.worker == worker, JOBS.c.id.in_(ids))
        .values(lease_expires_at=lease_expires_at)
        .returning(JOBS.c.id, JOBS.c.token)
    )
    return {Held(row[0], row[1]) for row in rows}


def postpone(connection: Connection, held: Held, *, lease_expires_at: int) -> None:
    """Leave an attempt as it is until a later moment, when a rescuer meets it again."""
    connection.execute(
        update(JOBS)
        .where(JOBS.c.id == held.id, JOBS.c.token == held.token, IS_RUNNING)
        .values(lease_expires_at=lease_expires_at)
    )


def lapsed(connection: Connection, *, now: int, limit: int = 100) -> list[Job]:
    """Running jobs whose lease is over."""
    query = select(*FIELDS).where(IS_RUNNING, JOBS.c.lease_expires_at < now)
    rows = connection.execute(query.order_by(JOBS.c.lease_expires_at).limit(limit))
    return [_job(row) for row in rows]


def still_held(connection: Connection, jobs: Sequence[Job]) -> list[Job]:
    """Those of these attempts that go on and that nobody else is ending, locked."""
    ids = [job.id for job in jobs]
    query = select(JOBS.c.id, JOBS.c.token).where(JOBS.c.id.in_(ids), IS_RUNNING)
    rows = connection.execute(query.order_by(JOBS.c.id).with_for_update(skip_locked=True))
    held = {Held(*row) for row in rows}
    return [job for job in jobs if Held(job.id, job.token) in held]


def lock(connection: Connection, keys: Sequence[str]) -> None:
    """Lock the live jobs of these keys for this transaction."""
    if keys:
        query = select(JOBS.c.id).where(JOBS.c.key.in_(keys)).order_by(JOBS.c.id)
        connection.execute(query.with_for_update())


def void_leases(connection: Connection) -> int:
    """Let the lease of every worker that is a process of ours lapse at once; how many.

    Only for who knows that none is left. Remote workers are not among them.
    """
    ours = update(JOBS).where(IS_RUNNING, JOBS.c.deadline.is_(None))
    return connection.execute(ours.values(lease_expires_at=0)).rowcount


def ready_due(connection: Connection, *, now: int, limit: int = 500) -> list[Job]:
    """Make scheduled jobs whose time has come claimable."""
    due = (
        select(JOBS.c.id)
        .where(_IS_SCHEDULED, JOBS.c.run_at <= now)
        .order_by(JOBS.c.run_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
        .prefix_with("MATERIALIZED")
    )
    return _make_ready(connection, _is_among(connection.dialect.name, due))


def unhold(connection: Connection, keys: Sequence[str], *, now: int) -> list[Job]:
    """Let held jobs go: those with a later `run_at` are scheduled, the rest returned ready."""
    waiting = JOBS.c.key.in_(keys) & (JOBS.c.state == "held")
    later = connection.execute(
        update(JOBS).where(waiting, JOBS.c.run_at > now).values(state="scheduled")
    ).rowcount
    if later:
        signal(connection, SCHEDULED)
    return _make_ready(connection, waiting)


def _make_ready(connection: Connection, condition: ColumnElement[bool]) -> list[Job]:
    rows = connection.execute(
        update(JOBS).where(condition).values(state="ready", run_at=None).returning(*FIELDS)
    )
    jobs = sorted(map(_job, rows), key=lambda job: job.id)
    for job in jobs:
        signal(connection, READY, job.queue)
    return jobs


def next_run_at(connection: Connection) -> int | None:
    """When the earliest scheduled job is due (microseconds)."""
    return connection.execute(select(func.min(JOBS.c.run_at)).where(_IS_SCHEDULED)).scalar()


def _oldest() -> Select[str]:
    arms = [
        select(JOBS.c.id, JOBS.c.key)
        .where(JOBS.c.queue == bindparam("queue"), IS_READY, JOBS.c.priority == priority)
        .order_by(JOBS.c.id)
        .limit(1)
        .subquery(f"p{priority}")
        for priority in PRIORITIES
    ]
    together = union_all(*(select(arm.c.id, arm.c.key) for arm in arms)).subquery("together")
    return select(together.c.key).order_by(together.c.id).limit(1)


_OLDEST = _oldest()


def oldest_ready(connection: Connection, queues: Sequence[str]) -> dict[str, str]:
    """The key of the job that was enqueued first of those ready in each queue.

    Looks at one row a queue and priority, however many there are.
    """
    found: dict[str, str] = {}
    for queue in queues:
        # One look a queue, of which there are a handful; none of them reads more than a few rows.
        key = connection.execute(
            _OLDEST, {"queue": queue}
        ).scalar()  # sutazai: ignore[query-in-loop]
        if key is not None:
            found[queue] = key
    return found


def cancel(connection: Connection, key: str) -> bool:
    """Take a live job away, from its worker too if it is running; whether there was one."""
    row = connection.execute(
        delete(JOBS).where(JOBS.c.key == key).returning(JOBS.c.state)
    ).one_or_none()
    if row is not None and row.state == "running":
        signal(connection, CANCELLED, key)
    return row is not None


def cancel_waiting(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Take away the live jobs of these keys that no attempt is made at, nor held; theirs."""
    if not keys:
        return set()
    waits = JOBS.c.state.in_(("ready", "scheduled"))
    statement = delete(JOBS).where(JOBS.c.key.in_(keys), waits).returning(JOBS.c.key)
    return set(connection.execute(statement).scalars())


def keys_in(connection: Connection, queue: str) -> list[str]:
    """The live jobs of a queue, whatever their state; reads them all, so for rare moments."""
    return list(connection.execute(select(JOBS.c.key).where(JOBS.c.queue == queue)).scalars())


def running_by_consumer(connection: Connection) -> dict[str, int]:
    """How many jobs each consumer is running now, over all workers."""
    rows = connection.execute(
        select(JOBS.c.consumer, func.count()).where(IS_RUNNING).group_by(JOBS.c.consumer)
    )
    return {row[0]: row[1] for row in rows}
