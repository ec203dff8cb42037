"""What this process counts and measures, for Prometheus; docs/operations.md lists it for users.

Everything else at `/metrics` (queues, agents) is read from the database at the scrape.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

MOST_VALUES = 100
"""How many values of a label that comes from outside are told apart."""
OTHER = "other"
"""The label of all the rest."""

_HTTP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TASK_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_MODEL_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_WRITE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
_BATCH_UNITS = (1, 2, 4, 8, 16, 32, 64)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Bounded:
    """Lets the first so many values through, and makes one of all others."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """The label to use for a value."""
        if value in self._known:
            return value
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(value)
        return value


class Instruments:
    """One registry and what is in it; handed to whoever has something to count."""

    def __init__(self, *, version: str) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        Info("sutazai_build", "What is running here", registry=registry).info({"version": version})
        self._http = Histogram(
            "sutazai_http_request_duration_seconds",
            "Requests by route and status, until the end of the answer",
            ["method", "route", "status"],
            buckets=_HTTP_SECONDS,
            registry=registry,
        )
        self._http_children: dict[tuple[str, str, int], Histogram] = {}
        self._task_types = Bounded()
        self._task_duration = Histogram(
            "sutazai_task_duration_seconds",
            "How long attempts at tasks ran in this process",
            ["type"],
            buckets=_TASK_SECONDS,
            registry=registry,
        )
        self._task_wait = Histogram(
            "sutazai_task_wait_seconds",
            "From when a task could start at the earliest until its first attempt here",
            ["type"],
            buckets=_TASK_SECONDS,
            registry=registry,
        )
        self._leases_lost = Counter(
            "sutazai_leases_lost_total",
            "Attempts that this process was running when their lease had gone to another",
            registry=registry,
        )
        self._write_seconds = Histogram(
            "sutazai_database_write_duration_seconds",
            "Transactions that write, with their commit",
            buckets=_WRITE_SECONDS,
            registry=registry,
        )
        self._write_units = Histogram(
            "sutazai_database_write_units",
            "Units of work that shared a transaction",
            buckets=_BATCH_UNITS,
            registry=registry,
        )
        self._rate_limited = Counter(
            "sutazai_rate_limited_requests_total",
            "Requests refused with 429, by the limit they met",
            ["limit"],
            registry=registry,
        )
        self._models = Bounded()
        self._model_seconds = Histogram(
            "sutazai_model_call_duration_seconds",
            "Calls of language models from this process, answered or failed",
            ["model", "outcome"],
            buckets=_MODEL_SECONDS,
            registry=registry,
        )
        self._model_tokens = Counter(
            "sutazai_model_tokens_total",
            "Tokens that language models read (input) and wrote (output)",
            ["model", "direction"],
            registry=registry,
        )
        self._model_cost = Counter(
            "sutazai_model_cost_usd_total",
            "What language models cost, as far as SUTAZAI_LLM_PRICES has their prices",
            ["model"],
            registry=registry,
        )
        self._tallies = _Tallies(registry)

    # --- requests

    def http_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; the route is a template, so that its values are few."""
        child = self._http_children.get((method, route, status))
        if child is None:
            shown = method if method in _METHODS else OTHER
            child = self._http.labels(shown, route, str(status))
            if shown is method:  # whatever else is called a method must not fill the memory
                self._http_children[method, route, status] = child
        child.observe(seconds)

    def rate_limited(self, limit: str) -> None:
        """Count a refused request; `limit` is the name of a policy."""
        self._rate_limited.labels(limit).inc()

    # --- tasks and jobs

    def task_started(self, task_type: str, waited_seconds: float | None) -> None:
        """Note how long a task waited for its first attempt."""
        if waited_seconds is not None:
            self._task_wait.labels(self._task_types(task_type)).observe(waited_seconds)

    def task_ran(self, task_type: str, seconds: float) -> None:
        """Note how long an attempt ran, however it ended."""
        self._task_duration.labels(self._task_types(task_type)).observe(seconds)

    def lease_lost(self) -> None:
        """Count an attempt that was given to another while it ran here."""
        self._leases_lost.inc()

    # --- language models

    def model_called(self, model: str, outcome: str, seconds: float) -> None:
        """Note a call, however it ended."""
        self._model_seconds.labels(self._models(model), outcome).observe(seconds)

    def model_used(self, model: str, input_tokens: int, output_tokens: int, cost: float) -> None:
        """Count what a call came to; `cost` in USD."""
        shown = self._models(model)
        self._model_tokens.labels(shown, "input").inc(input_tokens)
        self._model_tokens.labels(shown, "output").inc(output_tokens)
        self._model_cost.labels(shown).inc(cost)

    # --- the database

    def committed(self, seconds: float, units: int) -> None:
        """Note a transaction; from any thread."""
        self._write_seconds.observe(seconds)
        self._write_units.observe(units)

    def add_tallies(self, tallies: Mapping[tuple[str, ...], int]) -> None:
        """Add what committed transactions counted; see `sutazai.database.tally`."""
        self._tallies.add(tallies)

    # --- gauges

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Show a figure that is read, cheaply, whenever it is asked for."""
        Gauge(name, description, registry=self.registry).set_function(read)


TALLIES: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    "events": ("sutazai_events_appended", "Events written to the log", ("event_type",)),
    "tasks_accepted": ("sutazai_tasks_accepted", "Tasks accepted", ("type",)),
    "tasks_ended": ("sutazai_tasks_ended", "Tasks that reached a final status", ("type", "status")),
    "attempts": (
        "sutazai_job_attempts",
        "Ended attempts at jobs: succeeded, failed, retried, released, parked, rescued or lost",
        ("kind", "outcome"),
    ),
    "cache": ("sutazai_result_cache_lookups", "Look-ups in the result cache", ("result",)),
    "executions": (
        "sutazai_workflow_executions",
        "Executions of workflows: started, completed, failed or cancelled",
        ("status",),
    ),
    "schedules": (
        "sutazai_schedule_due_times",
        "Due times of schedules: fired, skipped or refused",
        ("outcome",),
    ),
    "callbacks": ("sutazai_callback_deliveries", "Attempts to deliver a callback", ("outcome",)),
}
"""The counters that transactions add to, by the tally's name."""


class _Tallies:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._counters = {
            name: Counter(metric, text, labels, registry=registry)
            for name, (metric, text, labels) in TALLIES.items()
        }
        self._bounds = {
            name: tuple(Bounded() for _ in labels) for name, (_, _, labels) in TALLIES.items()
        }
        self._children: dict[tuple[str, ...], Counter] = {}

    def add(self, tallies: Mapping[tuple[str, ...], int]) -> None:
        for key, number in tallies.items():
            child = self._children.get(key)
            if child is None:
                name, *values = key
                bounds = self._bounds[name]
                labels = tuple(bound(value) for bound, value in zip(bounds, values, strict=True))
                child = self._counters[name].labels(*labels)
                if labels == tuple(values):
                    self._children[key] = child
            child.inc(number)


class Snapshot(Collector):
    """Gauges that were read all together, at the last scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._families: list[Metric] = []
        registry.register(self)

    def show(self, families: list[Metric]) -> None:
        """Replace what is shown."""
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        yield from self._families


def gauges(
    name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> Metric:
    """A family of gauges, by the values of its labels."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family
