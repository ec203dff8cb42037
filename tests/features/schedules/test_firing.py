"""What becomes of a due time: begun once, by whomever, or the reason why not."""

import asyncio
import json
from functools import partial
from itertools import pairwise

import pytest

from sutazai import clock
from sutazai.clock import SECOND
from sutazai.database import Connection
from sutazai.engine import store as jobs
from sutazai.errors import SutazaiError
from sutazai.events.model import SYSTEM
from sutazai.schedules import firing, store
from sutazai.schedules.model import (
    MOST_KEPT,
    Changes,
    Firing,
    Misfire,
    Outcome,
    Schedule,
    ScheduleStatus,
)
from sutazai.workflows import store as workflow_store
from tests.features.schedules.conftest import HOUR, MINUTE, START, Rig


async def test_a_due_time_submits_the_task_as_its_owner(rig: Rig) -> None:
    owner = await rig.user("user")
    schedule = await rig.schedule(owner)
    assert schedule.next_run_at == START + MINUTE * SECOND
    async with rig.running():
        rig.leap(MINUTE)
        [fired] = await rig.history(schedule, 1)
    assert (fired.outcome, fired.due_at, fired.missed) == (Outcome.FIRED, schedule.next_run_at, 0)
    assert fired.task_id is not None
    task = await rig.tasks.get(fired.task_id)
    assert (task.type, task.metadata, task.submitted_by) == ("ping", {"n": 1}, owner)
    after = await rig.schedules.get(schedule.schedule_id)
    assert (after.status, after.last_due_at) == (ScheduleStatus.ACTIVE, fired.due_at)
    assert after.next_run_at == fired.due_at + MINUTE * SECOND
    created, told = await rig.events()
    assert (created.event_type, told.event_type) == ("schedule.created", "schedule.fired")
    assert json.loads(told.data) == {
        "schedule_id": schedule.schedule_id,
        "name": "a schedule",
        "due_at": clock.to_iso(fired.due_at),
        "task_id": fired.task_id,
    }
    [submitted] = await rig.events("task.created")
    # So that the log tells which firing a task comes from.
    assert submitted.request_id == told.request_id is not None
    assert (told.resource, told.owner) == ("tasks", owner)


async def test_a_due_time_executes_the_workflow(rig: Rig) -> None:
    owner = await rig.user("developer")
    schedule = await rig.schedule(owner, workflow=await rig.workflow())
    async with rig.running():
        rig.leap(MINUTE)
        [fired] = await rig.history(schedule, 1)
    assert fired.execution_id is not None
    execution = await rig.workflows.executions.get(fired.execution_id)
    assert (execution.submitted_by, execution.input) == (owner, {"n": 1})
    told = (await rig.events())[-1]
    assert (told.event_type, told.resource) == ("schedule.fired", "workflows")


async def test_what_is_to_begin_once_begins_once(rig: Rig) -> None:
    schedule = await rig.schedule(await rig.user(), at=30)
    async with rig.running():
        rig.leap(31)
        await rig.history(schedule, 1)
        rig.leap(HOUR)
        await rig.history(schedule, 1)
    after = await rig.schedules.get(schedule.schedule_id)
    assert (after.status, after.next_run_at) == (ScheduleStatus.COMPLETED, None)
    assert rig.schedules.upcoming(after) == []


async def test_of_many_workers_one_fires_each_due_time(rig: Rig) -> None:
    owner = await rig.user()
    made = [await rig.schedule(owner) for _ in range(3)]
    async with rig.running(workers=4):
        for number in range(1, 6):
            rig.leap(MINUTE)
            for schedule in made:
                await rig.history(schedule, number)
    for schedule in made:
        found = await rig.history(schedule, 5)
        assert {one.outcome for one in found} == {Outcome.FIRED}
        due = [one.due_at for one in found]
        assert all(after - before == MINUTE * SECOND for before, after in pairwise(due))
    assert len(set(await rig.all_tasks())) == 15


