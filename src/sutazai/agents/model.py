"""What the registry knows of an agent."""

import re
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from sutazai import clock
from sutazai.errors import Detail

OFFLINE_AFTER = 15 * clock.SECOND
"""A heartbeat older than this means that the agent is gone."""


OUTSIDE = "outside"
"""Stands for the worker of agents from outside, which no process of ours hosts."""


class Transport(StrEnum):
    """How an agent from outside gets its work."""

    HTTP = "http"
    REDIS = "redis"


class AgentStatus(StrEnum):
    """`busy` is online at capacity; `active` is online with room."""

    ACTIVE = "active"
    BUSY = "busy"
    OFFLINE = "offline"


class Resources(msgspec.Struct, frozen=True):
    """What an agent uses: percent of a core, and MiB; a limit of 0 means that nothing is known."""

    cpu_usage: float = 0.0
    memory_usage: float = 0.0
    memory_limit: float = 0.0


class Instance(msgspec.Struct, frozen=True):
    """An agent in one worker process; times in microseconds, memory in MiB, CPU in percent.

    `has_model`: that process reaches a language model.
    """

    agent_id: str
    worker_id: str
    started_at: int
    last_heartbeat_at: int
    capacity: int
    cpu_usage: float
    memory_usage: float
    memory_limit: float
    has_model: bool = False
    is_full: bool = False


class Metrics(msgspec.Struct, frozen=True):
    """What an agent has done so far; durations in seconds, rates None before the first task."""

    tasks_completed: int
    tasks_failed: int
    average_duration: float | None
    success_rate: float | None
    error_rate: float | None
    cache_hit_rate: float | None


class Agent(msgspec.Struct, frozen=True):
    """An agent as it is now, over all the processes that host it.

    What it uses is None where nothing says so, as of an agent from outside that keeps it to itself.
    """

    agent_id: str
    name: str
    type: str
    capabilities: tuple[str, ...]
    configuration: dict[str, Any]
    status: AgentStatus
    current_load: int
    max_capacity: int
    last_heartbeat_at: int | None
    uptime_seconds: float
    metrics: Metrics
    cpu_usage: float | None
    memory_usage: float | None
    memory_limit: float | None
    transport: str | None


class AgentCounts(msgspec.Struct, frozen=True):
    """`active` agents are online, `idle` ones have no load, `busy` ones are at capacity."""

    total: int
    active: int
    idle: int
    busy: int


def count(agents: list[Agent]) -> AgentCounts:
    """The specification's four numbers."""
    online = [agent for agent in agents if agent.status is not AgentStatus.OFFLINE]
    return AgentCounts(
        total=len(agents),
        active=len(online),
        idle=sum(agent.current_load == 0 for agent in online),
        busy=sum(agent.status is AgentStatus.BUSY for agent in online),
    )


DEFAULT_CONFIGURATION: dict[str, Any] = {
    "model": "mistral:7b-instruct-q4_K_M",
    "max_iterations": 3,
    "memory_enabled": True,
    "temperature": 0.7,
}
"""The specification's; what concerns a model has an effect only where one is reachable."""


class Configured(NamedTuple):
    """A version of an agent's configuration; `changed_at` in microseconds.

    `rolled_back_to` is the version that it brought back, None for a change.
    """

    version: int
    configuration: dict[str, Any]
    updated_fields: list[str]
    rolled_back_to: int | None
    changed_by: str
    changed_at: int


def check_configuration(changes: dict[str, Any]) -> list[Detail]:
    """What is wrong with a change of configuration, a detail a field."""
    wrong = []
    for field, value in changes.items():
        problem = _check_field(field, value)
        if problem:
            wrong.append(Detail(field, problem))
    return wrong


def _check_field(field: str, value: object) -> str | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match field:
        case "model":
            good = isinstance(value, str) and re.fullmatch(r"[ -~]{1,200}", value) is not None
            return None if good else "must be a model's name, 1 to 200 printable ASCII characters"
        case "max_iterations":
            good = isinstance(value, int) and number and 1 <= value <= 100
            return None if good else "must be a whole number from 1 to 100"
        case "memory_enabled":
            return None if isinstance(value, bool) else "must be true or false"
        case "temperature":
            good = number and 0 <= value <= 2  # type: ignore[operator]  # a number by now
            return None if good else "must be a number from 0 to 2"
        case _:
            return "is not a setting; there are " + ", ".join(DEFAULT_CONFIGURATION)


class WorkDone(NamedTuple):
    """Tasks that an agent has done or failed at; what it refused is neither.

    `busy_time` is the sum of their durations in microseconds.
    """

    agent_id: str
    completed: int
    failed: int
    busy_time: int
