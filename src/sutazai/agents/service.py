"""The registry: which agents there are, who is online, what each has done."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import psutil
import structlog

from sutazai import clock
from sutazai.agents import store
from sutazai.agents.contract import AgentDescription
from sutazai.agents.model import (
    OFFLINE_AFTER,
    Agent,
    AgentStatus,
    Instance,
    WorkDone,
    check_configuration,
)
from sutazai.database import Connection, Database, signal
from sutazai.engine import store as jobs
from sutazai.errors import ErrorCode, SutazaiError, not_found
from sutazai.events import log
from sutazai.events.model import SYSTEM, NewEvent, Origin

_logger = structlog.get_logger(__name__)

CHANGED = "agents.changed"
"""Signal: who is online, or how an agent is configured, is no longer what it was."""

_MIB = 1024 * 1024
_LOOK_SECONDS = 0.5
_BEAT_SECONDS = 4.0


class AgentDirectory:
    """What the hot paths need to know of the agents, in memory, at most a few seconds old."""

    def __init__(self, *, database: Database, always_known: Sequence[AgentDescription]) -> None:
        self._database = database
        self._always_known = frozenset(
            capability for agent in always_known for capability in agent.capabilities
        )
        self._agents: dict[str, AgentDescription] = {}
        self._online: frozenset[str] = frozenset()
        self._capacity: dict[str, int] = {}
        self._stale = asyncio.Event()

    async def start(self) -> None:
        """Load, and reload on every change from now on."""
        self._database.listen(CHANGED, lambda _: self._stale.set())
        await self.refresh()

    async def refresh(self) -> None:
        """Read it all again."""
        self._stale.clear()
        self._agents, instances = await self._database.read(_load)
        fresh = clock.now() - OFFLINE_AFTER
        online = [one for one in instances if one.last_heartbeat_at >= fresh]
        self._online = frozenset(one.agent_id for one in online)
        capacity: dict[str, int] = {}
        for one in online:
            agent = self._agents.get(one.agent_id)
            for capability in agent.capabilities if agent else ():
                capacity[capability] = capacity.get(capability, 0) + one.capacity
        self._capacity = capacity

    async def refresh_when_stale(self, *, at_least_every: float) -> None:
        """Wait for a change, or for so many seconds, then refresh."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_least_every):
                await self._stale.wait()
        await self.refresh()

    @property
    def known_types(self) -> frozenset[str]:
        """The task types that some agent has, or a built-in one would have."""
        registered = (agent.capabilities for agent in self._agents.values())
        return self._always_known.union(*registered)

    def agent(self, agent_id: str) -> AgentDescription | None:
        """A registered agent with its configuration in force."""
        return self._agents.get(agent_id)

    def agents(self) -> list[AgentDescription]:
        """Every registered agent, by id."""
        return [self._agents[agent_id] for agent_id in sorted(self._agents)]

    def agents_with(self, task_type: str) -> list[str]:
        """The ids of the agents that have a capability, online or not."""
        return [one.agent_id for one in self.agents() if task_type in one.capabilities]

    def is_online(self, agent_id: str) -> bool:
        """Whether it has beaten lately."""
        return agent_id in self._online

    def serves(self, task_type: str, agent_id: str | None) -> bool:
        """Whether somebody online would take a task of a type, pinned to an agent or not."""
        return agent_id in self._online if agent_id else bool(self._capacity.get(task_type))

    def capacity(self, capability: str) -> int:
        """How many tasks of a type can run at once now; 0 when nobody who has it is online."""
        return self._capacity.get(capability, 0)

    def online_types(self) -> frozenset[str]:
        """The task types somebody online takes."""
        return frozenset(self._capacity)

    @property
    def online_agents(self) -> frozenset[str]:
        """The ids of the agents online."""
        return self._online


def _load(connection: Connection) -> tuple[dict[str, AgentDescription], list[Instance]]:
    agents = {row.description.agent_id: row.description for row in store.registered(connection)}
    return agents, store.instances(connection)