@pytest.mark.parametrize(
    ("misfire", "outcome", "begun"),
    [(Misfire.RUN_ONCE, Outcome.FIRED, 1), (Misfire.SKIP, Outcome.SKIPPED, 0)],
)
async def test_what_was_missed_is_made_up_for_once_or_not_at_all(
    rig: Rig, misfire: Misfire, outcome: Outcome, begun: int
) -> None:
    schedule = await rig.schedule(await rig.user(), "0 * * * *", misfire=misfire)
    assert schedule.next_run_at is not None
    rig.leap(5 * HOUR + 30 * MINUTE)  # nobody is there for five due times
    async with rig.running():
        [found] = await rig.history(schedule, 1)
        assert (found.outcome, found.missed) == (outcome, 4)
        assert found.due_at == schedule.next_run_at + 4 * HOUR * SECOND
        assert len(await rig.all_tasks()) == begun
        # And then it goes on as ever.
        rig.leap(30 * MINUTE)
        _, on_time = await rig.history(schedule, 2)
    assert (on_time.outcome, on_time.missed) == (Outcome.FIRED, 0)
    assert on_time.due_at == found.due_at + HOUR * SECOND


async def test_what_is_late_within_its_grace_is_not_missed(rig: Rig) -> None:
    owner = await rig.user()
    patient = await rig.schedule(
        owner, "0 * * * *", misfire=Misfire.SKIP, grace=31 * MINUTE * SECOND
    )
    strict = await rig.schedule(owner, "0 * * * *", misfire=Misfire.SKIP, grace=0)
    rig.leap(HOUR + 30 * MINUTE)
    async with rig.running():
        [fired] = await rig.history(patient, 1)
        [skipped] = await rig.history(strict, 1)
    assert fired.outcome is Outcome.FIRED
    assert (skipped.outcome, skipped.reason) == (Outcome.SKIPPED, "No server was there in time.")


async def test_a_disabled_owners_schedule_waits_and_says_why(rig: Rig) -> None:
    owner = await rig.user()
    schedule = await rig.schedule(owner)
    await rig.users.update(owner, enabled=False)
    async with rig.running():
        rig.leap(MINUTE)
        [refused] = await rig.history(schedule, 1)
        assert (refused.outcome, refused.reason) == (Outcome.REFUSED, "Its owner is disabled.")
        await rig.users.update(owner, enabled=True, roles=["viewer"])
        rig.leap(MINUTE)
        _, refused = await rig.history(schedule, 2)
        assert refused.reason == "Its owner lacks the permission 'execute' on 'tasks'."
        await rig.users.update(owner, roles=["user"])
        rig.leap(MINUTE)
        fired = (await rig.history(schedule, 3))[-1]
    assert fired.outcome is Outcome.FIRED
    assert await rig.all_tasks() == [fired.task_id]
    refusals = [event for event in await rig.events() if event.event_type == "schedule.refused"]
    assert len(refusals) == 2


async def test_a_deleted_owners_schedule_is_paused(rig: Rig) -> None:
    owner = await rig.user()
    schedule = await rig.schedule(owner)
    await rig.users.create(username="another", password="correct horse battery", roles=["admin"])
    await rig.users.delete(owner)
    async with rig.running():
        rig.leap(MINUTE)
        [refused] = await rig.history(schedule, 1)
    assert "no longer there" in (refused.reason or "")
    after = await rig.schedules.get(schedule.schedule_id)
    assert (after.status, after.next_run_at) == (ScheduleStatus.PAUSED, None)


async def test_a_workflow_that_is_gone_is_told_of_in_the_history(rig: Rig) -> None:
    workflow_id = await rig.workflow()
    schedule = await rig.schedule(await rig.user(), workflow=workflow_id)
    # It was deleted at the moment at which the schedule was made; later that is refused.
    await rig.database.run(
        partial(workflow_store.mark_deleted, workflow_id=workflow_id, now=rig.now())
    )
    async with rig.running():
        rig.leap(MINUTE)
        [refused] = await rig.history(schedule, 1)
        assert refused.outcome is Outcome.REFUSED
        assert workflow_id in (refused.reason or "")
        rig.leap(MINUTE)
        await rig.history(schedule, 2)


async def test_a_paused_one_does_not_fire_and_makes_up_for_nothing(rig: Rig) -> None:
    schedule = await rig.schedule(await rig.user())
    async with rig.running():
        await _change(rig, schedule, paused=True)
        rig.leap(HOUR)
        await rig.history(schedule, 0)
        after = await _change(rig, schedule, paused=False)
        assert after.next_run_at is not None
        assert after.next_run_at > rig.now()
        rig.leap(MINUTE)
        [fired] = await rig.history(schedule, 1)
    assert fired.missed == 0
    told = [event.event_type.removeprefix("schedule.") for event in await rig.events()]
    assert told == ["created", "paused", "resumed", "fired"]


