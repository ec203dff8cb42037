"""A due time, as a durable job: what is to begin is begun in the transaction that ends the job."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sutazai import clock, ids
from sutazai.database import Connection, tally
from sutazai.engine import store as jobs
from sutazai.engine.job import MOST_ATTEMPTS, Consumer, Ending, Failed, Job, NewJob, Outcome
from sutazai.engine.job import Succeeded as Done
from sutazai.errors import SutazaiError
from sutazai.events import log
from sutazai.events.model import SYSTEM, NewEvent, Origin
from sutazai.identity.model import may
from sutazai.identity.users import Users
from sutazai.schedules import store
from sutazai.schedules.model import Firing, Misfire, Schedule, ScheduleStatus
from sutazai.schedules.model import Outcome as Became
from sutazai.schedules.timing import newest_due, next_due
from sutazai.tasks.service import Tasks
from sutazai.workflows.executions import Executions

KIND = "schedule"
CONSUMER = Consumer("schedules", (KIND,), 10)

_UNKNOWN = "It could not be begun; the server's log has the reason."


class _Ticket(NamedTuple):
    """What the job of a due time holds."""

    schedule_id: str
    due_at: int


class _Begun(NamedTuple):
    """What was begun, or why nothing was."""

    task_id: str | None = None
    execution_id: str | None = None
    reason: str | None = None
    orphaned: bool = False


def key_of(schedule_id: str) -> str:
    """The key of the job for a schedule's next due time."""
    return f"{KIND}:{schedule_id}"


def enqueue(connection: Connection, schedule: Schedule) -> None:
    """Inside a unit: see to it that the next due time comes; does nothing where there is none."""
    if schedule.next_run_at is None:
        return
    ticket = _Ticket(schedule.schedule_id, schedule.next_run_at)
    job = NewJob(
        key=key_of(schedule.schedule_id),
        kind=KIND,
        queue=KIND,
        payload=msgspec.json.encode(ticket).decode(),
        max_attempts=MOST_ATTEMPTS,
        run_at=schedule.next_run_at,
    )
    jobs.enqueue(connection, [job])


def notice(event: str, schedule: Schedule, origin: Origin, **more: Any) -> NewEvent:
    """An event about a schedule; what is None is left out."""
    data = {"schedule_id": schedule.schedule_id, "name": schedule.name}
    data |= {name: value for name, value in more.items() if value is not None}
    return NewEvent(f"schedule.{event}", data, origin, schedule.resource, schedule.owner)


class DueTimes:
    """The engine's handler for due times."""

    def __init__(self, *, tasks: Tasks, executions: Executions, users: Users) -> None:
        self._tasks = tasks
        self._executions = executions
        self._users = users

    def readied(self, connection: Connection, jobs: Sequence[Job], now: int) -> None:
        """See `Handler.readied`."""

    def started(self, connection: Connection, jobs: Sequence[Job], now: int) -> Mapping[int, Any]:
        """See `Handler.started`."""
        return {}

    async def run(self, job: Job, prepared: Any) -> Outcome:
        """See `Handler.run`; what is to be done is done with the job's end."""
        return Done()

    def before_ended(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """See `Handler.before_ended`; an execution that begins is nobody else's yet."""

    def ended(self, connection: Connection, endings: Sequence[Ending], now: int) -> None:
        """See `Handler.ended`."""
        for ending in endings:
            if not ending.final:
                continue
            ticket = msgspec.json.decode(ending.job.payload, type=_Ticket)
            schedule = store.get(connection, ticket.schedule_id, lock=True)
            if schedule is None or schedule.next_run_at != ticket.due_at:
                continue
            # The end that could not be recorded comes a second time, as a failure.
            failed = isinstance(ending.outcome, Failed)
            self._fire(connection, schedule, now=max(now, ticket.due_at), failed=failed)

    def _fire(self, connection: Connection, schedule: Schedule, *, now: int, failed: bool) -> None:
        assert schedule.next_run_at is not None
        due = newest_due(schedule.timing, schedule.next_run_at, now)
        origin = Origin(SYSTEM.actor, ids.new_id("req"))
        late = now - due.at > schedule.grace
        orphaned = False
        if failed:
            firing = _firing(due.at, now, Became.REFUSED, due.before, _Begun(reason=_UNKNOWN))
        elif late and schedule.misfire is Misfire.SKIP:
            reason = "No server was there in time."
            firing = _firing(due.at, now, Became.SKIPPED, due.before, _Begun(reason=reason))
        else:
            begun = self._begin(connection, schedule, origin)
            orphaned = begun.orphaned
            outcome = Became.FIRED if begun.reason is None else Became.REFUSED
            firing = _firing(due.at, now, outcome, due.before, begun)
        following = next_due(schedule.timing, now)
        status = ScheduleStatus.COMPLETED if following is None else ScheduleStatus.ACTIVE
        if orphaned and following is not None:
            following, status = None, ScheduleStatus.PAUSED
        after = msgspec.structs.replace(
            schedule, status=status, next_run_at=following, last_due_at=due.at
        )
        store.replace(connection, after)
        store.add_firing(connection, schedule.schedule_id, firing)
        tally(connection, "schedules", firing.outcome.value)
        enqueue(connection, after)
        event = notice(
            firing.outcome.value,
            after,
            origin,
            due_at=clock.to_iso(firing.due_at),
            missed=firing.missed or None,
            task_id=firing.task_id,
            execution_id=firing.execution_id,
            reason=firing.reason,
        )
        log.append(connection, [event], now=now)

    def _begin(self, connection: Connection, schedule: Schedule, origin: Origin) -> _Begun:
        owner = self._users.hold(connection, schedule.owner)
        if owner is None:
            return _Begun(reason="Its owner is no longer there; it is paused.", orphaned=True)
        if not owner.enabled:
            return _Begun(reason="Its owner is disabled.")
        if not may(owner.roles, "execute", schedule.resource):
            reason = f"Its owner lacks the permission 'execute' on {schedule.resource!r}."
            return _Begun(reason=reason)
        try:
            return self._submit(connection, schedule, origin)
        except SutazaiError as error:
            said = [f"{one.field}: {one.message}" for one in error.details]
            return _Begun(reason=" ".join([error.message, *said]))

    def _submit(self, connection: Connection, schedule: Schedule, origin: Origin) -> _Begun:
        if schedule.task is not None:
            wrong = self._tasks.problems(schedule.task.type, schedule.task.agent)
            if wrong:
                return _Begun(reason="; ".join(f"{one.field}: {one.message}" for one in wrong))
            [task] = self._tasks.add(
                connection, [schedule.task], submitted_by=schedule.owner, origin=origin
            )
            return _Begun(task_id=task.task_id)
        assert schedule.workflow is not None
        execution = self._executions.add(
            connection,
            schedule.workflow.workflow_id,
            schedule.workflow.input,
            submitted_by=schedule.owner,
            origin=origin,
        )
        return _Begun(execution_id=execution.execution_id)


def _firing(due_at: int, now: int, outcome: Became, missed: int, begun: _Begun) -> Firing:
    return Firing(
        due_at=due_at,
        happened_at=now,
        outcome=outcome,
        missed=missed,
        task_id=begun.task_id,
        execution_id=begun.execution_id,
        reason=begun.reason,
    )
