"""What users do with schedules: make, read, change, pause, delete, and look back."""

from collections.abc import Mapping
from functools import partial

import msgspec

from sutazai import clock, ids
from sutazai.database import Connection, Database
from sutazai.engine import store as jobs
from sutazai.engine.job import Handler
from sutazai.errors import Detail, ErrorCode, SutazaiError, invalid, not_found
from sutazai.events import log
from sutazai.events.model import Origin
from sutazai.identity.users import Users
from sutazai.limits.idempotency import Replayable
from sutazai.schedules import firing, store, timing
from sutazai.schedules.firing import DueTimes, notice
from sutazai.schedules.model import (
    MOST_TARGET,
    Changes,
    History,
    Schedule,
    ScheduleDraft,
    ScheduleFilter,
    SchedulePage,
    ScheduleStatus,
    Timing,
    WorkflowCall,
)
from sutazai.tasks.model import TaskDraft
from sutazai.tasks.service import Tasks
from sutazai.workflows.service import Workflows

_SHOWN_AHEAD = 5
_NEVER = "There is no due time any more; give one that is still to come"


def scheduled_by(connection: Connection, workflow_id: str) -> list[str]:
    """Inside a unit: the ids of the schedules that will still execute a workflow."""
    return store.executing(connection, workflow_id)


