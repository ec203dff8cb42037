"""What an idle server costs: its start, its memory, and one task from submission to result."""

import asyncio
import json
import statistics
import time

import psutil

from benchmarks import servers
from benchmarks.http_load import Connection, request

_PING = json.dumps({"type": "ping", "description": "benchmark"}).encode()


def _memory(process: psutil.Process) -> float:
    tree = [process, *process.children(recursive=True)]
    return sum(one.memory_info().rss for one in tree) / (1024 * 1024)


async def _latencies(server: servers.Server, samples: int) -> list[float]:
    connection = await Connection.open(server.port)
    submit = request("POST", "/api/v1/tasks", token=server.token, body=_PING)
    latencies = []
    for _ in range(samples):
        begun = time.perf_counter()
        task_id = json.loads((await connection.send(submit)).body)["task_id"]
        path = f"/api/v1/tasks/{task_id}/result?wait=5"
        answer = await connection.send(request("GET", path, token=server.token))
        if answer.status != 200:
            raise RuntimeError(str(answer.body[:300]))
        latencies.append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(0.01)
    connection.close()
    return latencies


def main(samples: int = 150) -> None:
    starts = []
    for _ in range(3):
        with servers.ours() as server:
            starts.append(server.started_in)
    with servers.ours() as server:
        time.sleep(1)
        memory = _memory(server.process)
        latencies = sorted(asyncio.run(_latencies(server, samples)))
    print(f"start to a served /health       {statistics.median(starts):8.2f} s")
    print(f"idle memory, whole tree         {memory:8.0f} MB")
    print(
        f"idle submit to result           {statistics.median(latencies):8.1f} ms p50   "
        f"{latencies[int(len(latencies) * 0.99)]:.1f} ms p99"
    )


if __name__ == "__main__":
    main()
