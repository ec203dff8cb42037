"""However long the backlog, the engine's statements reach their rows by an index."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event

from sutazai.database import Connection, Database
from sutazai.engine import store
from sutazai.engine.job import NewJob
from tests.postgres import PostgresServer

_BACKLOG = 20_000
_NOW = 1_000_000
_HELD = [store.Held(number, 1) for number in range(1, 30)]
_TWO_WANTS = [store.Want("agent", ("q0", "q1", "q2"), 5), store.Want("other", ("q3",), 1)]

Work = Callable[[Connection], object]
GenericPlan = Callable[[str], list[str]]

WORKS: dict[str, Work] = {
    "claim": partial(store.claim, wants=_TWO_WANTS, worker="w", lease_expires_at=_NOW),
    "finish": partial(store.finish, held=_HELD),
    "put_back": partial(store.put_back, again=[store.Again(5, 1, None, 1)]),
    "renew": partial(store.renew, held=_HELD, worker="w", lease_expires_at=_NOW),
    "lapsed": partial(store.lapsed, now=_NOW),
    "ready_due": partial(store.ready_due, now=_NOW),
    "next_run_at": store.next_run_at,
    "unhold": partial(store.unhold, keys=["job-1", "job-2"], now=_NOW),
    "cancel": partial(store.cancel, key="job-77"),
}


class Statement(NamedTuple):
    text: str
    parameters: Any


def _fill(connection: Connection) -> None:
    jobs = [
        NewJob(
            key=f"job-{number}",
            kind="k",
            queue=f"q{number % 4}",
            priority=number % 10,
            run_at=2 * _NOW + number if number % 3 == 0 else None,
        )
        for number in range(_BACKLOG)
    ]
    store.enqueue(connection, jobs)
    want = store.Want("agent", ("q1",), 100)
    store.claim(connection, [want], worker="w", lease_expires_at=2 * _NOW)


def _statements_of(work: Work, connection: Connection) -> list[Statement]:
    """What a piece of work asks of the database; the work is undone."""
    heard: list[Statement] = []

    def hear(_c: object, _cursor: object, text: str, parameters: Any, *_: object) -> None:
        if "jobs" in text:
            heard.append(Statement(text, parameters))

    event.listen(connection, "before_cursor_execute", hear)
    try:
        with connection.begin_nested() as savepoint:
            work(connection)
            savepoint.rollback()
    finally:
        event.remove(connection, "before_cursor_execute", hear)
    return heard


async def _statements(database: Database, work: Work) -> list[Statement]:
    await database.run(_fill)
    await database.run(lambda c: c.exec_driver_sql("ANALYZE"))
    statements = await database.run(partial(_statements_of, work))
    assert statements
    return statements


@pytest.mark.parametrize("name", WORKS)
async def test_no_statement_goes_through_the_backlog(
    database: Database, generic_plan: GenericPlan, name: str
) -> None:
    for statement in await _statements(database, WORKS[name]):
        known = await database.run(partial(_explained, statement))
        for plan in [known, *generic_plan(statement.text)]:
            assert not _walks_the_table(plan), plan


@pytest.mark.parametrize("queues", [("q1",), ("q0", "q1", "q2")])
async def test_a_claim_reads_what_is_ready_in_its_order(
    database: Database, generic_plan: GenericPlan, queues: tuple[str, ...]
) -> None:
    want = [store.Want("agent", queues, 5)]
    work = partial(store.claim, wants=want, worker="w", lease_expires_at=_NOW)
    [statement] = await _statements(database, work)
    known = await database.run(partial(_explained, statement))
    for plan in [known, *generic_plan(statement.text)]:
        assert len(re.findall(r"(?i)using (?:index )?ix_jobs_ready", plan)) == len(queues), plan
        # Sorted is only what comes of several queues: a few of each.
        assert len(re.findall(r"Sort Key|TEMP B-TREE", plan)) == (len(queues) > 1), plan


@pytest.fixture
def generic_plan(database_url: str | None, postgres: PostgresServer) -> GenericPlan:
    """On PostgreSQL, the plan that does not know the values: a prepared statement soon has it."""

    def plan(text: str) -> list[str]:
        if database_url is None:
            return []
        name = database_url.partition("?")[0].rpartition("/")[2]
        explain = f"EXPLAIN (COSTS off, GENERIC_PLAN) {text}"
        return [postgres.execute(explain, database=name)]

    return plan


def _explained(statement: Statement, connection: Connection) -> str:
    how = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN (COSTS off)"
    rows = connection.exec_driver_sql(f"{how} {statement.text}", statement.parameters)
    return "\n".join(str(row[-1]) for row in rows)


def _walks_the_table(plan: str) -> bool:
    return re.search(r"\bSCAN jobs\b(?! USING)|Seq Scan on jobs", plan) is not None