async def test_a_deleted_one_is_gone_with_its_history_but_not_what_it_began(rig: Rig) -> None:
    schedule = await rig.schedule(await rig.user())
    async with rig.running():
        rig.leap(MINUTE)
        await rig.history(schedule, 1)
        await rig.schedules.delete(schedule.schedule_id, origin=SYSTEM)
        rig.leap(HOUR)
        await rig.wake()
        with pytest.raises(SutazaiError, match="There is no schedule"):
            await rig.schedules.history(schedule.schedule_id, limit=1)
    assert len(await rig.all_tasks()) == 1
    left = await rig.database.read(
        partial(store.firings, limit=9, schedule_id=schedule.schedule_id)
    )
    assert left == []
    assert await rig.database.read(jobs.next_run_at) is None


async def test_a_clock_that_is_put_back_brings_no_due_time_twice(rig: Rig) -> None:
    schedule = await rig.schedule(await rig.user())
    async with rig.running():
        rig.leap(MINUTE + 1)
        [first] = await rig.history(schedule, 1)
        rig.leap(-MINUTE)
        # Reckoned anew from a clock that shows what has been already.
        await _change(rig, schedule, paused=True)
        after = await _change(rig, schedule, paused=False)
        assert after.next_run_at == first.due_at + MINUTE * SECOND
        rig.leap(2 * MINUTE)
        await rig.history(schedule, 2)


async def test_the_last_attempt_of_a_worker_that_dies_fires_all_the_same(rig: Rig) -> None:
    schedule = await rig.schedule(await rig.user())
    rig.leap(MINUTE)

    def die(connection: Connection) -> None:
        jobs.ready_due(connection, now=rig.now())
        want = jobs.Want("dead", (firing.KIND,), 1)
        [job] = jobs.claim(connection, [want], worker="dead", lease_expires_at=0)
        connection.execute(
            jobs.JOBS.update().where(jobs.JOBS.c.id == job.id).values(attempt=job.max_attempts)
        )

    await rig.database.run(die)
    async with rig.running():
        [fired] = await rig.history(schedule, 1)
    assert fired.outcome is Outcome.FIRED


async def test_what_cannot_be_recorded_is_refused_and_the_next_time_comes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = await rig.schedule(await rig.user())

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    async with rig.running():
        with monkeypatch.context() as patch:
            patch.setattr(rig.tasks, "add", broken)
            rig.leap(MINUTE)
            [refused] = await rig.history(schedule, 1)
        assert refused.outcome is Outcome.REFUSED
        assert "server's log" in (refused.reason or "")
        rig.leap(MINUTE)
        _, fired = await rig.history(schedule, 2)
    assert fired.outcome is Outcome.FIRED


async def test_the_history_keeps_the_newest(rig: Rig) -> None:
    schedule = await rig.schedule(await rig.user())
    number = MOST_KEPT + 5

    def fill(connection: Connection) -> None:
        for due in range(number):
            one = Firing(due_at=due, happened_at=due, outcome=Outcome.SKIPPED)
            store.add_firing(connection, schedule.schedule_id, one)

    await rig.database.run(fill)
    found = await rig.schedules.history(schedule.schedule_id, limit=2 * MOST_KEPT)
    assert [one.due_at for one in found.firings] == list(range(number))[: -MOST_KEPT - 1 : -1]


async def test_changing_while_it_fires_neither_loses_nor_repeats(rig: Rig) -> None:
    schedule = await rig.schedule(await rig.user())
    async with rig.running(workers=2):
        for number in range(1, 8):
            rig.leap(MINUTE)
            await asyncio.gather(
                rig.wake(),
                *(_change(rig, schedule, name=f"{number}-{one}") for one in range(3)),
            )
            found = await rig.history(schedule, number)
    assert [one.missed for one in found] == [0] * 7
    assert len(await rig.all_tasks()) == 7


async def test_nobody_has_more_than_the_most(rig: Rig) -> None:
    owner, other = await rig.user(), await rig.user()
    made = await asyncio.gather(*(rig.schedule(owner) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, Schedule) for one in made) == 3
    refused = {str(one) for one in made if not isinstance(one, Schedule)}
    assert refused == {"You have 3 schedules, which is the most. Delete one."}
    await rig.schedule(other)
    [gone] = [one for one in made if isinstance(one, Schedule)][:1]
    await rig.schedules.delete(gone.schedule_id, origin=SYSTEM)
    await rig.schedule(owner)


async def _change(rig: Rig, schedule: Schedule, **changes: object) -> Schedule:
    given = Changes(**changes)  # type: ignore[arg-type]  # whichever fields the test names
    return await rig.schedules.update(schedule.schedule_id, given, origin=SYSTEM)