class AgentRegistry:
    """Reads and changes what is known of the agents."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def list_agents(self) -> list[Agent]:
        """Every agent, by id, with what it is doing now."""
        return await self._database.read(_agents)

    async def get_agent(self, agent_id: str) -> Agent:
        """One agent; NOT_FOUND without it."""
        for agent in await self.list_agents():
            if agent.agent_id == agent_id:
                return agent
        raise not_found("agent", agent_id)

    async def update_configuration(
        self, agent_id: str, changes: dict[str, Any], *, origin: Origin
    ) -> dict[str, Any]:
        """Change some settings of an agent; all of them in force from its next task on.

        VALIDATION_ERROR with a detail for each wrong one, and then nothing is changed.
        """
        wrong = check_configuration(changes)
        if wrong or not changes:
            message = "Invalid input data" if wrong else "Name at least one setting to change."
            raise SutazaiError(ErrorCode.VALIDATION_ERROR, message, details=wrong)
        unit = partial(_configure, agent_id, changes, origin)
        return await self._database.run(unit)

    async def hosts(self) -> dict[str, int]:
        """How many worker processes are online for each agent."""
        fresh = clock.now() - OFFLINE_AFTER
        found: dict[str, int] = {}
        for one in await self._database.read(store.instances):
            if one.last_heartbeat_at >= fresh:
                found[one.agent_id] = found.get(one.agent_id, 0) + 1
        return found

    async def cache_use(self) -> store.CacheUse:
        """How much the result cache has been used, by all agents."""
        return await self._database.read(store.cache_use)

    def record_work(self, connection: Connection, work: Sequence[WorkDone]) -> None:
        """Count ended tasks in the caller's transaction."""
        store.add_work(connection, work)

    def count_cache_use(
        self, connection: Connection, agent_id: str, *, hits: int, lookups: int
    ) -> None:
        """Count look-ups in the result cache in the caller's transaction."""
        store.add_cache_use(connection, agent_id, hits=hits, lookups=lookups)


def _agents(connection: Connection) -> list[Agent]:
    now = clock.now()
    load = jobs.running_by_consumer(connection)
    alive: dict[str, list[Instance]] = {}
    for instance in store.instances(connection):
        if instance.last_heartbeat_at >= now - OFFLINE_AFTER:
            alive.setdefault(instance.agent_id, []).append(instance)
    return [
        _view(row, alive.get(row.description.agent_id, []), load, now)
        for row in store.registered(connection)
    ]


def _view(row: store.Registered, alive: list[Instance], load: Mapping[str, int], now: int) -> Agent:
    said = row.description
    current = load.get(said.agent_id, 0) if alive else 0
    capacity = sum(one.capacity for one in alive) or said.max_capacity
    busy = current >= capacity
    online = AgentStatus.BUSY if busy else AgentStatus.ACTIVE
    return Agent(
        agent_id=said.agent_id,
        name=said.name,
        type=said.type,
        capabilities=said.capabilities,
        configuration=said.configuration,
        status=online if alive else AgentStatus.OFFLINE,
        current_load=current,
        max_capacity=capacity,
        last_heartbeat_at=max((one.last_heartbeat_at for one in alive), default=None),
        uptime_seconds=max((now - one.started_at for one in alive), default=0) // clock.SECOND,
        metrics=row.metrics,
        cpu_usage=round(sum(one.cpu_usage for one in alive), 1),
        memory_usage=round(sum(one.memory_usage for one in alive), 1),
        memory_limit=round(sum(one.memory_limit for one in alive), 1),
    )


def _configure(
    agent_id: str, changes: dict[str, Any], origin: Origin, connection: Connection
) -> dict[str, Any]:
    configuration = store.configuration_for_update(connection, agent_id)
    if configuration is None:
        raise not_found("agent", agent_id)
    configuration.update(changes)
    store.set_configuration(connection, agent_id, configuration)
    data = {"agent_id": agent_id, "updated_fields": list(changes)}
    event = NewEvent("agent.configured", data, origin, "agents")
    log.append(connection, [event], now=clock.now())
    signal(connection, CHANGED)
    return configuration


