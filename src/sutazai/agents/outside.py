"""Agents from outside: who may join, with what credential, and how it is seen that they are there.

An agent is one row of `agents` and, while it is online, one of `agent_instances`, whose worker is
`OUTSIDE`. That second row is locked first in every unit here, before any job.
"""

import re
from collections.abc import Callable, Collection, Sequence
from functools import partial

import msgspec

from sutazai import clock
from sutazai.agents import outside_store
from sutazai.agents.contract import AgentDescription
from sutazai.agents.model import OFFLINE_AFTER, OUTSIDE, AgentStatus, Instance, Resources
from sutazai.agents.notices import CHANGED, status_notice
from sutazai.agents.service import AgentDirectory
from sutazai.database import Connection, Database, signal
from sutazai.errors import Detail, ErrorCode, SutazaiError, not_found
from sutazai.events import log
from sutazai.events.model import NewEvent, Origin
from sutazai.identity import agent_keys
from sutazai.limits.idempotency import Replayable

MOST_CAPACITY = 1000
MOST_CAPABILITIES = 50
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CAPABILITY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,63}")

OnRemoved = Callable[[Connection, str], None]
"""Gives back what an agent had under way, and ends what nobody else may do; in the transaction
that removes it."""


class Registration(msgspec.Struct, frozen=True):
    """An agent that has joined; `api_key` only where it is new, `created` if the agent is."""

    agent: AgentDescription
    api_key: str | None
    created: bool

    def __repr__(self) -> str:
        return f"Registration({self.agent.agent_id!r}, key hidden)"


class OutsideAgents:
    """Registers, changes and removes agents from outside."""

    def __init__(
        self,
        *,
        database: Database,
        directory: AgentDirectory,
        built_in: Collection[str],
        reserved: Collection[str],
        on_removed: OnRemoved,
    ) -> None:
        """`built_in` ids and `reserved` capabilities are nobody's to take."""
        self._database = database
        self._directory = directory
        self._built_in = frozenset(built_in)
        self._reserved = frozenset(reserved)
        self._on_removed = on_removed

    async def register(
        self, agent: AgentDescription, *, origin: Origin, replay: Replayable | None = None
    ) -> Registration:
        """Let an agent join, with a key of its own, which cannot be shown again.

        Registering an agent that is there just so already changes nothing and shows no key;
        CONFLICT where it is there otherwise, or is one of ours. VALIDATION_ERROR by field.
        """
        self._check(agent)

        def unit(connection: Connection) -> Registration:
            make = partial(self._register, connection, agent, origin)
            return make() if replay is None else replay(connection, Registration, make)

        registration = await self._database.run(unit)
        # So that whoever registered it may submit a task to it at once.
        await self._directory.refresh()
        return registration

    async def update(self, agent: AgentDescription, *, origin: Origin) -> AgentDescription:
        """Replace what an agent says of itself; its key, configuration and figures stay.

        NOT_FOUND without it, CONFLICT for one of ours.
        """
        self._check(agent, is_new=False)
        await self._database.run(partial(self._update, agent, origin))
        await self._directory.refresh()
        return agent

    async def renew_key(
        self, agent_id: str, *, origin: Origin, replay: Replayable | None = None
    ) -> str:
        """A new key for an agent, in the place of the one it had, which ends at once."""

        def unit(connection: Connection) -> str:
            make = partial(self._renew_key, connection, agent_id, origin)
            return make() if replay is None else replay(connection, str, make)

        return await self._database.run(unit)

    def _renew_key(self, connection: Connection, agent_id: str, origin: Origin) -> str:
        self._locked(connection, agent_id)
        secret = agent_keys.issue(connection, agent_id, now=clock.now())
        _tell(connection, "agent.key_renewed", agent_id, origin)
        return secret

    async def remove(self, agent_id: str, *, origin: Origin) -> None:
        """Let an agent go: its key ends, and what it had under way is given back.

        What is pinned to it fails: nobody else may do it.
        """

        def unit(connection: Connection) -> None:
            touched = partial(outside_store.touch, since=0, resources=None)
            touched(connection, agent_id, now=clock.now())  # for the order of the locks
            # Before the agent itself, for the order of the locks; and once nobody can submit
            # anything more for it, whatever came in between.
            self._on_removed(connection, agent_id)
            self._locked(connection, agent_id)
            self._on_removed(connection, agent_id)
            agent_keys.revoke(connection, agent_id)
            if outside_store.remove(connection, agent_id):
                told = status_notice(agent_id, AgentStatus.OFFLINE, "agent.offline")
                log.append(connection, told, now=clock.now())
            _tell(connection, "agent.deleted", agent_id, origin)
            signal(connection, CHANGED)

        await self._database.run(unit)
        await self._directory.refresh()

    def _check(self, agent: AgentDescription, *, is_new: bool = True) -> None:
        wrong = []
        if is_new and not _ID.fullmatch(agent.agent_id):
            problem = "must be 1 to 64 letters, digits, '.', '_' or '-', and begin with no sign"
            wrong.append(Detail("agent_id", problem))
        wrong += [
            Detail("capabilities", f"{one!r} is no name of a task type that an agent could have")
            for one in agent.capabilities
            if not _CAPABILITY.fullmatch(one) or one in self._reserved
        ]
        if wrong:
            raise SutazaiError(ErrorCode.VALIDATION_ERROR, "Invalid input data", details=wrong)

    def _register(
        self, connection: Connection, agent: AgentDescription, origin: Origin
    ) -> Registration:
        agent_id, now = agent.agent_id, clock.now()
        if agent_id in self._built_in:
            raise _is_ours(agent_id)
        if not outside_store.add(connection, agent, now=now):
            there = self._locked(connection, agent_id)
            if _without_configuration(there) != _without_configuration(agent):
                raise SutazaiError(
                    ErrorCode.CONFLICT,
                    f"There is an agent {agent_id!r} already, which is another: change it with "
                    f"PUT /agents/{agent_id}, delete it, or take another id.",
                )
            return Registration(there, None, False)
        secret = agent_keys.issue(connection, agent_id, now=now)
        _tell(connection, "agent.registered", agent_id, origin)
        signal(connection, CHANGED)
        return Registration(agent, secret, True)

    def _update(self, agent: AgentDescription, origin: Origin, connection: Connection) -> None:
        self._locked(connection, agent.agent_id)
        outside_store.change(connection, agent)
        _tell(connection, "agent.updated", agent.agent_id, origin)
        signal(connection, CHANGED)

    def _locked(self, connection: Connection, agent_id: str) -> AgentDescription:
        there = outside_store.find(connection, agent_id, lock=True)
        if agent_id in self._built_in or (there is not None and there.transport is None):
            raise _is_ours(agent_id)
        if there is None:
            raise not_found("agent", agent_id)
        return there


