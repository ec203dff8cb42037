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
from sutazai.agents import configuring, store
from sutazai.agents.contract import AgentDescription
from sutazai.agents.model import (
    OFFLINE_AFTER,
    Agent,
    AgentStatus,
    Configured,
    Instance,
    WorkDone,
    check_configuration,
)
from sutazai.agents.notices import CHANGED, status_notice
from sutazai.database import Connection, Database, signal
from sutazai.engine import store as jobs
from sutazai.errors import ErrorCode, SutazaiError, not_found
from sutazai.events import log
from sutazai.events.model import NewEvent, Origin
from sutazai.limits.idempotency import Replayable

_logger = structlog.get_logger(__name__)

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
        # What an agent's code says of itself, which no table keeps.
        self._needs_model = {
            (agent.agent_id, capability)
            for agent in always_known
            for capability in agent.needs_model
        }
        self._without_model: frozenset[tuple[str, str]] = frozenset()
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
        able = {one.agent_id for one in online if one.has_model}
        self._without_model = frozenset(one for one in self._needs_model if one[0] not in able)
        capacity: dict[str, int] = {}
        for one in online:
            agent = self._agents.get(one.agent_id)
            for capability in agent.capabilities if agent else ():
                if one.has_model or (one.agent_id, capability) not in self._needs_model:
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
        if agent_id:
            return agent_id in self._online and (agent_id, task_type) not in self._without_model
        return bool(self._capacity.get(task_type))

    def queue(self, task_type: str, agent_id: str | None) -> str:
        """The queue for a task of a type, pinned to an agent or not."""
        if not agent_id:
            return task_type
        apart = (agent_id, task_type) in self._needs_model
        return pinned_queue(agent_id, task_type if apart else None)

    def waits_for_model(self, task_type: str, agent_id: str | None) -> bool:
        """Whether an agent that is online would take such a task if it reached a model."""
        return any(
            one in self._online and kind == task_type and agent_id in (None, one)
            for one, kind in self._without_model
        )

    @property
    def without_model(self) -> frozenset[tuple[str, str]]:
        """(agent, task type) where the agent lacks the model that it needs for the type."""
        return self._without_model

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


def pinned_queue(agent_id: str, needs_model: str | None = None) -> str:
    """The queue of the tasks that are for one agent alone.

    Those of a type for which it needs a model have one of their own: they may have to wait while
    the others run.
    """
    return f"@{agent_id}:{needs_model}" if needs_model else f"@{agent_id}"


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

    async def configuration_history(self, agent_id: str, *, limit: int) -> list[Configured]:
        """How an agent was configured, the newest first; NOT_FOUND without it."""

        def unit(connection: Connection) -> list[Configured] | None:
            return configuring.history(connection, agent_id, limit)

        found = await self._database.read(unit)
        if found is None:
            raise not_found("agent", agent_id)
        return found

    async def roll_back_configuration(
        self, agent_id: str, version: int, *, origin: Origin, replay: Replayable
    ) -> Configured:
        """Configure an agent as it was in a version; NOT_FOUND without it."""

        def make(connection: Connection) -> Configured:
            done = configuring.roll_back(connection, agent_id, version, origin)
            signal(connection, CHANGED)
            return done

        def unit(connection: Connection) -> Configured:
            return replay(connection, Configured, partial(make, connection))

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
    measured = [one for one in alive if one.memory_limit]
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
        cpu_usage=round(sum(one.cpu_usage for one in measured), 1) if measured else None,
        memory_usage=round(sum(one.memory_usage for one in measured), 1) if measured else None,
        memory_limit=round(sum(one.memory_limit for one in measured), 1) if measured else None,
        transport=said.transport,
    )


def _configure(
    agent_id: str, changes: dict[str, Any], origin: Origin, connection: Connection
) -> dict[str, Any]:
    changed = configuring.configure(connection, agent_id, changes, origin)
    signal(connection, CHANGED)
    return changed.configuration


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
        has_model: Callable[[], bool] = bool,
    ) -> None:
        """`alone`: this is the only process there can be, so whatever another hosted is gone.

        `has_model`: whether a language model can be reached from here.
        """
        self._database = database
        self._worker_id = worker_id
        self._agents = list(agents)
        self._load = load
        self._alone = alone
        self._has_model = has_model
        self._said_model = False
        self._started_at = clock.now()
        self._process = psutil.Process()
        self._overloaded: set[str] = set()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Register and go online."""
        self._started_at = clock.now()
        self._process.cpu_percent(None)
        if self._alone:
            await self._database.run(_sweep_hosted)
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
                if self._has_model() is not self._said_model:
                    await self._beat()
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
        has_model = self._has_model()
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
                has_model=has_model,
            )
            for agent in self._agents
        ]
        changed = introduce or has_model is not self._said_model
        await self._database.run(partial(_arrive, self._agents, instances, now, introduce, changed))
        self._said_model = has_model

    async def _notice_load(self) -> None:
        load = self._load()
        full = {
            agent.agent_id
            for agent in self._agents
            if load.get(agent.agent_id, 0) >= agent.max_capacity
        }
        if full == self._overloaded:
            return
        events: list[NewEvent] = []
        for agent_id in sorted(full - self._overloaded):
            events += status_notice(agent_id, AgentStatus.BUSY, "agent.overloaded")
        for agent_id in sorted(self._overloaded - full):
            events += status_notice(agent_id, AgentStatus.ACTIVE)
        await self._database.run(partial(log.append, events=events, now=clock.now()))
        self._overloaded = full


def _arrive(
    agents: list[AgentDescription],
    instances: list[Instance],
    now: int,
    introduce: bool,
    changed: bool,
    connection: Connection,
) -> None:
    before = store.online_ids(connection, since=now - OFFLINE_AFTER)
    new = [agent for agent in agents if agent.agent_id not in before]
    # At its start a process also says what has changed since the version that is still online.
    store.register(connection, agents if introduce else new, now=now)
    store.heartbeat(connection, instances)
    if changed:
        signal(connection, CHANGED)
    if new:
        events: list[NewEvent] = []
        for agent_id in sorted(agent.agent_id for agent in new):
            events += status_notice(agent_id, AgentStatus.ACTIVE, "agent.online")
        log.append(connection, events, now=now)
        signal(connection, CHANGED)


def _sweep_hosted(connection: Connection) -> None:
    before = clock.now() - OFFLINE_AFTER
    _announce_gone(connection, store.remove_hosted(connection, outside_before=before))


def _sweep(before: int, connection: Connection) -> None:
    _announce_gone(connection, store.remove_stale(connection, before=before))


def _leave(worker_id: str, connection: Connection) -> None:
    _announce_gone(connection, store.remove_worker(connection, worker_id))


def _announce_gone(connection: Connection, agent_ids: set[str]) -> None:
    if agent_ids:
        events: list[NewEvent] = []
        for agent_id in sorted(agent_ids):
            events += status_notice(agent_id, AgentStatus.OFFLINE, "agent.offline")
        log.append(connection, events, now=clock.now())
        signal(connection, CHANGED)
