"""Agents come, carry load, fall silent and go; whoever looks sees it, and the log tells of it."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import msgspec
import psutil
import pytest

from sutazai import clock
from sutazai.agents import store
from sutazai.agents.contract import AgentDescription
from sutazai.agents.model import OFFLINE_AFTER, Agent, AgentCounts, AgentStatus, Instance, count
from sutazai.agents.service import AgentDirectory, AgentHost, AgentRegistry
from sutazai.database import Connection, Database
from sutazai.engine import store as jobs
from sutazai.engine.job import NewJob
from sutazai.events import log
from sutazai.events.model import Origin
from tests.conformance.rig import eventually

ONE = AgentDescription(
    agent_id="one", name="One", type="specialist", capabilities=("a", "b"), max_capacity=2
)
OTHER = AgentDescription(
    agent_id="other", name="Other", type="specialist", capabilities=("c",), max_capacity=1
)


class Office:
    """Hosts on one database, and what can be seen of their agents."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.registry = AgentRegistry(database=database)
        self.directory = AgentDirectory(database=database, always_known=[])
        self.load: dict[str, int] = {}
        self._hosts: list[AgentHost] = []

    async def host(
        self, worker_id: str, *agents: AgentDescription, alone: bool = False
    ) -> AgentHost:
        host = AgentHost(
            database=self.database,
            worker_id=worker_id,
            agents=agents,
            load=lambda: self.load,
            alone=alone,
        )
        await host.start()
        self._hosts.append(host)
        return host

    async def introduce(self, worker_id: str, agent: AgentDescription) -> None:
        """An agent of a process that says so and then nothing more."""
        now = clock.now()
        beat = Instance(agent.agent_id, worker_id, now, now, agent.max_capacity, 0, 0, 0)

        def unit(connection: Connection) -> None:
            store.register(connection, [agent], now=now)
            store.heartbeat(connection, [beat])

        await self.database.run(unit)

    async def close(self) -> None:
        for host in self._hosts:
            await host.stop()

    async def agent(self, agent_id: str) -> Agent:
        return await self.registry.get_agent(agent_id)

    async def told(self, agent_id: str) -> list[tuple[str, str]]:
        """The events about an agent, in order, with the status each tells of."""
        page = await self.database.read(partial(log.read_unsettled, after=0, limit=1000))
        data = [(event.event_type, msgspec.json.decode(event.data)) for event in page.events]
        return [(kind, about["status"]) for kind, about in data if about["agent_id"] == agent_id]

    async def until_told(self, agent_id: str, *wanted: tuple[str, str]) -> None:
        async def is_told() -> bool:
            return (await self.told(agent_id))[-len(wanted) :] == list(wanted)

        await eventually(is_told)

    async def grow_silent(self, worker_id: str) -> None:
        """As if the process had died so long ago that it counts as gone."""

        def unit(connection: Connection) -> None:
            mine = store.INSTANCES.c.worker_id == worker_id
            long_ago = clock.now() - OFFLINE_AFTER - clock.SECOND
            statement = store.INSTANCES.update().where(mine)
            connection.execute(statement.values(last_heartbeat_at=long_ago))

        await self.database.run(unit)


@pytest.fixture
async def office(database: Database) -> AsyncIterator[Office]:
    office = Office(database)
    yield office
    await office.close()


async def _run_jobs(database: Database, consumer: str, number: int) -> None:
    def unit(connection: Connection) -> None:
        keys = [f"{consumer}-{n}" for n in range(number)]
        jobs.enqueue(connection, [NewJob(key=key, kind="k", queue="q") for key in keys])
        want = jobs.Want(consumer, ("q",), number)
        jobs.claim(connection, [want], worker="w", lease_expires_at=clock.now() + clock.SECOND)

    await database.run(unit)


async def test_an_agent_is_online_from_start_to_stop(office: Office) -> None:
    host = await office.host("w1", ONE)
    seen = await office.agent("one")
    assert (seen.status, seen.current_load, seen.max_capacity) == (AgentStatus.ACTIVE, 0, 2)
    assert seen.last_heartbeat_at is not None
    await host.stop()
    seen = await office.agent("one")
    assert (seen.status, seen.last_heartbeat_at) == (AgentStatus.OFFLINE, None)
    assert await office.told("one") == [
        ("agent.online", "active"),
        ("agent.status", "active"),
        ("agent.offline", "offline"),
        ("agent.status", "offline"),
    ]


