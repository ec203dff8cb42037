"""Workflows: what a step of a chain costs, and how many steps a second a fan-out does."""

import json
import statistics
import time
from datetime import datetime
from itertools import pairwise
from typing import Any

from benchmarks import servers
from benchmarks.http_load import call, request

_CHAIN = 100
_FAN_OUT = 1_000


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
        ids = [_created(server, steps) for steps in (chain, fan, each)]
        _executed(server, ids[0], {})
        for _ in range(rounds):
            begun = [_at(step["started_at"]) for step in _executed(server, ids[0], {})["steps"]]
            gaps += [after - before for before, after in pairwise(begun)]
            for workflow_id, found in ((ids[1], rates), (ids[2], item_rates)):
                done = _executed(server, workflow_id, {"l": [0] * _FAN_OUT})
                seconds = _at(done["completed_at"]) - _at(done["started_at"])
                found.append(_FAN_OUT / seconds)
    p50, p95 = statistics.median(gaps) * 1e3, statistics.quantiles(gaps, n=20)[-1] * 1e3
    print(f"chain of {_CHAIN}, a step             p50 {p50:6.1f} ms   p95 {p95:6.1f} ms")
    print(f"fan-out of {_FAN_OUT:,} steps         {statistics.median(rates):6.0f} steps/s")
    print(f"for_each over {_FAN_OUT:,} items      {statistics.median(item_rates):6.0f} items/s")


if __name__ == "__main__":
    main()
