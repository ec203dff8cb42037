"""`/api/v1/metrics` and `/metrics`: every figure measured, for those who may see it."""

import asyncio
from pathlib import Path

import httpx2
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from tests.api.agents import Obedient
from tests.api.server import JSON, Server, client_of, ended, error_of, serving, settings_for, submit

SCRAPE = "http://sutazai.test/metrics"


async def report(client: httpx2.AsyncClient) -> JSON:
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    shown: JSON = answer.json()
    return shown


async def scrape(client: httpx2.AsyncClient) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, in their order."""
    answer = await client.get(SCRAPE)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in plain_text(answer.text)
        for sample in family.samples
    }


async def test_the_report_has_the_specifications_shape(fresh_server: Server) -> None:
    shown = await report(fresh_server.admin)
    assert {part: set(figures) for part, figures in shown.items()} == {
        "system": {"cpu_usage", "memory_usage", "memory_total", "disk_usage"},
        "agents": {
            "total",
            "active",
            "tasks_queued",
            "tasks_processing",
            "tasks_completed_today",
        },
        "performance": {
            "average_task_duration",
            "p95_task_duration",
            "cache_hit_rate",
            "error_rate",
        },
        "models": {"calls_today", "tokens_today", "cost_today"},
    }
    system = shown["system"]
    assert 0 <= system["cpu_usage"] <= 100
    assert 0 < system["memory_usage"] < system["memory_total"]
    assert 0 < system["disk_usage"] <= 100
    assert shown["agents"]["total"] == shown["agents"]["active"] > 0
    assert set(shown["performance"].values()) == {None}  # nothing has run, so nothing is known


async def test_what_ran_is_counted(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    agent = Obedient()
    settings = settings_for(data_dir, database_url, tmp_path)
    async with serving(settings, extra_agents=[agent], roles=[]) as server:
        admin = server.admin
        for _ in range(3):
            await ended(admin, (await submit(admin, "ping"))["task_id"])
        failing = await submit(admin, "obey", metadata={"do": "fail"})
        assert (await ended(admin, failing["task_id"]))["status"] == "failed"
        shown = await report(admin)
        assert shown["agents"]["tasks_completed_today"] == 3
        assert shown["agents"]["tasks_queued"] == shown["agents"]["tasks_processing"] == 0
        performance = shown["performance"]
        assert performance["error_rate"] == 0.25
        assert 0 < performance["average_task_duration"] <= performance["p95_task_duration"] * 1.1
        samples = await scrape(admin)
    assert samples["sutazai_tasks_accepted_total", "ping"] == 3
    assert samples["sutazai_tasks_ended_total", "completed", "ping"] == 3
    assert samples["sutazai_tasks_ended_total", "failed", "obey"] == 1
    assert samples["sutazai_tasks", "completed", "ping"] == 3
    assert samples["sutazai_job_attempts_total", "task", "failed"] == 1
    assert samples["sutazai_task_duration_seconds_count", "ping"] == 3
    assert samples["sutazai_task_wait_seconds_count", "ping"] == 3
    assert samples["sutazai_events_appended_total", "task.created"] == 4
    assert samples["sutazai_database_write_duration_seconds_count",] > 0
    route = ("POST", "/api/v1/tasks", "201")
    assert samples["sutazai_http_request_duration_seconds_count", *route] == 4
    assert samples["sutazai_agent_capacity", "master-coordinator"] > 0
    assert samples["process_resident_memory_bytes",] > 0


async def test_a_cancelled_and_a_waiting_task_are_counted_where_they_are(
    fresh_server: Server,
) -> None:
    admin = fresh_server.admin
    later = await submit(admin, run_at="2999-01-01T00:00:00Z")
    assert (await admin.delete(f"/tasks/{later['task_id']}")).is_success
    samples = await scrape(admin)
    assert samples["sutazai_tasks_ended_total", "cancelled", "ping"] == 1
    assert samples["sutazai_tasks", "pending", "ping"] == 0
    assert (await report(admin))["performance"]["error_rate"] is None


async def test_processes_on_one_database_tell_the_same(
    postgres_url: str, data_dir: Path, tmp_path: Path
) -> None:
    settings = settings_for(data_dir, postgres_url, tmp_path)
    async with (
        serving(settings, roles=[]) as one,
        serving(settings, roles=[]) as other,
    ):
        for server in (one, other):
            for _ in range(2):
                await ended(server.admin, (await submit(server.admin))["task_id"])
        reports = [await report(server.admin) for server in (one, other)]
        counts = [await scrape(server.admin) for server in (one, other)]
    assert reports[0]["agents"] == reports[1]["agents"]
    assert reports[0]["agents"]["tasks_completed_today"] == 4
    assert reports[0]["performance"] == reports[1]["performance"]
    # What a process counts is its own, for Prometheus to add up.
    for name in (("sutazai_tasks_accepted_total", "ping"),):
        assert sum(one.get(name, 0) for one in counts) == 4
    ends = ("sutazai_tasks_ended_total", "completed", "ping")
    assert sum(one.get(ends, 0) for one in counts) == 4


@pytest.mark.parametrize("path", ["/metrics", SCRAPE])
async def test_metrics_are_for_those_who_may_read_them(server: Server, path: str) -> None:
    for allowed in (server.admin, server.viewer):
        assert (await allowed.get(path)).status_code == 200
    for refused in (server.user, server.developer):
        error_of(await refused.get(path), 403, "FORBIDDEN")
    error_of(await server.anonymous.get(path), 401, "UNAUTHORIZED")
    error_of(await server.admin.post(path), 405, "BAD_REQUEST")


async def test_prometheus_may_use_an_api_key(server: Server) -> None:
    key = (await server.viewer.post("/auth/keys", json={"name": "prometheus"})).json()["api_key"]
    async with client_of(server.application, key) as prometheus:
        assert (await prometheus.get(SCRAPE)).status_code == 200


async def test_open_metrics_is_spoken_where_it_is_asked_for(server: Server) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answer = await server.admin.get(SCRAPE, headers={"accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = open_metrics(answer.text)  # type: ignore[no-untyped-call]  # it has no types
    assert "sutazai_http_request_duration_seconds" in {family.name for family in families}
    plain = await server.admin.get(SCRAPE)
    assert plain.headers["content-type"].startswith("text/plain")


async def test_hostile_paths_and_methods_do_not_add_series(server: Server) -> None:
    async def series() -> set[tuple[str, ...]]:
        return {key for key in await scrape(server.admin) if key[0].startswith("sutazai_http")}

    async def ask(number: int) -> None:
        await server.anonymous.get(f"/no/such/{number}")
        await server.anonymous.request(f"M{number}", f"/tasks/{number}")
        await server.admin.get(f"/tasks/unknown-{number}")

    await ask(0)
    await series()
    before = await series()
    await asyncio.gather(*map(ask, range(1, 40)))
    assert await series() == before
