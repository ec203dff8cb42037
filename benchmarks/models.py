"""Language models: what our layer adds to a call, and what a slow model does to everybody else."""

import asyncio
import contextlib
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import servers
from benchmarks.http_load import call, request
from sutazai.adapters.pydantic_llm import PydanticServer
from sutazai.agents.alone import NoCache
from sutazai.database import open_database
from sutazai.llm.accounts import Accounts
from sutazai.llm.model import Budget, Payer, Prompt, Request, Scope
from sutazai.llm.prices import Prices
from sutazai.llm.reach import Reach
from sutazai.llm.service import Models
from tests.scripted_model import Say, ScriptedModel

_PROMPT = Prompt(instructions="Be brief.", question="Say hello.")
_CALLS = 100
_WAITING = 20
_PINGS = 100


class _Cost(NamedTuple):
    """Of a call, in ms: by the clock (p50) and of this process's processor (mean)."""

    wall: float
    processor: float


async def _overhead(url: str, budgets: Mapping[Scope, Budget]) -> tuple[_Cost, _Cost]:
    """A call by the adapter alone, and through all that we put around it."""
    with tempfile.TemporaryDirectory() as folder:
        database = await open_database(url=None, data_dir=Path(folder))
        server = PydanticServer(url)
        reach = Reach(server=server, is_configured=True, usual_model="usual")
        accounts = Accounts(
            database=database,
            budgets=budgets,
            prices=Prices({}, is_local=True),
            call_seconds=60,
        )
        models = Models(server=server, reach=reach, accounts=accounts, concurrency=4, retries=0)
        found = asyncio.Event()
        reach.on_change(found.set)
        await reach.start()
        await found.wait()
        lent = models.for_task(
            payer=Payer("task", "agent", "user"),
            configuration={"model": "usual"},
            cache=NoCache(),
            show=lambda _call, _text: None,
        )
        asked = Request(
            model="scripted", messages=_PROMPT.messages(), temperature=0.0, max_tokens=20
        )
        alone = await _measured(lambda: server.ask(asked, lambda _: None))
        whole = await _measured(lambda: lent.ask(_PROMPT, max_tokens=20))
        await reach.stop()
        await database.close()
    return alone, whole


async def _measured(ask: Callable[[], Awaitable[object]]) -> _Cost:
    for _ in range(10):
        await ask()
    walls, busy = [], time.process_time()
    for _ in range(_CALLS):
        begun = time.perf_counter()
        await ask()
        walls.append((time.perf_counter() - begun) * 1000)
    return _Cost(statistics.median(walls), (time.process_time() - busy) * 1000 / _CALLS)


def _ask(server: servers.Server, method: str, path: str, body: Any = None) -> Any:
    sent = b"" if body is None else json.dumps(body).encode()
    answer = call(server.port, request(method, f"/api/v1{path}", token=server.token, body=sent))
    return json.loads(answer.body)


def _starts(server: servers.Server) -> list[float]:
    """How long pings waited for their start, in ms."""
    waits = []
    for _ in range(_PINGS):
        task = _ask(server, "POST", "/tasks", {"type": "ping", "description": "benchmark"})
        task = _ask(server, "GET", f"/tasks/{task['task_id']}?wait=5")
        created, started = (
            datetime.fromisoformat(task[name]) for name in ("created_at", "started_at")
        )
        waits.append((started - created).total_seconds() * 1000)
        time.sleep(0.01)
    return sorted(waits)


def main() -> None:
    spent = {scope: Budget(tokens=10**9) for scope in Scope}
    with ScriptedModel(lambda _: Say("hello")) as model:
        for name, budgets in (("no budgets", {}), ("four budgets", spent)):
            alone, whole = asyncio.run(_overhead(model.url, budgets))
            print(
                f"a call, {name:14}  {whole.wall:8.1f} ms p50, of which our layer "
                f"{whole.wall - alone.wall:.1f} ms, of the processor "
                f"{whole.processor - alone.processor:.1f} ms"
            )
    gate = threading.Event()
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(ScriptedModel(lambda _: Say("late", wait=gate)))
        stack.callback(gate.set)
        server = stack.enter_context(servers.ours(SUTAZAI_LLM_URL=model.url))
        for number in range(_WAITING):
            body = {
                "type": "llm_prompt",
                "description": "benchmark",
                "metadata": {"prompt": f"Number {number}?"},
            }
            _ask(server, "POST", "/tasks", body)
        while _ask(server, "GET", "/tasks?status=processing&limit=1")["total"] < _WAITING:
            time.sleep(0.05)
        waits = _starts(server)
        still = _ask(server, "GET", "/tasks?status=processing&limit=1")["total"]
    print(
        f"start of a ping, {still} on a model  {statistics.median(waits):8.1f} ms p50   "
        f"{waits[int(len(waits) * 0.99)]:.1f} ms p99"
    )


if __name__ == "__main__":
    main()
