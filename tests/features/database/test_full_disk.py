"""A full disk: a clear error, nothing lost, and work goes on by itself once there is room."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from sutazai import clock
from sutazai.database import Connection, Database, open_database
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.events import log
from sutazai.events.model import SYSTEM, NewEvent
from tests.api.agents import Obedient
from tests.api.server import (
    JSON,
    PATIENCE,
    Server,
    ended,
    error_of,
    reached,
    serving,
    settings_for,
    submit,
)
from tests.features.database.full import Disk
from tests.postgres import PostgresServer

_ENDS = ("task.completed", "task.failed", "task.cancelled")
_PAGE = 4_096
_MANY = 2_000
"""More writes than there can be room for in what a database file has left over."""


@pytest.fixture
def disk(database_url: str | None, postgres: PostgresServer) -> Iterator[Disk]:
    with Disk(database_url, postgres).watched() as disk:
        yield disk


@pytest.fixture
def obedient() -> Obedient:
    return Obedient()


@pytest.fixture
async def server(
    disk: Disk, obedient: Obedient, database_url: str | None, data_dir: Path, tmp_path: Path
) -> AsyncIterator[Server]:
    """Opened while the disk is watched."""
    settings = settings_for(data_dir, database_url, tmp_path)
    async with serving(settings, extra_agents=[obedient], roles=["user"]) as server:
        yield server


async def _until_refused(client: httpx2.AsyncClient) -> tuple[list[JSON], httpx2.Response]:
    accepted: list[JSON] = []
    body = {"type": "ping", "description": "fill " * 200}
    for _ in range(_MANY):
        answer = await client.post("/tasks", json=body)
        if answer.status_code != 201:
            return accepted, answer
        accepted.append(answer.json())
    raise AssertionError("there was room for everything")


async def test_submitting_says_that_the_disk_is_full_and_goes_on_when_there_is_room(
    server: Server, disk: Disk
) -> None:
    accepted = [await submit(server.user)]
    with disk.full():
        more, answer = await _until_refused(server.user)
        error = error_of(answer, 503, "DATABASE_ERROR")
        assert "full" in error["message"]
        assert "make room" in error["message"]
        assert int(answer.headers["retry-after"]) >= 1
        # What is there can still be read.
        first = await server.user.get(f"/tasks/{accepted[0]['task_id']}")
        assert first.status_code == 200
    accepted += more
    accepted.append(await submit(server.user))
    for task in accepted:
        assert (await ended(server.user, task["task_id"]))["status"] == "completed"
    total = (await server.admin.get("/tasks", params={"limit": 1})).json()["total"]
    assert total == len(accepted)


@pytest.mark.parametrize("table", ["tasks", "jobs", "events"])
async def test_an_end_that_finds_no_room_is_recorded_later_and_once(
    server: Server, obedient: Obedient, disk: Disk, table: str
) -> None:
    running = await submit(server.user, "obey", metadata={"do": "wait"})
    waiting = await submit(server.user, "obey")
    await reached(server.user, running["task_id"], "processing")
    with disk.full(table=table):
        await _until_refused(server.user)
        obedient.gate.set()
        seen = await server.user.get(f"/tasks/{running['task_id']}", params={"wait": 1})
        assert seen.status_code == 200
    for task in (running, waiting):
        assert (await ended(server.user, task["task_id"]))["status"] == "completed"
    assert obedient.order == ["a test", "a test"]
    last = await submit(server.user)
    ends = [one for one in await _ends_until(server, last["task_id"]) if one[1] != last["task_id"]]
    # What was accepted to fill the disk is among them.
    assert len(ends) == len(set(ends))
    assert {("task.completed", task["task_id"]) for task in (running, waiting)} <= set(ends)


async def _ends_until(server: Server, task_id: str) -> list[tuple[str, str]]:
    """Every end of a task that the log tells of, up to that of this one."""
    ends: list[tuple[str, str]] = []
    after = 0
    async with asyncio.timeout(PATIENCE):
        while task_id not in {one[1] for one in ends}:
            page = (await server.admin.get("/events", params={"after": after})).json()
            after = page["next_after"]
            ends += [
                (event["event_type"], event["data"]["task_id"])
                for event in page["events"]
                if event["event_type"] in _ENDS
            ]
    return ends


async def test_units_that_share_a_commit_fail_each_for_itself(
    disk: Disk, database_url: str | None, data_dir: Path
) -> None:
    database = await open_database(url=database_url, data_dir=data_dir)

    async def write(number: int, size: int) -> int:
        def unit(connection: Connection) -> int:
            data = {"number": number, "filling": "x" * size}
            log.append(connection, [NewEvent("fill", data, SYSTEM, "tests")], now=clock.now())
            return number

        return await database.run(unit)

    with disk.full(table="events"):
        outcomes = await asyncio.gather(
            *(write(number, number % 7 * _PAGE) for number in range(300)), return_exceptions=True
        )
    written = [outcome for outcome in outcomes if isinstance(outcome, int)]
    refused = [outcome for outcome in outcomes if not isinstance(outcome, int)]
    assert refused
    for error in refused:
        assert isinstance(error, SutazaiError)
        assert error.code is ErrorCode.DATABASE_ERROR
    written.append(await write(300, 10 * _PAGE))
    assert await _numbers(database) == sorted(written)
    await database.close()


async def _numbers(database: Database) -> list[int]:
    query = "SELECT data FROM events ORDER BY id"
    rows = await database.read(lambda c: c.exec_driver_sql(query).scalars().all())
    return sorted(int(row.partition('"number":')[2].partition(",")[0]) for row in rows)
