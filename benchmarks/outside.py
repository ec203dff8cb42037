"""Agents from outside: how soon an idle one has its work, alone and among many, by either door."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from redis.asyncio import Redis

from benchmarks import servers
from benchmarks.http_load import Connection, request
from tests.valkey import ValkeyServer

_TYPE = "outside_bench"
_TASK = json.dumps({"type": _TYPE, "description": "benchmark"}).encode()
_COUNTS = (1, 50, 200)
_PATIENCE = 60.0

Got = Callable[[], None]
"""To be called as soon as an agent has its work."""
Door = Callable[[str, str, Got], AbstractAsyncContextManager[object]]
"""An agent by its id and its key, which works while this lasts."""


def _over_http(server: servers.Server) -> Door:
    """A loop that claims by long poll and hands in what came of it, as with curl."""

    @asynccontextmanager
    async def agent(agent_id: str, key: str, got: Got) -> AsyncIterator[None]:
        connection = await Connection.open(server.port)
        claim = request("POST", f"/api/v1/agents/{agent_id}/claim?wait=25", token=key)

        async def work() -> None:
            while True:
                for one in (await _sent(connection, claim))["assignments"]:
                    got()
                    path = f"/api/v1/assignments/{one['assignment_id']}/complete"
                    done = request("POST", path, token=key, body=b'{"result": {}}')
                    await _sent(connection, done)

        working = asyncio.create_task(work())
        yield
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        connection.close()

    return agent


def _over_redis(url: str) -> Door:
    """The specification's loop: listen on the agent's channel, answer on the coordinator's."""

    @asynccontextmanager
    async def agent(agent_id: str, _key: str, got: Got) -> AsyncIterator[None]:
        async with Redis.from_url(url) as client, client.pubsub() as channel:
            await channel.subscribe(f"agent:{agent_id}")

            async def work() -> None:
                async for message in channel.listen():
                    if message["type"] == "message":
                        got()
                        await client.publish("agent:master-coordinator", _answer(message["data"]))

            working = asyncio.create_task(work())
            yield
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    return agent


def _answer(data: bytes) -> str:
    asked = json.loads(data)
    return json.dumps(
        {
            "message_id": f"answer-to-{asked['message_id']}",
            "from_agent": asked["to_agent"],
            "to_agent": asked["from_agent"],
            "type": "response",
            "payload": {"status": "completed", "result": {}},
            "timestamp": asked["timestamp"],
            "correlation_id": asked["correlation_id"],
        }
    )


async def _sent(connection: Connection, what: bytes) -> Any:
    answer = await connection.send(what)
    if answer.status not in (200, 201):
        raise RuntimeError(str(answer.body[:300]))
    return json.loads(answer.body)


async def _joined(server: servers.Server, user: Connection, transport: str, agent_id: str) -> str:
    """Register an agent; its key."""
    said = {"agent_id": agent_id, "name": agent_id, "type": "x", "capabilities": [_TYPE]}
    body = json.dumps(said | {"transport": transport}).encode()
    path = "/api/v1/agents"
    key: str = (await _sent(user, request("POST", path, token=server.token, body=body)))["api_key"]
    return key


async def _online(server: servers.Server, user: Connection, agent_id: str) -> None:
    look = request("GET", f"/api/v1/agents/{agent_id}", token=server.token)
    async with asyncio.timeout(_PATIENCE):
        while True:
            if (await _sent(user, look))["status"] != "offline":
                return
            await asyncio.sleep(0.05)


async def _latencies(
    server: servers.Server, transport: str, door: Door, count: int, samples: int
) -> list[float]:
    """Milliseconds from sending a task to an agent's having it, one task at a time."""
    user = await Connection.open(server.port)
    times: asyncio.Queue[float] = asyncio.Queue()
    latencies = []
    async with AsyncExitStack() as agents:
        ids = [f"{transport}-{number}" for number in range(count)]
        for agent_id in ids:
            key = await _joined(server, user, transport, agent_id)
            got = partial(_note, times)
            await agents.enter_async_context(door(agent_id, key, got))
        for agent_id in ids:
            await _online(server, user, agent_id)
        await asyncio.sleep(1)  # until the last of them waits, and the server has calmed down
        submit = request("POST", "/api/v1/tasks", token=server.token, body=_TASK)
        for _ in range(samples):
            begun = time.perf_counter()
            await _sent(user, submit)
            async with asyncio.timeout(_PATIENCE):
                latencies.append((await times.get() - begun) * 1000)
            await asyncio.sleep(0.02)  # until the agent waits again
    user.close()
    return sorted(latencies)


def _note(times: asyncio.Queue[float]) -> None:
    times.put_nowait(time.perf_counter())


def _tell(name: str, count: int, latencies: list[float]) -> None:
    print(
        f"over {name}, {count:>3} waiting: to its work {statistics.median(latencies):6.1f} ms p50  "
        f"{latencies[int(len(latencies) * 0.99)]:.1f} ms p99",
        flush=True,
    )


def main(samples: int = 150) -> None:
    for count in _COUNTS:
        with servers.ours() as server:
            door = _over_http(server)
            _tell("HTTP ", count, asyncio.run(_latencies(server, "http", door, count, samples)))
        with ValkeyServer() as valkey, servers.ours(SUTAZAI_REDIS_URL=valkey.url) as server:
            door = _over_redis(valkey.url)
            _tell("Redis", count, asyncio.run(_latencies(server, "redis", door, count, samples)))


if __name__ == "__main__":
    main()
