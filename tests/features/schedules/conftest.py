"""Schedules with an engine of their own, and a clock that is moved by hand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import pytest

from sutazai import clock, ids
from sutazai.agents.service import AgentDirectory
from sutazai.builtin_agents.master_coordinator import MasterCoordinator
from sutazai.clock import SECOND
from sutazai.database import Connection, Database, signal
from sutazai.engine import store as jobs
from sutazai.engine.rescuer import Rescuer
from sutazai.engine.scheduler import Scheduler
from sutazai.engine.worker import Worker
from sutazai.events import log
from sutazai.events.hub import EventHub
from sutazai.events.model import SYSTEM, Event
from sutazai.identity.hooks import ignore
from sutazai.identity.passwords import Passwords
from sutazai.identity.users import Users
from sutazai.schedules import firing
from sutazai.schedules.model import Firing, Schedule, ScheduleDraft, Timing, WorkflowCall
from sutazai.schedules.service import Schedules, scheduled_by
from sutazai.tasks.cache import PeekingCache
from sutazai.tasks.foresight import Foresight
from sutazai.tasks.model import TaskDraft, TaskEnded, TaskFilter
from sutazai.tasks.service import Tasks
from sutazai.workflows.model import Definition, Step
from sutazai.workflows.service import Workflows

PATIENCE = 60.0
START = 1_800_000_000 * SECOND
"""2027-01-15T08:00:00Z, a Friday."""
MINUTE, HOUR = 60, 3600


class Rig:
    """Schedules over one database; `leap` moves the time, `running` has them fire meanwhile."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database = database
        self._time = START
        monkeypatch.setattr(clock, "now", self.now)
        agent = MasterCoordinator().description
        directory = AgentDirectory(database=database, always_known=[agent])
        hub = EventHub(database)
        self.tasks = Tasks(
            database=database,
            hub=hub,
            directory=directory,
            ends=_NobodyWaits(),
            check_callback_url=_accept,
        )
        foresight = Foresight(
            directory=directory,
            agents=[],
            cache=PeekingCache(database=database),
            has_model=lambda: False,
        )
        self.workflows = Workflows(
            database=database,
            hub=hub,
            tasks=self.tasks,
            directory=directory,
            foresees=foresight,
            scheduled_by=scheduled_by,
        )
        self.hasher = Passwords(memory_kib=8, time_cost=1, parallelism=1)
        self.users = Users(database=database, hasher=self.hasher, on_change=ignore, now=self.now)
        self.schedules = Schedules(
            database=database,
            tasks=self.tasks,
            workflows=self.workflows,
            users=self.users,
            most_per_user=3,
        )

    def now(self) -> int:
        """Stands still until it is moved."""
        return self._time

    def leap(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self._time += int(seconds * SECOND)

    async def user(self, *roles: str) -> str:
        """A new user's id."""
        name = ids.new_id("user")
        made = await self.users.create(
            username=name, password="correct horse battery", roles=roles or ("developer",)
        )
        return made.user_id

    async def workflow(self) -> str:
        """The id of a workflow of one ping."""
        definition = Definition(name="w", steps=(Step(step_id="a", type="ping"),))
        made = await self.workflows.definitions.create(
            definition, created_by="user-1", origin=SYSTEM
        )
        return made.workflow_id

    async def schedule(
        self, owner: str, cron: str | None = "* * * * *", *, at: float | None = None, **more: Any
    ) -> Schedule:
        """A schedule of a ping, or of the workflow that is given; `at` in seconds from now."""
        timing = Timing(cron=cron)
        if at is not None:
            timing = Timing(at=self.now() + int(at * SECOND))
        if "workflow" in more:
            more["workflow"] = WorkflowCall(workflow_id=more["workflow"], input={"n": 1})
        else:
            more["task"] = TaskDraft(type="ping", description="on time", metadata={"n": 1})
        draft = ScheduleDraft(name="a schedule", timing=timing, **more)
        return await self.schedules.create(draft, owner=owner, origin=SYSTEM)

    @contextlib.asynccontextmanager
    async def running(self, workers: int = 1) -> AsyncIterator[None]:
        """The engine, as so many processes would run it."""
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(workers):
                handlers = self.schedules.handlers
                scheduler = Scheduler(database=self.database, handlers=handlers)
                await scheduler.start()
                stack.push_async_callback(scheduler.stop)
                rescuer = Rescuer(database=self.database, handlers=handlers)
                await rescuer.start()
                stack.push_async_callback(rescuer.stop)
                worker = Worker(
                    database=self.database,
                    worker_id=ids.new_id("worker"),
                    handlers=handlers,
                    consumers=[firing.CONSUMER],
                    lease_seconds=60,
                )
                await worker.start()
                stack.push_async_callback(worker.stop, drain_seconds=5)
            yield

    async def wake(self) -> None:
        """Have the engine look at the clock."""
        await self.database.run(partial(signal, channel=jobs.SCHEDULED))

    async def history(self, schedule: Schedule, number: int) -> Sequence[Firing]:
        """What became of the due times, oldest first, once there are so many."""
        async with asyncio.timeout(PATIENCE):
            while True:
                await self.wake()
                page = await self.schedules.history(schedule.schedule_id, limit=1_000)
                if len(page.firings) >= number:
                    assert len(page.firings) == number
                    return page.firings[::-1]
                await asyncio.sleep(0.02)  # the clock was moved, of which nothing tells

    async def all_tasks(self) -> list[str]:
        """The ids of all tasks, newest first."""
        page = await self.tasks.list_tasks(TaskFilter(), limit=1_000)
        return [task.task_id for task in page.tasks]

    async def events(self, prefix: str = "schedule.") -> list[Event]:
        """The events about schedules, in order."""
        page = await self.database.read(
            partial(
                log.read_settled, after=0, up_to=2**62, limit=10_000, resources=None, owner=None
            )
        )
        return [event for event in page if event.event_type.startswith(prefix)]


class _NobodyWaits:
    """No hooks: no task ends here."""

    def before_tasks_end(self, connection: Connection, task_ids: Sequence[str]) -> None:
        """See Ends."""

    def task_ended(self, connection: Connection, over: Sequence[TaskEnded], now: int) -> None:
        """See Ends."""


async def _accept(_url: str) -> None:
    return


@pytest.fixture
def rig(database: Database, monkeypatch: pytest.MonkeyPatch) -> "Rig":
    return Rig(database, monkeypatch)