class AgentHost:
    """Announces the agents of this process, and notices those that fell silent anywhere."""

    def __init__(
        self,
        *,
        database: Database,
        worker_id: str,
        agents: Sequence[AgentDescription],
        load: Callable[[], Mapping[str, int]],
        alone: bool,
    ) -> None:
        """`alone`: this is the only process there can be, so whoever is registered now is gone."""
        self._database = database
        self._worker_id = worker_id
        self._agents = list(agents)
        self._load = load
        self._alone = alone
        self._started_at = clock.now()
        self._process = psutil.Process()
        self._overloaded: set[str] = set()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Register and go online."""
        self._started_at = clock.now()
        self._process.cpu_percent(None)
        if self._alone:
            await self._database.run(partial(_sweep, clock.now() + 1))
        await self._beat(introduce=True)
        self._loop = asyncio.create_task(self._keep_beating())

    async def stop(self) -> None:
        """Go offline."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
        with contextlib.suppress(SutazaiError):
            await self._database.run(partial(_leave, self._worker_id))

    async def _keep_beating(self) -> None:
        next_beat = time.monotonic() + _BEAT_SECONDS
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                if time.monotonic() >= next_beat:
                    # Our own sign of life before we judge that of others: all may have stood still.
                    await self._beat()
                    next_beat = time.monotonic() + _BEAT_SECONDS
                    await self._database.run(partial(_sweep, clock.now() - OFFLINE_AFTER))
                await self._notice_load()
            except Exception as error:  # a look that fails must not be the last
                if isinstance(error, SutazaiError):
                    _logger.warning("agents.heartbeat_failed", reason=error.message)
                else:
                    _logger.exception("agents.heartbeat_failed")

    async def _beat(self, *, introduce: bool = False) -> None:
        with self._process.oneshot():
            cpu = self._process.cpu_percent(None)
            memory = self._process.memory_info().rss / _MIB
        limit = psutil.virtual_memory().total / _MIB
        now = clock.now()
        instances = [
            Instance(
                agent_id=agent.agent_id,
                worker_id=self._worker_id,
                started_at=self._started_at,
                last_heartbeat_at=now,
                capacity=agent.max_capacity,
                cpu_usage=cpu,
                memory_usage=memory,
                memory_limit=limit,
            )
            for agent in self._agents
        ]
        await self._database.run(partial(_arrive, self._agents, instances, now, introduce))

    async def _notice_load(self) -> None:
        load = self._load()
        full = {
            agent.agent_id
            for agent in self._agents
            if load.get(agent.agent_id, 0) >= agent.max_capacity
        }
        if full == self._overloaded:
            return
        events = []
        for agent_id in sorted(full - self._overloaded):
            events.append(_event("agent.overloaded", agent_id, AgentStatus.BUSY))
            events.append(_event("agent.status", agent_id, AgentStatus.BUSY))
        events += [
            _event("agent.status", agent_id, AgentStatus.ACTIVE)
            for agent_id in sorted(self._overloaded - full)
        ]
        await self._database.run(partial(log.append, events=events, now=clock.now()))
        self._overloaded = full


def _event(event_type: str, agent_id: str, status: AgentStatus) -> NewEvent:
    return NewEvent(event_type, {"agent_id": agent_id, "status": status}, SYSTEM, "agents")


def _arrive(
    agents: list[AgentDescription],
    instances: list[Instance],
    now: int,
    introduce: bool,
    connection: Connection,
) -> None:
    before = store.online_ids(connection, since=now - OFFLINE_AFTER)
    new = [agent for agent in agents if agent.agent_id not in before]
    # At its start a process also says what has changed since the version that is still online.
    store.register(connection, agents if introduce else new, now=now)
    store.heartbeat(connection, instances)
    if introduce:
        signal(connection, CHANGED)
    if new:
        ids = sorted(agent.agent_id for agent in new)
        events = [_event("agent.online", one, AgentStatus.ACTIVE) for one in ids]
        events += [_event("agent.status", one, AgentStatus.ACTIVE) for one in ids]
        log.append(connection, events, now=now)
        signal(connection, CHANGED)


def _sweep(before: int, connection: Connection) -> None:
    _announce_gone(connection, store.remove_stale(connection, before=before))


def _leave(worker_id: str, connection: Connection) -> None:
    _announce_gone(connection, store.remove_worker(connection, worker_id))


def _announce_gone(connection: Connection, agent_ids: set[str]) -> None:
    if agent_ids:
        ids = sorted(agent_ids)
        events = [_event("agent.offline", one, AgentStatus.OFFLINE) for one in ids]
        events += [_event("agent.status", one, AgentStatus.OFFLINE) for one in ids]
        log.append(connection, events, now=clock.now())
        signal(connection, CHANGED)
