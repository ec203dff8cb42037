"""Rate limits that processes share through Redis, and each process's own while that is away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from sutazai.adapters.redis_server import RedisServer
from sutazai.adapters.redis_windows import RedisWindows
from sutazai.limits.rates import Allowance, Caller, Policy, RateLimits
from sutazai.limits.windows import Charge
from tests.api.process import started
from tests.api.server import ADMIN_PASSWORD, PATIENCE, Server, error_of, serving, settings_for
from tests.valkey import ValkeyServer

SECRET = "the secret of one installation, shared"
LIMIT = 20


class Pair(NamedTuple):
    """Two processes of one installation, each called as the admin."""

    one: httpx2.Client
    two: httpx2.Client


@pytest.fixture
def pair(postgres_url: str, tmp_path: Path, valkey: ValkeyServer) -> Iterator[Pair]:
    environment = {
        "SUTAZAI_DATABASE_URL": postgres_url,
        "SUTAZAI_REDIS_URL": valkey.url,
        "SUTAZAI_JWT_SECRET": SECRET,
        "SUTAZAI_RATE_LIMITS": "on",
        "SUTAZAI_RATE_LIMIT_REQUESTS_PREMIUM": str(LIMIT),
    }
    with ExitStack() as stack:
        clients = []
        for name in ("one", "two"):
            url = stack.enter_context(started(tmp_path / name, tmp_path, **environment))
            client = httpx2.Client(base_url=f"{url}/api/v1", timeout=PATIENCE)
            clients.append(stack.enter_context(client))
        body = {"username": "admin", "password": ADMIN_PASSWORD}
        token = clients[0].post("/auth/login", json=body).json()["access_token"]
        for client in clients:
            client.headers["authorization"] = f"Bearer {token}"
        yield Pair(*clients)


def admitted(*clients: httpx2.Client) -> int:
    """How many requests get through before every client is refused."""
    count, open_ = 0, list(clients)
    while open_:
        client = open_[count % len(open_)]
        if client.get("/auth/me").status_code == 429:
            open_.remove(client)
        else:
            count += 1
    return count


def test_two_processes_let_through_as_much_as_one(pair: Pair) -> None:
    assert admitted(pair.one, pair.two) == LIMIT
    refused = pair.two.get("/auth/me")
    assert refused.headers["ratelimit"].startswith('"requests";r=0;t=')
    assert int(refused.headers["retry-after"]) <= 60


@pytest.fixture
async def limited(
    data_dir: Path, tmp_path: Path, sqlite_template: Path, valkey: ValkeyServer
) -> AsyncIterator[Server]:
    settings = settings_for(
        data_dir,
        None,
        tmp_path,
        redis_url=valkey.url,
        rate_limits=True,
        rate_limit_requests_premium=LIMIT,
    )
    async with serving(settings, roles=[]) as server:
        yield server


async def refused(server: Server) -> httpx2.Response:
    for _ in range(LIMIT + 1):
        answer = await server.admin.get("/auth/me")
        if answer.status_code != 200:
            return answer
    raise AssertionError("nothing was refused")


async def test_without_redis_a_request_is_limited_all_the_same(
    limited: Server, valkey: ValkeyServer
) -> None:
    for _ in range(5):
        await limited.admin.get("/auth/me")
    valkey.kill()
    answer = await limited.admin.get("/auth/me")
    # What this process let through before counts on.
    assert answer.headers["ratelimit"].startswith(f'"requests";r={LIMIT - 6};t=')
    error_of(await refused(limited), 429, "RATE_LIMIT_EXCEEDED")


async def until_back(windows: RedisWindows) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if not windows.out_of_reach:
                return
            await asyncio.sleep(0.01)  # it tells only the log


async def test_a_frozen_redis_is_asked_once_and_then_left_alone(valkey: ValkeyServer) -> None:
    async with AsyncExitStack() as stack:
        server = RedisServer(valkey.url, installation="tests")
        stack.push_async_callback(server.close)
        windows = RedisWindows(server)
        stack.push_async_callback(windows.close)
        limits = RateLimits(
            tiers={"free": Allowance(LIMIT, 1)}, without_tier=Allowance(1, 1), shared=windows
        )
        caller = Caller.user("user-1", "free")
        assert (await limits.charge(caller, Policy.REQUESTS)).remaining == LIMIT - 1
        with valkey.frozen():
            assert (await limits.charge(caller, Policy.REQUESTS)).remaining == LIMIT - 2
            assert windows.out_of_reach
            # Nothing is awaited any more: not one turn of the loop goes by.
            turns = 0

            async def count_turns() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            counting = asyncio.create_task(count_turns())
            for n in range(3, LIMIT + 1):
                assert (await limits.charge(caller, Policy.REQUESTS)).remaining == LIMIT - n
            assert not (await limits.charge(caller, Policy.REQUESTS)).admitted
            assert turns == 0
            counting.cancel()
        await until_back(windows)
        found = await windows.charge(Charge("requests:user-1", 0))
        assert found is not None
        assert 1 <= found.used <= 2  # that which timed out may have been counted


@contextlib.asynccontextmanager
async def two_processes(
    valkey: ValkeyServer, limit: int
) -> AsyncIterator[list[tuple[RedisWindows, RateLimits]]]:
    """As two processes of one installation have them."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(2):
            server = RedisServer(valkey.url, installation="tests")
            stack.push_async_callback(server.close)
            windows = RedisWindows(server)
            stack.push_async_callback(windows.close)
            allowance = Allowance(limit, 1)
            found.append((windows, RateLimits(tiers={}, without_tier=allowance, shared=windows)))
        yield found


async def test_what_others_used_up_is_not_held_against_a_process_on_its_own(
    valkey: ValkeyServer,
) -> None:
    caller = Caller.address("198.51.100.7")
    async with two_processes(valkey, 4) as ((_, busy), (_, other)):
        for _ in range(4):
            assert (await busy.charge(caller, Policy.REQUESTS)).admitted
        for _ in range(4):
            assert not (await other.charge(caller, Policy.REQUESTS)).admitted
        valkey.kill()
        assert (await other.charge(caller, Policy.REQUESTS)).remaining == 3
        assert not (await busy.charge(caller, Policy.REQUESTS)).admitted


async def test_it_shares_again_by_itself_once_redis_is_back(valkey: ValkeyServer) -> None:
    caller = Caller.address("198.51.100.7")
    async with two_processes(valkey, 4) as limits:
        valkey.kill()
        for _, one in limits:
            assert (await one.charge(caller, Policy.REQUESTS)).remaining == 3
        valkey.start()
        for windows, _ in limits:
            await until_back(windows)
        standings = [
            await one.charge(caller, Policy.REQUESTS) for _ in range(3) for _, one in limits
        ]
        assert sum(one.admitted for one in standings) == 4
