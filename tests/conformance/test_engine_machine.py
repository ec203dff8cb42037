"""The job table against a model: whatever the order of calls, both agree on every live job."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sutazai.database import Connection, Database
from sutazai.database.postgresql import PostgresqlDatabase
from sutazai.database.sqlite import SqliteDatabase
from sutazai.engine import ending, store
from sutazai.engine.job import Ending, Failed, Job, Lost, NewJob, Outcome, Released, Succeeded
from tests.conformance.rig import Scripted

T = TypeVar("T")

QUEUES = ("a", "b")
LEASE = 100
OUTCOMES: dict[str, Outcome] = {
    "succeeded": Succeeded(),
    "failed": Failed("BAD", "bad"),
    "retryable": Failed("BUSY", "busy", retryable=True),
    "released": Released("stop"),
}
SOME = st.integers(min_value=0, max_value=1_000)


class Live:
    """A job as it should be."""

    def __init__(self, new: NewJob, number: int) -> None:
        self.new = new
        self.number = number
        self.run_at = new.run_at
        self.state = "held" if new.held else "ready" if new.run_at is None else "scheduled"
        self.attempt = 0
        self.token = 0
        self.expires = 0


class Jobs(RuleBasedStateMachine):
    open: Callable[[], Database]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.database = self.runner.run(self._open())
        self.handlers = {"k": Scripted()}
        self.live: dict[str, Live] = {}
        self.given: list[Job] = []
        self.now = 1_000
        self.number = 0

    async def _open(self) -> Database:
        database = type(self).open()
        await database.run(lambda c: c.execute(store.JOBS.delete()))
        return database

    def teardown(self) -> None:
        self.runner.run(self.database.close())
        self.runner.close()

    def run(self, unit: Callable[[Connection], T]) -> T:
        return self.runner.run(self.database.run(unit))

    @rule(
        queue=st.sampled_from(QUEUES),
        priority=st.integers(1, 3),
        most=st.integers(1, 3),
        held=st.booleans(),
        delay=st.sampled_from((None, None, 50, 500)),
    )
    def enqueue(self, queue: str, priority: int, most: int, held: bool, delay: int | None) -> None:
        self.number += 1
        new = NewJob(
            key=f"job-{self.number}",
            kind="k",
            queue=queue,
            priority=priority,
            max_attempts=most,
            held=held,
            run_at=None if delay is None else self.now + delay,
        )
        self.run(partial(store.enqueue, jobs=[new]))
        self.live[new.key] = Live(new, self.number)

    @rule(queues=st.sampled_from((("a",), ("b",), ("a", "b"))), limit=st.integers(1, 4))
    def claim(self, queues: tuple[str, ...], limit: int) -> None:
        want = store.Want("agent", queues, limit)
        jobs = self.run(
            partial(store.claim, wants=[want], worker="w", lease_expires_at=self.now + LEASE)
        )
        ready = [
            one for one in self.live.values() if one.state == "ready" and one.new.queue in queues
        ]
        ready.sort(key=lambda one: (-one.new.priority, one.number))
        assert [job.key for job in jobs] == [one.new.key for one in ready[:limit]]
        for job in jobs:
            one = self.live[job.key]
            one.state, one.expires = "running", self.now + LEASE
            one.attempt += 1
            one.token += 1
            assert (job.attempt, job.token) == (one.attempt, one.token)
        self.given += jobs

    @precondition(lambda self: self.given)
    @rule(which=st.lists(SOME, min_size=1, max_size=3), how=st.sampled_from(sorted(OUTCOMES)))
    def end(self, which: list[int], how: str) -> None:
        """End attempts, among them such as were ended, lost or cancelled long ago."""
        jobs = {self.given[number % len(self.given)].id: None for number in which}
        newest = [next(j for j in reversed(self.given) if j.id == one) for one in jobs]
        oldest = self.given[which[0] % len(self.given)]
        chosen = [oldest if job.id == oldest.id else job for job in newest]
        endings = [ending.decide(job, OUTCOMES[how], now=self.now) for job in chosen]
        counted = self.run(
            partial(ending.apply, endings=endings, handlers=self.handlers, now=self.now)
        )
        assert counted == sum(self._ends(end) for end in endings)

    def _ends(self, end: Ending) -> bool:
        one = self.live.get(end.job.key)
        if one is None or one.state != "running" or one.token != end.job.token:
            return False
        if end.final:
            del self.live[end.job.key]
            return True
        if isinstance(end.outcome, Released):
            one.attempt -= 1
        one.token += 1
        one.run_at = end.run_at
        one.state = "ready" if end.run_at is None else "scheduled"
        return True

    @rule()
    def renew(self) -> None:
        held = {store.Held(job.id, job.token) for job in self.given}
        kept = self.run(
            partial(store.renew, held=held, worker="w", lease_expires_at=self.now + LEASE)
        )
        running = {key: one for key, one in self.live.items() if one.state == "running"}
        assert {
            job.key for job in self.given if store.Held(job.id, job.token) in kept
        } == running.keys()
        for one in running.values():
            one.expires = self.now + LEASE

    @rule()
    def rescue(self) -> None:
        def unit(connection: Connection) -> list[Ending]:
            lost = store.lapsed(connection, now=self.now)
            endings = [ending.decide(job, Lost("gone"), now=self.now) for job in lost]
            ending.apply(connection, endings, self.handlers, now=self.now)
            return endings

        lapsed = {
            key
            for key, one in self.live.items()
            if one.state == "running" and one.expires < self.now
        }
        endings = self.run(unit)
        assert {end.job.key for end in endings} == lapsed
        assert all(self._ends(end) for end in endings)

    @rule()
    def make_due_ones_ready(self) -> None:
        jobs = self.run(partial(store.ready_due, now=self.now))
        due = {
            key
            for key, one in self.live.items()
            if one.state == "scheduled" and (one.run_at or 0) <= self.now
        }
        assert {job.key for job in jobs} == due
        for key in due:
            self.live[key].state, self.live[key].run_at = "ready", None

    @precondition(lambda self: self.live)
    @rule(which=SOME)
    def unhold(self, which: int) -> None:
        key = sorted(self.live)[which % len(self.live)]
        one = self.live[key]
        jobs = self.run(partial(store.unhold, keys=[key], now=self.now))
        if one.state == "held" and (one.run_at or 0) > self.now:
            one.state = "scheduled"
            assert not jobs
        elif one.state == "held":
            one.state, one.run_at = "ready", None
            assert [job.key for job in jobs] == [key]
        else:
            assert not jobs

    @precondition(lambda self: self.live)
    @rule(which=SOME)
    def cancel(self, which: int) -> None:
        key = sorted(self.live)[which % len(self.live)]
        assert self.run(partial(store.cancel, key=key))
        assert not self.run(partial(store.cancel, key=key))
        del self.live[key]

    @rule(time=st.integers(1, 200))
    def let_time_pass(self, time: int) -> None:
        self.now += time

    @invariant()
    def both_agree(self) -> None:
        rows: Any = self.runner.run(
            self.database.read(lambda c: c.execute(store.JOBS.select()).all())
        )
        assert {row.key: (row.state, row.attempt, row.token, row.run_at) for row in rows} == {
            key: (one.state, one.attempt, one.token, one.run_at) for key, one in self.live.items()
        }


@pytest.fixture(params=["sqlite", "postgresql"])
def opener(request: pytest.FixtureRequest) -> Any:
    """Opens the same database again and again."""
    if request.param == "postgresql":
        yield partial(PostgresqlDatabase, request.getfixturevalue("postgres_url"), connections=2)
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "jobs.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield partial(SqliteDatabase, path)


def test_the_table_agrees_with_the_model(opener: Callable[[], Database]) -> None:
    machine = type("TheseJobs", (Jobs,), {"open": staticmethod(opener)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
