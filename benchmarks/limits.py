"""What counting a request costs: in memory, and in a Redis on this machine."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks import servers
from benchmarks.http_load import load, request
from sutazai.adapters.redis_server import RedisServer
from sutazai.adapters.redis_windows import RedisWindows
from sutazai.limits.rates import Allowance, Caller, Policy, RateLimits
from tests.valkey import ValkeyServer

_PLENTY = Allowance(1_000_000, 1_000_000)
_CALLERS = [Caller.user(f"user-{n}", "premium") for n in range(50)]


async def _each(
    charge: Callable[[Caller], Awaitable[object]], count: int, at_once: int
) -> tuple[float, float]:
    """Microseconds, and those of CPU, a charge, with so many requests under way at a time."""
    callers = itertools.islice(itertools.cycle(_CALLERS), count)

    async def work() -> None:
        for caller in callers:
            await charge(caller)

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(at_once)))
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return seconds / count * 1e6, cpu / count * 1e6


async def _charges(url: str, rounds: int) -> None:
    server = RedisServer(url, installation="benchmark")
    windows = RedisWindows(server, seconds=5)
    alone = RateLimits(tiers={"premium": _PLENTY}, without_tier=_PLENTY)
    shared = RateLimits(tiers={"premium": _PLENTY}, without_tier=_PLENTY, shared=windows)

    async def in_memory(caller: Caller) -> object:
        return await alone.charge(caller, Policy.REQUESTS)

    async def in_redis(caller: Caller) -> object:
        return await shared.charge(caller, Policy.REQUESTS)

    rows = [
        ("in memory", in_memory, 20_000, 1),
        ("in Redis, one at a time", in_redis, 3_000, 1),
        ("in Redis, 32 at a time", in_redis, 10_000, 32),
    ]
    for name, charge, count, at_once in rows:
        await _each(charge, count // 10, at_once)
        found = [await _each(charge, count, at_once) for _ in range(rounds)]
        took, cpu = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"{name:<31} {took:8.1f} µs a request    {cpu:5.1f} µs CPU each")
    await windows.close()
    await server.close()


def _served(name: str, settings: dict[str, str], count: int, rounds: int) -> None:
    with servers.ours(data_dir=None, script=None, **settings) as server:
        message = request("GET", "/api/v1/auth/me", token=server.token)
        load(server.port, message, count=500, expect=200)
        costs, rates = [], []
        for _ in range(rounds):
            before = sum(server.process.cpu_times()[:2])
            rates.append(load(server.port, message, count=count, expect=200).rate)
            costs.append((sum(server.process.cpu_times()[:2]) - before) / count * 1e6)
    print(
        f"GET /auth/me, {name:<17} {statistics.median(rates):8.0f} requests/s   "
        f"{statistics.median(costs):5.0f} µs CPU each"
    )


def main(rounds: int = 3, count: int = 4_000) -> None:
    with ValkeyServer() as valkey:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_charges(valkey.url, rounds))
        for name, settings in (
            ("not limited", {"SUTAZAI_RATE_LIMITS": "off"}),
            ("counted in memory", {}),
            ("counted in Redis", {"SUTAZAI_REDIS_URL": valkey.url}),
        ):
            _served(name, settings, count, rounds)


if __name__ == "__main__":
    main()
