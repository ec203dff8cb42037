"""A claim that waits takes what comes in the transaction that brings it, where that can be."""

import asyncio
from collections.abc import Mapping

import pytest

from sutazai.tasks.waiting_line import Place
from sutazai.telemetry.instruments import Instruments
from tests.api.server import PATIENCE, Server, reached, submit
from tests.features.outside.joining import Joined, events_about, join

ACCEPTED, STARTED = ("events", "task.created"), ("events", "task.started")


class Line:
    """Tells when claims wait, and lets one end at the very moment at which it is answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self.ends_when_answered: asyncio.Task[object] | None = None
        wait, end_wait = Place.wait, Place.end_wait

        async def waits(place: Place, seconds: float) -> bool:
            self._waiting.put_nowait(place.agent_id)
            return await wait(place, seconds)

        def answered(place: Place) -> None:
            if self.ends_when_answered is not None:
                self.ends_when_answered.cancel()
            end_wait(place)

        monkeypatch.setattr(Place, "wait", waits)
        monkeypatch.setattr(Place, "end_wait", answered)

    async def until_waiting(self, agent: Joined) -> None:
        async with asyncio.timeout(PATIENCE):
            while await self._waiting.get() != agent.agent_id:
                pass


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(monkeypatch)


# On PostgreSQL a claim is a transaction of its own.
on_sqlite = pytest.mark.parametrize("server_database", ["sqlite"], indirect=True, scope="session")


@on_sqlite
async def test_who_waits_has_a_task_as_soon_as_it_is_accepted(
    server: Server, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[set[tuple[str, ...]]] = []
    add = Instruments.add_tallies

    def noting(self: Instruments, tallies: Mapping[tuple[str, ...], int]) -> None:
        commits.append({key for key in tallies if key in (ACCEPTED, STARTED)})
        add(self, tallies)

    agent = await join(server, "prompt-01")
    waiting = asyncio.create_task(agent.claim_one(wait=20))
    await line.until_waiting(agent)
    monkeypatch.setattr(Instruments, "add_tallies", noting)
    task = await submit(server.admin, agent.type)
    assert (await waiting)["task_id"] == task["task_id"]
    assert {ACCEPTED, STARTED} in commits
    told = await events_about(server, task_id=task["task_id"])
    assert told == ["task.created", "task.assigned", "task.started"]


@on_sqlite
async def test_who_hangs_up_as_it_is_given_a_task_gives_it_back_untouched(
    server: Server, line: Line
) -> None:
    agent = await join(server, "vanishing-01")
    line.ends_when_answered = asyncio.create_task(agent.claim(wait=20))
    await line.until_waiting(agent)
    task = await submit(server.admin, agent.type)
    await asyncio.wait([line.ends_when_answered])
    assert line.ends_when_answered.cancelled()
    line.ends_when_answered = None
    again = await agent.claim_one(wait=20)
    assert (again["task_id"], again["attempt"]) == (task["task_id"], 1)
    told = await events_about(server, task_id=task["task_id"])
    taken = ["task.assigned", "task.started"]
    assert told == ["task.created", *taken, "task.retrying", *taken]


async def test_two_claims_of_one_agent_take_no_more_than_it_has_room_for(
    server: Server, line: Line
) -> None:
    agent = await join(server, "single-01")
    claims = {asyncio.create_task(agent.claim_one(wait=25)) for _ in range(2)}
    for _ in claims:
        await line.until_waiting(agent)
    tasks = [await submit(server.admin, agent.type) for _ in range(2)]
    done, waits = await asyncio.wait(claims, return_when=asyncio.FIRST_COMPLETED)
    (first,), (second,) = done, waits
    assert first.result()["task_id"] == tasks[0]["task_id"]
    await reached(server.admin, tasks[1]["task_id"], "queued")
    assert not second.done()
    await agent.report(first.result(), "complete", result={})
    assert (await second)["task_id"] == tasks[1]["task_id"]


@on_sqlite
async def test_who_waits_longest_is_served_first(server: Server, line: Line) -> None:
    crowd = [await join(server, f"patient-{one:02}", capabilities=["patience"]) for one in range(3)]
    claims = []
    for agent in crowd:
        claims.append(asyncio.create_task(agent.claim_one(wait=25)))
        await line.until_waiting(agent)
    for claim in claims:
        task = await submit(server.admin, "patience")
        assert (await claim)["task_id"] == task["task_id"]
