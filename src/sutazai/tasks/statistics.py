"""How the tasks fare as a whole, from counters: the same in every process, at any size."""

from collections.abc import Mapping, Sequence

import msgspec

from sutazai import clock, ids
from sutazai.clock import SECOND
from sutazai.database import Connection, Database
from sutazai.engine import store as jobs
from sutazai.tasks import counts_store, ends_store
from sutazai.tasks.model import TaskStatus

WINDOW_SECONDS = 3600
"""What durations and the error rate are measured over: the last hour, by whole minutes."""

_P95 = 0.95
_MOST_QUEUES = 100


class TaskStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """`counts` by (type, status); ages and durations in seconds.

    None where nothing ended within the window.
    """

    counts: Mapping[tuple[str, str], int]
    oldest_queued: Mapping[str, float]
    completed_today: int
    average_duration: float | None
    p95_duration: float | None
    error_rate: float | None

    def with_status(self, status: TaskStatus) -> int:
        """How many tasks there are in a status."""
        return sum(count for (_, one), count in self.counts.items() if one == status)


class Statistics:
    """Reads them."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def read(self) -> TaskStatistics:
        """As they are now."""
        return await self._database.read(_read)

    def purge(self, connection: Connection) -> int:
        """Inside a unit: forget what no window reaches any more; 0, for it is done at once."""
        ends_store.purge(connection, now=clock.now())
        return 0


def _read(connection: Connection) -> TaskStatistics:
    now = clock.now()
    counts = counts_store.counts(connection)
    queued = [
        task_type
        for (task_type, status), count in sorted(counts.items())
        if status == TaskStatus.QUEUED and count > 0
    ]
    oldest = jobs.oldest_ready(connection, queued[:_MOST_QUEUES])
    ends = ends_store.since(connection, now - WINDOW_SECONDS * SECOND)
    completed = [end for end in ends if end.status == TaskStatus.COMPLETED]
    done = sum(end.number for end in completed)
    every = sum(end.number for end in ends)
    return TaskStatistics(
        counts=counts,
        oldest_queued={
            queue: max(0.0, (now - ids.made_at(key)) / SECOND) for queue, key in oldest.items()
        },
        completed_today=ends_store.on_day(connection, now, TaskStatus.COMPLETED),
        average_duration=(
            round(sum(end.duration for end in completed) / done / SECOND, 6) if done else None
        ),
        p95_duration=_quantile(completed, _P95),
        error_rate=round((every - done) / every, 6) if every else None,
    )


def _quantile(buckets: Sequence[ends_store.Bucket], share: float) -> float | None:
    """The mean of the durations around the quantile."""
    rank = share * sum(bucket.number for bucket in buckets)
    seen = 0
    for bucket in buckets:
        seen += bucket.number
        if seen >= rank:
            return round(bucket.duration / bucket.number / SECOND, 6)
    return None