class Schedules:
    """The schedules, and what the engine needs of them."""

    def __init__(
        self,
        *,
        database: Database,
        tasks: Tasks,
        workflows: Workflows,
        users: Users,
        most_per_user: int,
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._workflows = workflows
        self._users = users
        self._most_per_user = most_per_user
        due_times = DueTimes(tasks=tasks, executions=workflows.executions, users=users)
        self.handlers: Mapping[str, Handler] = {firing.KIND: due_times}

    async def create(
        self,
        draft: ScheduleDraft,
        *,
        owner: str,
        origin: Origin,
        replay: Replayable | None = None,
    ) -> Schedule:
        """Keep a new schedule; when this returns, its next due time survives any crash.

        VALIDATION_ERROR with a detail for everything wrong with it; CONFLICT where the owner has as
        many as may be.
        """
        await self._check(draft.timing, draft.task, draft.workflow)

        def make(connection: Connection) -> Schedule:
            now = clock.now()
            self._check_number(connection, owner)
            due = timing.next_due(draft.timing, now)
            if due is None:
                raise invalid("at", _NEVER)
            schedule = Schedule(
                schedule_id=ids.new_id("sch"),
                name=draft.name,
                timing=draft.timing,
                task=draft.task,
                workflow=draft.workflow,
                misfire=draft.misfire,
                grace=draft.grace,
                status=ScheduleStatus.PAUSED if draft.paused else ScheduleStatus.ACTIVE,
                next_run_at=None if draft.paused else due,
                last_due_at=None,
                owner=owner,
                created_at=now,
                updated_at=now,
            )
            store.add(connection, schedule)
            firing.enqueue(connection, schedule)
            log.append(connection, [notice("created", schedule, origin)], now=now)
            return schedule

        def unit(connection: Connection) -> Schedule:
            if replay is None:
                return make(connection)
            return replay(connection, Schedule, partial(make, connection))

        return await self._database.run(unit)

    def _check_number(self, connection: Connection, owner: str) -> None:
        # Alone, so that two requests at a time do not both take the last place.
        self._users.hold(connection, owner, alone=True)
        if store.number_of(connection, owner) >= self._most_per_user:
            message = f"You have {self._most_per_user} schedules, which is the most. Delete one."
            raise SutazaiError(ErrorCode.CONFLICT, message)

    async def _check(
        self, when: Timing, task: TaskDraft | None, workflow: WorkflowCall | None
    ) -> None:
        wrong = _problems_of_timing(when)
        if task is not None:
            wrong += [
                Detail(f"task.{one.field}", one.message)
                for one in self._tasks.problems(task.type, task.agent)
            ]
        target = "workflow" if task is None else "task"
        if len(msgspec.json.encode(workflow if task is None else task)) > MOST_TARGET:
            wrong.append(Detail(target, f"Must be at most {MOST_TARGET} bytes of JSON"))
        if workflow is not None:
            try:
                await self._workflows.definitions.get(workflow.workflow_id)
            except SutazaiError as error:
                if error.code is not ErrorCode.NOT_FOUND:
                    raise
                wrong.append(Detail(f"{target}.workflow_id", error.message))
        if wrong:
            raise SutazaiError(ErrorCode.VALIDATION_ERROR, "Invalid input data", details=wrong)
        if task is not None:
            await self._tasks.check_callback(task)

    # --- reading

    async def get(self, schedule_id: str) -> Schedule:
        """A schedule; NOT_FOUND without it."""
        return await self._database.read(partial(_existing, schedule_id))

    async def list_schedules(
        self, wanted: ScheduleFilter, *, limit: int, cursor: str | None = None
    ) -> SchedulePage:
        """A page of schedules, newest first."""
        read = partial(store.page, wanted=wanted, limit=limit + 1, before=cursor)
        found = await self._database.read(read)
        more = len(found) > limit
        found = found[:limit]
        return SchedulePage(found, found[-1].schedule_id if more else None)

    async def history(self, schedule_id: str, *, limit: int, cursor: int | None = None) -> History:
        """What became of the due times, newest first; NOT_FOUND without the schedule."""

        def unit(connection: Connection) -> History:
            _existing(schedule_id, connection)
            found = store.firings(connection, schedule_id, limit=limit + 1, before=cursor)
            more = len(found) > limit
            found = found[:limit]
            return History(found, found[-1].due_at if more else None)

        return await self._database.read(unit)

    def upcoming(self, schedule: Schedule) -> list[int]:
        """The next few due times (µs) of an active schedule."""
        found: list[int] = []
        due = schedule.next_run_at
        while due is not None and len(found) < _SHOWN_AHEAD:
            found.append(due)
            due = timing.next_due(schedule.timing, due)
        return found

    # --- changing

    async def update(self, schedule_id: str, changes: Changes, *, origin: Origin) -> Schedule:
        """Change what is given; what was due while it is paused is not made up for.

        VALIDATION_ERROR with details, NOT_FOUND, CONFLICT for one that is out of due times.
        """
        before = await self.get(schedule_id)
        _check_kind(before, changes)
        after = _changed(before, changes)
        await self._check(after.timing, after.task, after.workflow)
        return await self._database.run(partial(self._update, schedule_id, changes, origin))

    def _update(
        self, schedule_id: str, changes: Changes, origin: Origin, connection: Connection
    ) -> Schedule:
        now = clock.now()
        before = _taken(schedule_id, connection)
        _check_kind(before, changes)
        after = _changed(before, changes)
        told = _changed_fields(before, after)
        after = _with_next(before, after, changes, now)
        if after == before:
            firing.enqueue(connection, before)
            return before
        after = msgspec.structs.replace(after, updated_at=now)
        store.replace(connection, after)
        firing.enqueue(connection, after)
        events = [notice("updated", after, origin, changed=told)] if told else []
        if after.status is not before.status:
            paused = after.status is ScheduleStatus.PAUSED
            events.append(notice("paused" if paused else "resumed", after, origin))
        log.append(connection, events, now=now)
        return after

    async def delete(self, schedule_id: str, *, origin: Origin) -> None:
        """Take a schedule and its history away; what it has begun goes on."""

        def unit(connection: Connection) -> None:
            schedule = _taken(schedule_id, connection)
            store.remove(connection, schedule_id)
            log.append(connection, [notice("deleted", schedule, origin)], now=clock.now())

        await self._database.run(unit)


def _existing(schedule_id: str, connection: Connection, *, lock: bool = False) -> Schedule:
    schedule = store.get(connection, schedule_id, lock=lock)
    if schedule is None:
        raise not_found("schedule", schedule_id)
    return schedule


def _taken(schedule_id: str, connection: Connection) -> Schedule:
    """The schedule, locked, with no job for its next due time."""
    # The job first: the order in which the engine takes its locks. And once more, for the one that
    # a firing has put there while this waited for it.
    jobs.cancel(connection, firing.key_of(schedule_id))
    schedule = _existing(schedule_id, connection, lock=True)
    jobs.cancel(connection, firing.key_of(schedule_id))
    return schedule


def _problems_of_timing(when: Timing) -> list[Detail]:
    wrong = []
    zone = timing.problem_of_zone(when.timezone)
    if zone is not None:
        wrong.append(Detail("timezone", zone))
    if when.cron is not None:
        cron = timing.problem_of_cron(when.cron)
        if cron is not None:
            wrong.append(Detail("cron", cron))
    return wrong


def _check_kind(schedule: Schedule, changes: Changes) -> None:
    for name, given, has in (
        ("task", changes.task, schedule.task),
        ("workflow", changes.workflow, schedule.workflow),
    ):
        if given is not None and has is None:
            other = "workflow" if name == "task" else "task"
            raise invalid(name, f"This schedule is for a {other}; make another for this")


def _changed(before: Schedule, changes: Changes) -> Schedule:
    """The schedule with what is given, but for its status and its next due time."""
    when = before.timing
    if changes.cron is not None:
        when = Timing(cron=changes.cron, timezone=when.timezone)
    if changes.at is not None:
        when = Timing(at=changes.at, timezone=when.timezone)
    if changes.timezone is not None:
        when = msgspec.structs.replace(when, timezone=changes.timezone)
    given = {
        name: value
        for name in ("name", "task", "workflow", "misfire", "grace")
        if (value := getattr(changes, name)) is not None
    }
    return msgspec.structs.replace(before, timing=when, **given)


def _changed_fields(before: Schedule, after: Schedule) -> list[str]:
    names = ("name", "timing", "task", "workflow", "misfire", "grace")
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def _with_next(before: Schedule, after: Schedule, changes: Changes, now: int) -> Schedule:
    """With the status and the next due time that the changes make."""
    retimed = after.timing != before.timing
    if before.status is ScheduleStatus.COMPLETED and not retimed:
        if changes.paused is None:
            return after
        message = "The schedule is out of due times. Give it a new cron or at."
        raise SutazaiError(ErrorCode.CONFLICT, message)
    paused = before.status is ScheduleStatus.PAUSED
    if changes.paused is not None:
        paused = changes.paused
    due = after.next_run_at
    if retimed or due is None:
        # Not one that was dealt with already, whatever the clock says now.
        due = timing.next_due(after.timing, max(now, before.last_due_at or 0))
        if due is None and (retimed or not paused):
            raise invalid("at", _NEVER)
    status = ScheduleStatus.PAUSED if paused else ScheduleStatus.ACTIVE
    return msgspec.structs.replace(after, status=status, next_run_at=None if paused else due)
