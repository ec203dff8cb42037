"""What the engine promises when workers, handlers or the database fail."""

import asyncio
import contextlib
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from sutazai import clock
from sutazai.database import Connection
from sutazai.database.unit import take_signals
from sutazai.engine import store
from sutazai.engine.ending import apply, decide
from sutazai.engine.job import Failed, Job, Lost, Outcome, Parked, Released, Succeeded
from sutazai.engine.rescuer import Rescuer
from sutazai.errors import ErrorCode, SutazaiError
from tests.conformance.rig import PATIENCE, Rig, eventually, outage, waits_for
from tests.postgres import PostgresServer


async def _is_renewed(rig: Rig, since: int) -> bool:
    return bool((await rig.jobs())["job"].lease_expires_at > since)


def _cancel_silently(connection: Connection) -> None:
    """Take the job away without the signal, as a rescuer that hears no heartbeats would."""
    store.cancel(connection, "job")
    take_signals(connection)


# --- leases


async def test_work_that_outlasts_its_lease_is_kept_by_heartbeats(rig: Rig) -> None:
    gate = asyncio.Event()
    rig.handler.scripts["long"] = waits_for(gate)
    await rig.worker(lease_seconds=0.3)
    await rig.enqueue("long")
    await rig.began()
    first = (await rig.jobs())["long"].lease_expires_at

    async def has_outlasted_it() -> bool:
        await rig.rescuer.rescue()
        return bool((await rig.jobs())["long"].lease_expires_at > first + clock.SECOND // 2)

    await eventually(has_outlasted_it)
    gate.set()
    await rig.until_ended("long")
    assert rig.ends("long") == [(1, "Succeeded", True)]


async def test_the_end_of_a_lost_attempt_is_refused(rig: Rig) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    waiting = iter(gates)

    async def script(job: Job) -> Outcome:
        await next(waiting).wait()
        return Succeeded()

    rig.handler.scripts["job"] = script
    await rig.worker(capacity=1)
    await rig.enqueue("job")
    await rig.began()
    await rig.worker(capacity=1)
    await rig.lapse()
    assert (await rig.began()).attempt == 2
    gates[0].set()
    # The first worker's next claim reports that end too.
    await rig.enqueue("other")
    await rig.until_ended("other")
    gates[1].set()
    await rig.until_ended("job")
    assert rig.ends("job") == [(1, "Lost", False), (2, "Succeeded", True)]


@pytest.mark.parametrize(
    "late",
    [
        Succeeded(),
        Failed("BUSY", "not now", retryable=True),
        Released("stop"),
        Parked(),
        Lost("gone"),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
@pytest.mark.parametrize("claimed_again", [False, True])
async def test_no_end_of_a_lost_attempt_counts_whatever_became_of_the_job(
    rig: Rig, late: Outcome, claimed_again: bool
) -> None:
    def claim(connection: Connection) -> Job:
        wants = [store.Want("agent", ("q",), 1)]
        [job] = store.claim(connection, wants, worker="w", lease_expires_at=clock.now())
        return job

    await rig.enqueue("job")
    first = await rig.database.run(claim)
    await rig.lapse()
    if claimed_again:
        await rig.database.run(claim)
    before = (await rig.jobs())["job"]
    end = decide(first, late, now=clock.now())
    handlers = {"k": rig.handler}
    assert not await rig.database.run(lambda c: apply(c, [end], handlers, now=clock.now()))
    assert (await rig.jobs())["job"] == before
    assert rig.ends("job") == [(1, "Lost", False)]


async def test_nobody_renews_what_another_holds(rig: Rig) -> None:
    await rig.enqueue("job")
    want = [store.Want("agent", ("q",), 1)]
    [job] = await rig.database.run(
        lambda c: store.claim(c, want, worker="dead", lease_expires_at=0)
    )
    held = {store.Held(job.id, job.token)}
    assert not await rig.database.run(
        lambda c: store.renew(c, held, worker="alive", lease_expires_at=clock.now())
    )
    assert (await rig.jobs())["job"].lease_expires_at == 0


async def test_a_worker_that_claims_again_what_it_lost_stops_the_first_attempt(rig: Rig) -> None:
    gate = asyncio.Event()
    rig.handler.scripts["job"] = waits_for(gate)
    await rig.worker(lease_seconds=0.3, capacity=2)
    await rig.enqueue("job")
    assert (await rig.began()).attempt == 1
    await rig.lapse()
    assert (await rig.began()).attempt == 2
    assert await rig.stopped() == "job"
    assert rig.handler.now_running == 1
    gate.set()
    await rig.until_ended("job")
    assert rig.ends("job") == [(1, "Lost", False), (2, "Succeeded", True)]


async def test_a_worker_stops_what_it_has_lost(rig: Rig) -> None:
    rig.handler.scripts["job"] = waits_for(asyncio.Event())
    await rig.worker(lease_seconds=0.3, capacity=1)
    await rig.enqueue("job", max_attempts=1)
    await rig.began()
    await rig.database.run(_cancel_silently)
    assert await rig.stopped() == "job"
    await rig.enqueue("next")
    await rig.until_ended("next")


async def test_a_job_lost_in_every_attempt_ends_as_lost(rig: Rig) -> None:
    rig.handler.scripts["job"] = waits_for(asyncio.Event())
    await rig.worker(capacity=10)
    await rig.enqueue("job", max_attempts=2)
    for attempt in (1, 2):
        assert (await rig.began()).attempt == attempt
        await rig.lapse()
    await rig.until_ended("job")
    assert rig.ends("job") == [(1, "Lost", False), (2, "Lost", True)]
    assert not await rig.jobs()


async def test_several_rescuers_put_a_job_back_once(rig: Rig) -> None:
    keys = [f"job-{number}" for number in range(250)]
    await rig.enqueue(*keys)
    want = [store.Want("agent", ("q",), 250)]
    await rig.database.run(lambda c: store.claim(c, want, worker="dead", lease_expires_at=0))
    async with asyncio.TaskGroup() as group:
        found = [group.create_task(rig.rescuer.rescue()) for _ in range(5)]
    assert sum(task.result() for task in found) == 250
    assert sorted(one.key for one in rig.of("ended")) == sorted(keys)


async def test_a_claim_nobody_heard_of_lapses(rig: Rig) -> None:
    """As when the answer to a claim's COMMIT was lost."""
    gate = asyncio.Event()
    rig.handler.scripts["known"] = waits_for(gate)
    await rig.worker(lease_seconds=0.3, capacity=1)
    await rig.enqueue("known")
    await rig.began()
    await rig.enqueue("unheard", queue="elsewhere")
    want = [store.Want("agent", ("elsewhere",), 1)]
    await rig.database.run(
        # Long enough for a heartbeat or two, which are not to renew it.
        lambda c: store.claim(
            c, want, worker="worker-1", lease_expires_at=clock.now() + clock.SECOND // 4
        )
    )

    async def is_rescued() -> bool:
        await rig.rescuer.rescue()
        return bool(rig.ends("unheard"))

    await eventually(is_rescued)
    gate.set()
    await rig.until_ended("known")
    assert rig.ends("known") == [(1, "Succeeded", True)]


async def test_a_process_that_stood_still_does_not_rescue_from_itself(rig: Rig) -> None:
    gate = asyncio.Event()
    rig.handler.scripts["job"] = waits_for(gate)
    await rig.worker(lease_seconds=0.9)
    rescuer = Rescuer(database=rig.database, handlers={"k": rig.handler}, interval_seconds=1)
    await rescuer.start()
    await rig.enqueue("job")
    await rig.began()
    time.sleep(2.5)  # noqa: ASYNC251  # the loop standing still is what this is about
    await eventually(partial(_is_renewed, rig, clock.now()))
    gate.set()
    await rig.until_ended("job")
    await rescuer.stop()
    assert rig.ends("job") == [(1, "Succeeded", True)]


# --- stopping


async def test_stopping_lets_running_work_finish_and_claims_nothing_more(rig: Rig) -> None:
    gate = asyncio.Event()
    rig.handler.scripts["running"] = waits_for(gate)
    worker = await rig.worker(capacity=1)
    await rig.enqueue("running", "waiting")
    await rig.began()
    stopping = asyncio.create_task(worker.stop(drain_seconds=PATIENCE))
    await rig.enqueue("late")
    gate.set()
    await stopping
    assert rig.ends("running") == [(1, "Succeeded", True)]
    assert {key: row.state for key, row in (await rig.jobs()).items()} == {
        "waiting": "ready",
        "late": "ready",
    }


async def test_what_is_not_done_in_time_is_given_back_with_its_attempts(rig: Rig) -> None:
    rig.handler.scripts["job"] = waits_for(asyncio.Event())
    worker = await rig.worker()
    await rig.enqueue("job", max_attempts=1)
    await rig.began()
    await worker.stop(drain_seconds=0)
    assert await rig.stopped() == "job"
    assert rig.ends("job") == [(1, "Released", False)]
    rig.handler.scripts.clear()
    await rig.worker()
    await rig.until_ended("job")
    assert rig.ends("job")[1:] == [(1, "Succeeded", True)]


async def test_work_that_ends_when_told_to_stop_has_ended(rig: Rig) -> None:
    async def hurries(job: Job) -> Outcome:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return Succeeded()

    rig.handler.scripts["job"] = hurries
    worker = await rig.worker()
    await rig.enqueue("job")
    await rig.began()
    await worker.stop(drain_seconds=0)
    assert rig.ends("job") == [(1, "Succeeded", True)]


async def test_work_that_does_not_stop_is_given_back_and_its_end_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sutazai.engine.worker._STOP_GRACE", 0.1)
    gate = asyncio.Event()

    async def deaf(job: Job) -> Outcome:
        while not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()
        return Succeeded()

    rig.handler.scripts["job"] = deaf
    worker = await rig.worker()
    await rig.enqueue("job", max_attempts=1)
    await rig.began()
    await worker.stop(drain_seconds=0)
    gate.set()
    await rig.handler_is_idle()
    assert rig.ends("job") == [(1, "Released", False)]
    await rig.worker()
    await rig.until_ended("job")
    assert rig.ends("job")[1:] == [(1, "Succeeded", True)]


async def test_stopping_under_load_loses_no_claim_and_no_end(rig: Rig) -> None:
    keys = [f"job-{number}" for number in range(200)]
    await rig.enqueue(*keys)
    for rounds in range(1, 5):
        worker = await rig.worker(capacity=10)
        await rig.until_told("ended", 30 * rounds)
        await worker.stop(drain_seconds=PATIENCE)
        assert {row.state for row in (await rig.jobs()).values()} <= {"ready"}
    await rig.worker()
    await rig.until_ended(*keys)
    assert {one.attempt for one in rig.of("started")} == {1}
    assert len(rig.of("ended")) == len(keys)


# --- handlers


async def _raises_value_error(job: Job) -> Outcome:
    raise ValueError("with something secret in it")


async def _exits(job: Job) -> Outcome:
    sys.exit(3)


async def _waits_for_something_cancelled(job: Job) -> Outcome:
    other = asyncio.create_task(asyncio.Event().wait())
    other.cancel()
    await other
    raise AssertionError("not reached")


@pytest.mark.parametrize(
    "script",
    [_raises_value_error, _exits, _waits_for_something_cancelled],
    ids=lambda s: s.__name__,
)
async def test_a_handler_that_crashes_uses_up_an_attempt(rig: Rig, script: object) -> None:
    rig.handler.scripts["job"] = script  # type: ignore[assignment]  # pytest knows no types
    await rig.scheduler()
    worker = await rig.worker()
    await rig.enqueue("job", max_attempts=2)
    await rig.until_ends("job", 1)
    await rig.hurry()
    await rig.until_ended("job")
    assert rig.ends("job") == [(1, "Failed", False), (2, "Failed", True)]
    assert worker.load == {"agent": 0}
    assert worker.is_healthy


async def test_an_end_that_cannot_be_recorded_becomes_a_failure_alone(rig: Rig) -> None:
    rig.handler.poison = lambda hook, job, outcome: (
        job.key == "bad" and isinstance(outcome, Succeeded)
    )
    gate = asyncio.Event()
    for key in ("good", "bad", "fine"):
        rig.handler.scripts[key] = waits_for(gate)
    await rig.worker()
    await rig.enqueue("good", "bad", "fine")
    for _ in range(3):
        await rig.began()
    gate.set()
    await rig.until_ended("good", "bad", "fine")
    assert rig.ends("bad")[-1] == (1, "Failed", True)
    assert rig.ends("good") == rig.ends("fine") == [(1, "Succeeded", True)]
    assert not await rig.jobs()


async def test_an_end_that_cannot_be_recorded_at_all_holds_up_nothing(rig: Rig) -> None:
    rig.handler.poison = lambda hook, job, outcome: job.key == "bad" and outcome is not None
    await rig.worker()
    await rig.enqueue("bad", "good")
    await rig.until_ended("good")
    await rig.lapse()
    await rig.enqueue("next")
    await rig.until_ended("next")
    assert list(await rig.jobs()) == ["bad"]
    rig.handler.poison = lambda *_: False
    await rig.lapse()
    await rig.until_ended("bad")


async def test_a_job_that_cannot_be_started_fails_alone(rig: Rig) -> None:
    rig.handler.poison = lambda hook, job, outcome: job.key == "bad" and hook == "started"
    await rig.enqueue("good", "bad", "fine")
    worker = await rig.worker()
    await rig.until_ended("good", "bad", "fine")
    assert rig.ends("bad") == [(1, "Failed", True)]
    assert rig.ends("good") == rig.ends("fine") == [(1, "Succeeded", True)]
    assert worker.load == {"agent": 0}


async def test_a_job_whose_hook_fails_when_it_is_due_starts_all_the_same(rig: Rig) -> None:
    rig.handler.poison = lambda hook, job, outcome: job.key == "bad" and hook == "readied"
    await rig.scheduler()
    await rig.worker()
    await rig.enqueue("good", "bad", run_at=clock.now() + clock.SECOND // 20)
    await rig.until_ended("good", "bad")
    assert rig.of("readied", "good")


async def test_a_job_of_an_unknown_kind_holds_up_nothing(rig: Rig) -> None:
    await rig.enqueue("strange", kind="unheard of", priority=10)
    await rig.enqueue("good")
    await rig.worker(capacity=1)
    await rig.until_ended("good")
    assert not rig.ends("strange")


# --- the database


async def test_an_end_is_kept_while_the_database_is_out(
    rig: Rig, database_url: str | None, data_dir: Path, postgres: PostgresServer
) -> None:
    gate = asyncio.Event()
    rig.handler.scripts["job"] = waits_for(gate)
    worker = await rig.worker()
    await rig.enqueue("job")
    await rig.began()
    async with outage(rig.database, database_url, data_dir, postgres):
        gate.set()
        with pytest.raises(SutazaiError) as caught:
            await rig.enqueue("refused")
        assert caught.value.code is ErrorCode.DATABASE_ERROR
        await rig.handler_is_idle()
    await rig.until_ended("job")
    assert rig.ends("job") == [(1, "Succeeded", True)]
    await rig.enqueue("next")
    await rig.until_ended("next")
    assert not rig.of("started", "refused")
    assert worker.is_healthy


async def test_after_an_outage_the_rescuer_waits_for_heartbeats(
    rig: Rig, database_url: str | None, data_dir: Path, postgres: PostgresServer
) -> None:
    gate = asyncio.Event()
    rig.handler.scripts["job"] = waits_for(gate)
    await rig.worker(lease_seconds=0.6)
    rescuer = Rescuer(database=rig.database, handlers={"k": rig.handler}, interval_seconds=0.3)
    await rescuer.start()
    await rig.enqueue("job")
    await rig.began()
    expires = (await rig.jobs())["job"].lease_expires_at
    async with outage(rig.database, database_url, data_dir, postgres):
        await asyncio.sleep(1.2)  # twice the lease: that it runs out is what this is about
    await eventually(partial(_is_renewed, rig, expires))
    gate.set()
    await rig.until_ended("job")
    await rescuer.stop()
    assert rig.ends("job") == [(1, "Succeeded", True)]


def test_outcomes_say_what_becomes_of_the_job() -> None:
    job = Job(1, "key", "k", "q", 5, "", 1, 2, None, 1, None, None)
    last = Job(1, "key", "k", "q", 5, "", 2, 2, None, 1, None, None)
    retryable = Failed("BUSY", "not now", retryable=True)
    finals = [
        (decide(job, Succeeded(), now=0).final, decide(last, Succeeded(), now=0).final),
        (decide(job, retryable, now=0).final, decide(last, retryable, now=0).final),
        (decide(job, Lost("gone"), now=0).final, decide(last, Lost("gone"), now=0).final),
        (decide(job, Released("stop"), now=0).final, decide(last, Released("stop"), now=0).final),
    ]
    assert finals == [(True, True), (False, True), (False, True), (False, False)]