def _is_ours(agent_id: str) -> SutazaiError:
    message = f"{agent_id!r} is an agent of the server's own, which cannot be taken or changed."
    return SutazaiError(ErrorCode.CONFLICT, message)


def _without_configuration(agent: AgentDescription) -> AgentDescription:
    return msgspec.structs.replace(agent, configuration={})


def _tell(connection: Connection, event_type: str, agent_id: str, origin: Origin) -> None:
    event = NewEvent(event_type, {"agent_id": agent_id}, origin, "agents")
    log.append(connection, [event], now=clock.now())


# --- parts of units, for who hands out the work


def find(connection: Connection, agent_id: str) -> AgentDescription:
    """An agent from outside; NOT_FOUND for every other."""
    agent = outside_store.find(connection, agent_id)
    if agent is None or agent.transport is None:
        raise not_found("agent from outside", agent_id)
    return agent


def beat(
    connection: Connection, agent: AgentDescription, *, resources: Resources | None = None
) -> None:
    """An agent has shown a sign of life: first in a unit, for it takes the first lock."""
    now = clock.now()
    agent_id, since = agent.agent_id, now - OFFLINE_AFTER
    if outside_store.touch(connection, agent_id, now=now, since=since, resources=resources):
        return
    used = Resources() if resources is None else resources
    instance = Instance(
        agent_id=agent_id,
        worker_id=OUTSIDE,
        started_at=now,
        last_heartbeat_at=now,
        capacity=agent.max_capacity,
        **msgspec.structs.asdict(used),
    )
    if outside_store.arrive(connection, instance, since=since):
        log.append(connection, status_notice(agent_id, AgentStatus.ACTIVE, "agent.online"), now=now)
        signal(connection, CHANGED)


def keep_present(connection: Connection, agent_ids: Collection[str]) -> set[str]:
    """Beat for agents whose claims are open; those of them that are online."""
    return outside_store.touch_many(connection, agent_ids, now=clock.now())


def note_load(connection: Connection, agent_id: str, running: int) -> None:
    """Tell of an agent that has become full, or has room again."""
    full = outside_store.set_full(connection, agent_id, running=running)
    if full is None:
        return
    if full:
        events: Sequence[NewEvent] = status_notice(agent_id, AgentStatus.BUSY, "agent.overloaded")
    else:
        events = status_notice(agent_id, AgentStatus.ACTIVE)
    log.append(connection, events, now=clock.now())


def absent(connection: Connection, agent_ids: Collection[str], *, hold: bool = False) -> set[str]:
    """Those of these agents that are not registered.

    `hold` keeps the others from being deleted before the unit has ended.
    """
    if not agent_ids:
        return set()
    return set(agent_ids) - outside_store.registered_among(connection, agent_ids, hold=hold)


def full_ones(connection: Connection) -> list[str]:
    """The agents from outside that are taken to be full."""
    return outside_store.full_ones(connection)
