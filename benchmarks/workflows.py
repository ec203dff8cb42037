"""Workflows: what a step of a chain costs, and how many steps a second a fan-out does.

And whether a step costs the same beside many finished executions as beside none.
"""

import asyncio
import json
import statistics
import tempfile
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from benchmarks import servers
from benchmarks.http_load import call, request
from sutazai import clock, ids
from sutazai.database import Connection, open_database
from sutazai.workflows.store import EXECUTIONS, RUNS

_CHAIN = 100
_FAN_OUT = 1_000
_FINISHED = 10_000
_STEPS_OF_EACH = 50


def _ask(server: servers.Server, method: str, path: str, body: Any = None) -> Any:
    sent = b"" if body is None else json.dumps(body).encode()
    answer = call(server.port, request(method, f"/api/v1{path}", token=server.token, body=sent))
    assert answer.status < 300, answer.body
    return json.loads(answer.body)


def _executed(server: servers.Server, workflow_id: str, given: dict[str, Any]) -> Any:
    path = f"/workflows/{workflow_id}/execute"
    execution = _ask(server, "POST", path, {"input": given})
    while execution["status"] == "running":
        time.sleep(0.1)
        execution = _ask(server, "GET", f"/executions/{execution['execution_id']}")
    assert execution["status"] == "completed", execution
    return execution


def _created(server: servers.Server, steps: list[dict[str, Any]]) -> str:
    made = _ask(server, "POST", "/workflows", {"name": "benchmark", "steps": steps})
    workflow_id: str = made["workflow_id"]
    return workflow_id


def _at(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _finished(number: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An execution that is over, and the runs of its steps, as rows."""
    now = clock.now() - number
    execution = {
        "execution_id": ids.new_id("exec"),
        "workflow_id": "wf-finished",
        "version": 1,
        "status": "completed",
        "state": "c" * _STEPS_OF_EACH,
        "input": "{}",
        "submitted_by": "user-1",
        "started_at": now,
        "ended_at": now,
        "depth": 0,
    }
    runs = [
        {
            "execution_id": execution["execution_id"],
            "position": position,
            "item": -1,
            "status": "completed",
            "task_id": ids.new_uuid(),
            "started_at": now,
            "ended_at": now,
        }
        for position in range(_STEPS_OF_EACH)
    ]
    return execution, runs


async def _fill(data_dir: Path) -> None:
    database = await open_database(url=None, data_dir=data_dir)

    def unit(connection: Connection) -> None:
        for number in range(0, _FINISHED, 100):
            made = [_finished(number + one) for one in range(100)]
            connection.execute(insert(EXECUTIONS), [execution for execution, _ in made])
            connection.execute(insert(RUNS), [run for _, runs in made for run in runs])

    await database.run(unit)
    await database.close()


def _gaps(server: servers.Server, workflow_id: str, rounds: int) -> list[float]:
    """Seconds from the beginning of a step of the chain to that of the next."""
    found: list[float] = []
    for _ in range(rounds):
        begun = [_at(step["started_at"]) for step in _executed(server, workflow_id, {})["steps"]]
        found += [after - before for before, after in pairwise(begun)]
    return found


def _beside_many(chain: list[dict[str, Any]], rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        full = Path(directory) / "data"
        full.mkdir()
        asyncio.run(_fill(full))
        # By turns, so that both meet the machine in the same moods.
        with servers.ours() as without, servers.ours(data_dir=full) as beside:
            made = [(server, _created(server, chain)) for server in (without, beside)]
            gaps: list[list[float]] = [[], []]
            for turn in range(rounds + 1):
                for found, (server, workflow_id) in zip(gaps, made, strict=True):
                    some = _gaps(server, workflow_id, 1)
                    found.extend(some if turn else [])
    few, many = (statistics.median(found) * 1e3 for found in gaps)
    print(f"a step, nothing finished        p50 {few:6.1f} ms")
    print(f"a step, {_FINISHED:,} executions done  p50 {many:6.1f} ms   {many / few:.2f}x")


def main(rounds: int = 3) -> None:
    chain: list[dict[str, Any]] = [{"step_id": "s0", "type": "ping"}]
    chain += [
        {"step_id": f"s{n}", "type": "ping", "depends_on": [f"s{n - 1}"]} for n in range(1, _CHAIN)
    ]
    fan: list[dict[str, Any]] = [{"step_id": f"s{n}", "type": "ping"} for n in range(_FAN_OUT)]
    each = [{"step_id": "s", "type": "ping", "metadata": {}, "for_each": {"items": "input.l"}}]
    gaps: list[float] = []
    rates: list[float] = []
    item_rates: list[float] = []
    with servers.ours() as server:
        made = [_created(server, steps) for steps in (chain, fan, each)]
        _executed(server, made[0], {})
        for _ in range(rounds):
            gaps += _gaps(server, made[0], 1)
            for workflow_id, found in ((made[1], rates), (made[2], item_rates)):
                done = _executed(server, workflow_id, {"l": [0] * _FAN_OUT})
                seconds = _at(done["completed_at"]) - _at(done["started_at"])
                found.append(_FAN_OUT / seconds)
    p50, p95 = statistics.median(gaps) * 1e3, statistics.quantiles(gaps, n=20)[-1] * 1e3
    print(f"chain of {_CHAIN}, a step             p50 {p50:6.1f} ms   p95 {p95:6.1f} ms")
    print(f"fan-out of {_FAN_OUT:,} steps         {statistics.median(rates):6.0f} steps/s")
    print(f"for_each over {_FAN_OUT:,} items      {statistics.median(item_rates):6.0f} items/s")
    _beside_many(chain, rounds)


if __name__ == "__main__":
    main()
