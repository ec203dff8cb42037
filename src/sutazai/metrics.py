"""The figures of `/api/v1/metrics`, and the text of `/metrics` for Prometheus."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from sutazai.agents.model import Agent, AgentStatus
from sutazai.agents.service import AgentRegistry
from sutazai.llm.service import Models
from sutazai.tasks.model import TaskStatus
from sutazai.tasks.statistics import Statistics, TaskStatistics
from sutazai.telemetry.host import Host
from sutazai.telemetry.instruments import MOST_VALUES, OTHER, Instruments, Snapshot, gauges


class SystemUse(msgspec.Struct, frozen=True, kw_only=True):
    """Usages in per cent; memory in MiB."""

    cpu_usage: float
    memory_usage: int
    memory_total: int
    disk_usage: float


class AgentFigures(msgspec.Struct, frozen=True, kw_only=True):
    """`tasks_completed_today` since midnight UTC."""

    total: int
    active: int
    tasks_queued: int
    tasks_processing: int
    tasks_completed_today: int


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in seconds, rates from 0 to 1; None where there was nothing to measure.

    All are of the last hour but the cache's hit rate, which is of all look-ups so far.
    """

    average_task_duration: float | None
    p95_task_duration: float | None
    cache_hit_rate: float | None
    error_rate: float | None


class ModelUse(msgspec.Struct, frozen=True, kw_only=True):
    """Of language models, since midnight UTC; `cost` in USD, None where a price is missing."""

    calls_today: int
    tokens_today: int
    cost_today: float | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The specification's shape."""

    system: SystemUse
    agents: AgentFigures
    performance: Performance
    models: ModelUse


class Exposition(NamedTuple):
    """Text for Prometheus, and its media type."""

    body: bytes
    media_type: str


class Metrics:
    """Measures, when asked."""

    def __init__(
        self,
        *,
        registry: AgentRegistry,
        statistics: Statistics,
        host: Host,
        instruments: Instruments,
        models: Models,
    ) -> None:
        self._registry = registry
        self._statistics = statistics
        self._host = host
        self._instruments = instruments
        self._models = models
        self._snapshot = Snapshot(instruments.registry)

    async def report(self) -> Report:
        """The figures, the same from every process but for `system`, which is this machine's."""
        host, tasks, agents, cache, spent = await asyncio.gather(
            asyncio.to_thread(self._host.read),
            self._statistics.read(),
            self._registry.list_agents(),
            self._registry.cache_use(),
            self._models.accounts.today(),
        )
        return Report(
            system=SystemUse(
                cpu_usage=host.cpu_usage,
                memory_usage=round(host.memory_usage),
                memory_total=round(host.memory_total),
                disk_usage=host.disk_usage,
            ),
            agents=AgentFigures(
                total=len(agents),
                active=sum(agent.status is not AgentStatus.OFFLINE for agent in agents),
                tasks_queued=tasks.with_status(TaskStatus.QUEUED),
                tasks_processing=tasks.with_status(TaskStatus.PROCESSING),
                tasks_completed_today=tasks.completed_today,
            ),
            performance=Performance(
                average_task_duration=tasks.average_duration,
                p95_task_duration=tasks.p95_duration,
                cache_hit_rate=round(cache.hits / cache.lookups, 4) if cache.lookups else None,
                error_rate=tasks.error_rate,
            ),
            models=ModelUse(
                calls_today=spent.calls,
                tokens_today=spent.input_tokens + spent.output_tokens,
                cost_today=spent.cost,
            ),
        )

    async def exposition(self, accept: str) -> Exposition:
        """Everything for Prometheus, in the format that an `Accept` header asks for."""
        tasks, agents = await asyncio.gather(self._statistics.read(), self._registry.list_agents())
        # No await between the two: another scrape must not come between them.
        self._snapshot.show([*_of_tasks(tasks), *_of_agents(agents)])
        encode, media_type = choose_encoder(accept)
        return Exposition(encode(self._instruments.registry), media_type)


def _of_tasks(tasks: TaskStatistics) -> list[Metric]:
    return [
        gauges(
            "sutazai_tasks",
            "Tasks there are, by type and status; the same from every process",
            ("type", "status"),
            _bounded({key: float(count) for key, count in tasks.counts.items()}),
        ),
        gauges(
            "sutazai_queue_oldest_age_seconds",
            "How long ago the oldest task was submitted that is ready to run, by type",
            ("type",),
            {(task_type,): age for task_type, age in tasks.oldest_queued.items()},
        ),
    ]


def _of_agents(agents: Sequence[Agent]) -> list[Metric]:
    load = _bounded({(agent.agent_id,): agent.current_load for agent in agents})
    capacity = _bounded(
        {
            (agent.agent_id,): 0 if agent.status is AgentStatus.OFFLINE else agent.max_capacity
            for agent in agents
        }
    )
    return [
        gauges("sutazai_agent_load", "Tasks an agent is running", ("agent",), load),
        gauges(
            "sutazai_agent_capacity",
            "Tasks an agent can run at once; 0 while it is offline",
            ("agent",),
            capacity,
        ),
    ]


def _bounded(values: Mapping[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """By the first label, of which only so many are told apart, in their order."""
    kept = set(sorted({key[0] for key in values})[:MOST_VALUES])
    found: dict[tuple[str, ...], float] = {}
    for key, value in values.items():
        shown = key if key[0] in kept else (OTHER, *key[1:])
        found[shown] = found.get(shown, 0) + value
    return found
