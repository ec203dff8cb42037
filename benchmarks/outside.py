"""Agents from outside over HTTP: how soon an idle one has its work, alone and among many."""

import asyncio
import json
import statistics
import time

from benchmarks import servers
from benchmarks.http_load import Connection, request

_TYPE = "outside_bench"
_TASK = json.dumps({"type": _TYPE, "description": "benchmark"}).encode()


class _Agent:
    """One that is there, with a connection of its own."""

    def __init__(self, agent_id: str, key: str, connection: Connection) -> None:
        self._connection = connection
        self._key = key
        self._claim = request("POST", f"/api/v1/agents/{agent_id}/claim?wait=25", token=key)

    async def claim(self) -> list[str]:
        answer = await self._connection.send(self._claim)
        if answer.status != 200:
            raise RuntimeError(str(answer.body[:300]))
        return [one["assignment_id"] for one in json.loads(answer.body)["assignments"]]

    async def complete(self, assignment_id: str) -> None:
        path = f"/api/v1/assignments/{assignment_id}/complete"
        answer = await self._connection.send(
            request("POST", path, token=self._key, body=b'{"result": {}}')
        )
        if answer.status != 200:
            raise RuntimeError(str(answer.body[:300]))


async def _joined(server: servers.Server, user: Connection, agent_id: str) -> _Agent:
    said = {"agent_id": agent_id, "name": agent_id, "type": "x", "capabilities": [_TYPE]}
    body = json.dumps(said).encode()
    answer = await user.send(request("POST", "/api/v1/agents", token=server.token, body=body))
    key: str = json.loads(answer.body)["api_key"]
    return _Agent(agent_id, key, await Connection.open(server.port))


async def _latencies(server: servers.Server, count: int, samples: int) -> list[float]:
    """Milliseconds from sending a task to an agent's having it, one task at a time."""
    user = await Connection.open(server.port)
    agents = [await _joined(server, user, f"agent-{count}-{number}") for number in range(count)]
    got: asyncio.Queue[float] = asyncio.Queue()

    async def work(agent: _Agent) -> None:
        while True:
            for assignment_id in await agent.claim():
                got.put_nowait(time.perf_counter())
                await agent.complete(assignment_id)

    working = [asyncio.create_task(work(agent)) for agent in agents]
    submit = request("POST", "/api/v1/tasks", token=server.token, body=_TASK)
    latencies = []
    await asyncio.sleep(1)
    for _ in range(samples):
        begun = time.perf_counter()
        answer = await user.send(submit)
        if answer.status != 201:
            raise RuntimeError(str(answer.body[:300]))
        latencies.append((await got.get() - begun) * 1000)
        await asyncio.sleep(0.02)  # until the agent waits again
    for one in working:
        one.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    return sorted(latencies)


def main(samples: int = 150) -> None:
    for count in (1, 200):
        with servers.ours() as server:
            latencies = asyncio.run(_latencies(server, count, samples))
        print(
            f"outside, {count:>3} waiting: to its work {statistics.median(latencies):6.1f} ms p50  "
            f"{latencies[int(len(latencies) * 0.99)]:.1f} ms p99"
        )


if __name__ == "__main__":
    main()
