"""Submit to completed over HTTP, beside a bare POST in the same run."""

import json
import statistics
import time

from benchmarks import servers
from benchmarks.http_load import call, load, request

_BODY = json.dumps(
    {"type": "ping", "description": "benchmark", "priority": 5, "metadata": {"n": 1}}
).encode()


def _completed(server: servers.Server) -> int:
    path = "/api/v1/tasks?status=completed&limit=1"
    total: int = json.loads(call(server.port, request("GET", path, token=server.token)).body)[
        "total"
    ]
    return total


def _cpu(server: servers.Server) -> float:
    times = server.process.cpu_times()
    used: float = times.user + times.system
    return used


def ours_once(server: servers.Server, count: int) -> tuple[float, float, float]:
    """(tasks completed a second, submissions a second, CPU microseconds a task)."""
    before = _completed(server)
    cpu = _cpu(server)
    message = request("POST", "/api/v1/tasks", token=server.token, body=_BODY)
    begun = time.perf_counter()
    submitted = load(server.port, message, count=count, expect=201)
    while _completed(server) < before + count:
        time.sleep(0.002)
    seconds = time.perf_counter() - begun
    return count / seconds, submitted.rate, (_cpu(server) - cpu) / count * 1e6


def main(rounds: int = 3, count: int = 6_000) -> None:
    ends, posts, costs, bares, bare_costs = [], [], [], [], []
    with servers.bare() as bare, servers.ours() as ours:
        bare_message = request("POST", "/tasks", body=_BODY)
        ours_once(ours, 500)
        load(bare.port, bare_message, count=500, expect=201)
        for _ in range(rounds):
            cpu = _cpu(bare)
            bares.append(load(bare.port, bare_message, count=count, expect=201).rate)
            bare_costs.append((_cpu(bare) - cpu) / count * 1e6)
            end, post, cost = ours_once(ours, count)
            ends.append(end)
            posts.append(post)
            costs.append(cost)
    base = statistics.median(bares)
    cost, bare_cost = statistics.median(costs), statistics.median(bare_costs)
    end = statistics.median(ends)
    print(f"bare FastAPI+pydantic POST      {base:8.0f} requests/s   {bare_cost:5.0f} µs CPU each")
    print(f"ours, submitted                 {statistics.median(posts):8.0f} tasks/s")
    print(
        f"ours, submitted and completed   {end:8.0f} tasks/s      {cost:5.0f} µs CPU each   "
        f"{end / base:.2f} of bare"
    )


if __name__ == "__main__":
    main()
