"""What the engine promises to whoever enqueues: what runs, when, in which order, how it ends."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import pytest
from sqlalchemy.exc import IntegrityError

from sutazai import clock
from sutazai.database import Connection
from sutazai.engine import store
from sutazai.engine.ending import decide
from sutazai.engine.job import Consumer, Failed, Job, NewJob, Outcome, Parked, Released, Succeeded
from tests.conformance.rig import Rig, always, waits_for

NEW = NewJob(key="new", kind="k", queue="q")


async def test_a_job_is_enqueued_with_its_transaction_or_not_at_all(rig: Rig) -> None:
    def changes_its_mind(connection: Connection) -> None:
        store.enqueue(connection, [NEW])
        raise LookupError

    await rig.worker()
    with pytest.raises(LookupError):
        await rig.database.run(changes_its_mind)
    await rig.enqueue("other")
    await rig.until_ended("other")
    assert not rig.of("started", "new")


async def test_a_key_is_unique_among_live_jobs_only(rig: Rig) -> None:
    await rig.enqueue("one")
    with pytest.raises(IntegrityError):
        await rig.enqueue("one")
    await rig.worker()
    await rig.until_ended("one")
    await rig.enqueue("one")
    await rig.until_ends("one", 2)


async def test_a_signal_starts_a_job_without_any_poll(rig: Rig) -> None:
    await rig.worker()
    await rig.enqueue("first")
    await rig.until_ended("first")
    await rig.enqueue("second")
    await rig.until_ended("second")


async def test_the_highest_priority_goes_first_then_the_oldest_over_all_queues(rig: Rig) -> None:
    for key, queue, priority in [
        ("low", "a", 1),
        ("old", "b", 5),
        ("young", "a", 5),
        ("high", "c", 10),
        ("youngest", "b", 5),
        ("foreign", "d", 10),
    ]:
        await rig.enqueue(key, queue=queue, priority=priority)
    await rig.worker(capacity=1, queues=("a", "b", "c"))
    await rig.until_ended("low")
    order = [one.key for one in rig.of("started")]
    assert order == ["high", "old", "young", "youngest", "low"]


async def test_one_claim_takes_the_best_of_all_queues_and_no_more_than_wanted(rig: Rig) -> None:
    for number in range(30):
        await rig.enqueue(f"job-{number}", queue=f"q{number % 3}", priority=number % 5)
    want = store.Want("agent", ("q0", "q1", "q2"), 7)
    jobs = await rig.database.run(
        lambda c: store.claim(c, [want], worker="w", lease_expires_at=clock.now())
    )
    assert [job.key for job in jobs] == [f"job-{n}" for n in (4, 9, 14, 19, 24, 29, 3)]
    assert sum(row.state == "running" for row in (await rig.jobs()).values()) == 7


async def test_no_consumer_runs_more_than_its_capacity(rig: Rig) -> None:
    gate = asyncio.Event()
    keys = [f"job-{number}" for number in range(20)]
    for key in keys:
        rig.handler.scripts[key] = waits_for(gate)
    worker = await rig.worker(capacity=3)
    await rig.enqueue(*keys)
    for _ in range(3):
        await rig.began()
    assert worker.load == {"agent": 3}
    gate.set()
    await rig.until_ended(*keys)
    assert rig.handler.most_running == 3
    assert worker.load == {"agent": 0}


async def test_consumers_of_one_worker_have_each_their_own_room(rig: Rig) -> None:
    gate = asyncio.Event()
    consumers = [Consumer("small", ("a", "both"), 1), Consumer("large", ("b", "both"), 2)]
    worker = await rig.worker(consumers=consumers)
    for key, queue in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("x1", "both"), ("x2", "both")]:
        rig.handler.scripts[key] = waits_for(gate)
        await rig.enqueue(key, queue=queue)
    for _ in range(3):
        await rig.began()
    assert worker.load == {"small": 1, "large": 2}
    gate.set()
    await rig.until_ended("a1", "a2", "b1", "x1", "x2")
    assert rig.handler.most_running == 3


async def test_many_claimers_take_every_job_once(rig: Rig) -> None:
    keys = [f"job-{number}" for number in range(300)]
    await rig.enqueue(*keys)
    for _ in range(6):
        await rig.worker(capacity=5)
    await rig.until_ended(*keys)
    assert sorted(one.key for one in rig.of("started")) == sorted(keys)
    assert {one.attempt for one in rig.of("started")} == {1}
    assert not await rig.jobs()


async def test_a_retryable_failure_runs_again_later_until_the_attempts_are_used_up(
    rig: Rig,
) -> None:
    rig.handler.scripts["job"] = always(Failed("BUSY", "not now", retryable=True))
    await rig.scheduler()
    await rig.worker()
    await rig.enqueue("job", max_attempts=3)
    for attempt in (1, 2):
        await rig.until_ends("job", attempt)
        row = (await rig.jobs())["job"]
        assert (row.state, row.attempt) == ("scheduled", attempt)
        await rig.hurry()
    await rig.until_ended("job")
    assert rig.ends("job") == [(1, "Failed", False), (2, "Failed", False), (3, "Failed", True)]
    assert not await rig.jobs()


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (7, 60), (50, 60)])
def test_every_retry_waits_twice_as_long_up_to_a_minute(attempt: int, seconds: int) -> None:
    job = Job(1, "key", "k", "q", 5, "", attempt, 100, None, 1, None, None)
    ending = decide(job, Failed("BUSY", "not now", retryable=True), now=0)
    assert ending.run_at is not None
    assert 0.8 * seconds <= ending.run_at / clock.SECOND <= 1.2 * seconds


async def test_a_failure_that_would_come_again_ends_the_job(rig: Rig) -> None:
    rig.handler.scripts["job"] = always(Failed("BAD", "bad input"))
    await rig.worker()
    await rig.enqueue("job")
    await rig.until_ended("job")
    assert rig.ends("job") == [(1, "Failed", True)]


async def test_an_outcome_may_say_when_the_job_is_to_run_again(rig: Rig) -> None:
    hour = 3_600 * clock.SECOND
    in_an_hour = clock.now() + hour
    rig.handler.scripts["failed"] = always(Failed("X", "no", retryable=True, delay=hour))
    rig.handler.scripts["released"] = always(Released("not now", in_an_hour))
    await rig.worker()
    await rig.enqueue("failed", "released")
    await rig.until_ends("failed", 1)
    await rig.until_ends("released", 1)
    jobs = await rig.jobs()
    assert (jobs["failed"].state, jobs["failed"].attempt) == ("scheduled", 1)
    assert in_an_hour <= jobs["failed"].run_at <= clock.now() + hour
    assert (jobs["released"].state, jobs["released"].attempt) == ("scheduled", 0)
    assert jobs["released"].run_at == in_an_hour


async def test_a_parked_job_leaves_its_place_to_others_and_goes_on_when_let_go(rig: Rig) -> None:
    outcomes: Iterator[Outcome] = iter([Parked(), Parked(), Succeeded()])

    async def script(_: Job) -> Outcome:
        return next(outcomes)

    rig.handler.scripts["job"] = script
    await rig.worker(capacity=1)
    await rig.enqueue("job")
    for number in range(1, 3):
        await rig.until_ends("job", number)
        # The one place is free; what is parked stays so.
        await rig.enqueue(f"other {number}")
        await rig.until_ended(f"other {number}")
        job = (await rig.jobs())["job"]
        assert (job.state, job.attempt, job.worker) == ("held", 0, None)
        await rig.database.run(lambda c: store.unhold(c, ["job"], now=clock.now()))
    await rig.until_ended("job")
    assert rig.ends("job") == [(1, "Parked", False), (1, "Parked", False), (1, "Succeeded", True)]
    assert not await rig.jobs()


async def test_an_attempt_is_stopped_when_its_time_is_up(rig: Rig) -> None:
    rig.handler.scripts["job"] = waits_for(asyncio.Event())
    worker = await rig.worker()
    await rig.enqueue("job", timeout=clock.SECOND // 20)
    assert await rig.stopped() == "job"
    await rig.until_ended("job")
    assert rig.ends("job") == [(1, "Failed", True)]
    assert worker.load == {"agent": 0}


async def test_a_delayed_job_starts_when_its_time_has_come(rig: Rig) -> None:
    await rig.scheduler()
    await rig.worker()
    due = clock.now() + clock.SECOND // 4
    await rig.enqueue("later", run_at=due)
    await rig.until_ended("later")
    assert clock.now() >= due
    assert [one.hook for one in rig.told] == ["readied", "started", "ended"]


async def test_an_earlier_job_is_not_kept_waiting_by_a_later_one(rig: Rig) -> None:
    await rig.scheduler()
    await rig.worker()
    await rig.enqueue("next year", run_at=clock.now() + 365 * 86_400 * clock.SECOND)
    await rig.enqueue("soon", run_at=clock.now() + clock.SECOND // 10)
    await rig.until_ended("soon")
    assert not rig.of("started", "next year")


async def test_several_schedulers_make_a_job_ready_once(rig: Rig) -> None:
    for _ in range(3):
        await rig.scheduler()
    await rig.worker(capacity=50)
    keys = [f"job-{number}" for number in range(50)]
    await rig.enqueue(*keys, run_at=clock.now() + clock.SECOND // 10)
    await rig.until_ended(*keys)
    assert sorted(one.key for one in rig.of("readied")) == sorted(keys)


async def test_a_held_job_waits_until_it_is_let_go(rig: Rig) -> None:
    await rig.worker()
    await rig.enqueue("held", held=True)
    await rig.enqueue("other")
    await rig.until_ended("other")
    assert not rig.of("started", "held")
    ready = await rig.database.run(lambda c: store.unhold(c, ["held", "unknown"], now=clock.now()))
    assert [job.key for job in ready] == ["held"]
    await rig.until_ended("held")


async def test_a_held_job_with_a_later_time_waits_for_that_too(rig: Rig) -> None:
    await rig.scheduler()
    await rig.worker()
    await rig.enqueue("held", held=True, run_at=clock.now() + 3_600 * clock.SECOND)
    assert not await rig.database.run(lambda c: store.unhold(c, ["held"], now=clock.now()))
    assert (await rig.jobs())["held"].state == "scheduled"
    await rig.hurry()
    await rig.until_ended("held")


async def test_a_cancelled_job_never_starts(rig: Rig) -> None:
    await rig.enqueue("cancelled", "other")
    assert await rig.database.run(lambda c: store.cancel(c, "cancelled"))
    assert not await rig.database.run(lambda c: store.cancel(c, "cancelled"))
    await rig.worker()
    await rig.until_ended("other")
    assert not rig.of("started", "cancelled")


async def test_cancelling_stops_a_running_attempt_and_frees_its_place(rig: Rig) -> None:
    rig.handler.scripts["running"] = waits_for(asyncio.Event())
    await rig.worker(capacity=1)
    await rig.enqueue("running", "next")
    assert (await rig.began()).key == "running"
    await rig.database.run(lambda c: store.cancel(c, "running"))
    assert await rig.stopped() == "running"
    await rig.until_ended("next")
    assert not rig.ends("running")


async def test_a_result_that_comes_after_the_cancellation_is_refused(rig: Rig) -> None:
    gate = asyncio.Event()

    async def deaf(job: Job) -> Outcome:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                gate.set()
        return Succeeded()

    rig.handler.scripts["deaf"] = deaf
    await rig.worker(capacity=1)
    await rig.enqueue("deaf", "next")
    await rig.began()
    await rig.database.run(lambda c: store.cancel(c, "deaf"))
    await rig.until_ended("next")
    assert not rig.ends("deaf")


async def test_a_job_cancelled_in_the_moment_of_its_claim_does_not_begin(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = rig.handler.started

    def and_cancelled(
        connection: Connection, jobs: Sequence[Job], now: int
    ) -> Mapping[int, object]:
        if jobs[0].key == "cancelled":
            store.cancel(connection, "cancelled")
        return started(connection, jobs, now)

    monkeypatch.setattr(rig.handler, "started", and_cancelled)
    rig.handler.scripts["cancelled"] = waits_for(asyncio.Event())
    await rig.enqueue("cancelled", "next")
    await rig.worker(capacity=1)
    await rig.until_ended("next")
    assert (await rig.began()).key == "next"


async def test_cancelling_at_any_moment_leaks_no_place(rig: Rig) -> None:
    worker = await rig.worker(capacity=3)
    keys = [f"job-{number}" for number in range(150)]
    for key in keys:
        rig.handler.scripts[key] = waits_for(asyncio.Event())

    async def come_and_go(key: str) -> None:
        await rig.enqueue(key)
        assert await rig.database.run(lambda c: store.cancel(c, key))

    async with asyncio.TaskGroup() as group:
        for key in keys:
            group.create_task(come_and_go(key))
    last = [f"last-{number}" for number in range(9)]
    await rig.enqueue(*last)
    await rig.until_ended(*last)
    assert worker.load == {"agent": 0}
    assert not await rig.jobs()