async def test_load_is_what_is_running_and_capacity_what_its_processes_offer(
    office: Office,
) -> None:
    await office.host("w1", ONE, OTHER)
    await office.host("w2", ONE)
    await _run_jobs(office.database, "one", 3)
    await _run_jobs(office.database, "other", 1)
    one, other = await office.registry.list_agents()
    assert (one.agent_id, one.status, one.current_load, one.max_capacity) == (
        "one",
        AgentStatus.ACTIVE,
        3,
        4,
    )
    assert (other.status, other.current_load, other.max_capacity) == (AgentStatus.BUSY, 1, 1)
    assert count([one, other]) == AgentCounts(total=2, active=2, idle=0, busy=1)
    assert await office.registry.hosts() == {"one": 2, "other": 1}
    # An agent counts as online as long as one of its processes is.
    await office.grow_silent("w1")
    one, other = await office.registry.list_agents()
    assert (one.status, one.current_load, one.max_capacity) == (AgentStatus.BUSY, 3, 2)
    assert (other.status, other.current_load) == (AgentStatus.OFFLINE, 0)
    assert count([one, other]) == AgentCounts(total=2, active=1, idle=0, busy=1)


async def test_resources_are_those_of_the_process(office: Office) -> None:
    await office.host("w1", ONE)
    seen = await office.agent("one")
    total = psutil.virtual_memory().total / 1024**2
    assert seen.memory_limit is not None
    assert seen.memory_usage is not None
    assert seen.cpu_usage is not None
    assert seen.memory_limit == pytest.approx(total, abs=0.1)
    assert 0 < seen.memory_usage < seen.memory_limit
    assert seen.cpu_usage >= 0


async def test_a_host_that_goes_on_beating_stays_online(office: Office) -> None:
    await office.host("w1", ONE)
    first = (await office.agent("one")).last_heartbeat_at

    async def has_beaten() -> bool:
        beat = (await office.agent("one")).last_heartbeat_at
        assert beat is not None
        assert first is not None
        return beat > first

    await eventually(has_beaten)
    assert await office.told("one") == [("agent.online", "active"), ("agent.status", "active")]


async def test_others_notice_a_process_that_fell_silent(office: Office) -> None:
    await office.introduce("dead", OTHER)
    assert (await office.agent("other")).status is AgentStatus.ACTIVE
    await office.grow_silent("dead")
    await office.host("alive", ONE)
    assert (await office.agent("other")).status is AgentStatus.OFFLINE
    await office.until_told("other", ("agent.offline", "offline"), ("agent.status", "offline"))
    assert (await office.agent("one")).status is AgentStatus.ACTIVE
    assert await office.database.read(lambda c: len(store.instances(c))) == 1


async def test_the_only_process_there_can_be_removes_what_was_before(office: Office) -> None:
    """As after a kill, when the lock says that nobody else lives."""
    await office.host("killed", ONE, OTHER)
    await office.host("new", ONE, alone=True)
    assert (await office.agent("other")).status is AgentStatus.OFFLINE
    assert (await office.agent("one")).max_capacity == 2
    assert await office.told("one") == [
        ("agent.online", "active"),
        ("agent.status", "active"),
        ("agent.offline", "offline"),
        ("agent.status", "offline"),
        ("agent.online", "active"),
        ("agent.status", "active"),
    ]


async def test_an_agent_at_capacity_is_told_of_once_and_when_it_has_room_again(
    office: Office,
) -> None:
    await office.host("w1", ONE)
    office.load["one"] = 2
    await office.until_told("one", ("agent.overloaded", "busy"), ("agent.status", "busy"))
    office.load["one"] = 1
    await office.until_told("one", ("agent.status", "active"))
    assert [kind for kind, _ in await office.told("one")] == [
        "agent.online",
        "agent.status",
        "agent.overloaded",
        "agent.status",
        "agent.status",
    ]


async def test_a_newer_version_of_an_agent_keeps_what_a_user_configured(office: Office) -> None:
    await office.host("w1", ONE)
    changes: dict[str, Any] = {"temperature": 1.5}
    await office.registry.update_configuration("one", changes, origin=Origin("user:1"))
    newer = msgspec.structs.replace(ONE, name="One, improved", capabilities=("a", "z"))
    await office.host("w2", newer)
    seen = await office.agent("one")
    assert (seen.name, seen.capabilities) == ("One, improved", ("a", "z"))
    assert seen.configuration["temperature"] == 1.5


async def test_the_directory_follows_who_is_online(office: Office) -> None:
    await office.directory.start()
    assert not office.directory.serves("a", None)
    host = await office.host("w1", ONE)
    await _refreshed(office, lambda: office.directory.serves("a", None))
    assert office.directory.serves("b", "one")
    assert not office.directory.serves("c", None)
    assert (office.directory.capacity("a"), office.directory.capacity("c")) == (2, 0)
    await host.stop()
    await _refreshed(office, lambda: not office.directory.serves("a", None))
    assert office.directory.known_types == {"a", "b"}


async def _refreshed(office: Office, condition: Callable[[], bool]) -> None:
    """A change wakes the directory; only the signal can, in the time that the test has."""

    async def refresh() -> bool:
        await office.directory.refresh_when_stale(at_least_every=60)
        return condition()

    await eventually(refresh)
