"""When a task will probably be done, from the backlog and from what its type took so far."""

import asyncio
from functools import partial

import structlog

from sutazai import clock
from sutazai.agents.service import AgentDirectory
from sutazai.database import Database
from sutazai.errors import SutazaiError
from sutazai.tasks import counts_store, store
from sutazai.tasks.model import TaskStatus

_logger = structlog.get_logger(__name__)

_MAX_AGE = 1 * clock.SECOND
_BACKLOG = (TaskStatus.QUEUED.value, TaskStatus.PROCESSING.value)


class Estimator:
    """Answers from figures that are at most about a second old, so that asking costs nothing."""

    def __init__(self, *, database: Database, directory: AgentDirectory) -> None:
        self._database = database
        self._directory = directory
        self._backlog: dict[str, int] = {}
        self._durations: dict[str, float] = {}
        self._read_at = 0
        self._refreshing: asyncio.Task[None] | None = None

    def keep_fresh(self, task_type: str) -> None:
        """Read the figures again in the background if they are old; on the event loop."""
        if clock.now() - self._read_at > _MAX_AGE and self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh(task_type))

    def completion(self, task_type: str, *, earliest: int) -> int | None:
        """The moment (µs) a task that can start at `earliest` should be done.

        None while nobody who takes the type is online, or none of the type was ever completed:
        there is nothing to reckon with then.
        """
        average = self._durations.get(task_type)
        capacity = self._directory.capacity(task_type)
        if average is None or not capacity:
            return None
        rounds = self._backlog.get(task_type, 0) // capacity + 1
        return earliest + int(rounds * average)

    async def _refresh(self, wanted: str) -> None:
        try:
            counts = await self._database.read(counts_store.counts)
            self._backlog = {}
            for (task_type, status), count in counts.items():
                if status in _BACKLOG:
                    self._backlog[task_type] = self._backlog.get(task_type, 0) + count
            for task_type in {wanted, *self._backlog, *self._durations}:
                taken = await self._database.read(
                    partial(store.recent_durations, task_type=task_type)
                )
                if taken:
                    self._durations[task_type] = sum(taken) / len(taken)
            self._read_at = clock.now()
        except SutazaiError as error:
            _logger.warning("tasks.estimates_stale", reason=error.message)
        finally:
            self._refreshing = None
