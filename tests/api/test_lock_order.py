"""On PostgreSQL nobody waits in a circle: what is locked together is locked in one order.

Each test holds a lock that one transaction needs in its middle, lets another begin, and lets go.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from tests.api.agents import Obedient
from tests.api.server import PATIENCE, Server, ended, reached, serving, settings_for, submit
from tests.api.workflows import begun, by_step, created, obey, over, step, step_reached

_CONFLICTS = ("40001", "40P01")


@contextlib.contextmanager
def conflicts() -> Iterator[list[str]]:
    """What was undone because it stood in the way of something else, and was run again."""
    met: list[str] = []

    def hear(context: Any) -> None:
        state = getattr(context.original_exception, "sqlstate", None)
        if state in _CONFLICTS:
            met.append(f"{state}: {context.statement}")

    sa.event.listen(sa.Engine, "handle_error", hear)
    try:
        yield met
    finally:
        sa.event.remove(sa.Engine, "handle_error", hear)


class Holder:
    """A transaction of somebody else's, which holds a lock until it is told to let go."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._transaction = connection.transaction()

    async def hold(self, statement: str, *values: object) -> None:
        await self._transaction.start()
        await self._connection.execute(statement, *values)

    async def until_waiting(self, count: int) -> None:
        """Until so many transactions of this database wait for a lock."""
        query = (
            "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid IN "
            "(SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
        )
        async with asyncio.timeout(PATIENCE):
            while True:
                if await self._connection.fetchval(query) >= count:
                    return
                await asyncio.sleep(0.01)  # asks again; nothing tells of waiting

    async def let_go(self) -> None:
        await self._transaction.rollback()


@contextlib.asynccontextmanager
async def holding(url: str) -> AsyncIterator[Holder]:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(plain)
    try:
        yield Holder(connection)
    finally:
        await connection.close()


@pytest.fixture
async def own(
    postgres_url: str, data_dir: Path, tmp_path: Path
) -> AsyncIterator[tuple[Server, Obedient, Holder]]:
    """A server with an agent that obeys, and somebody who can stand in its way."""
    agent = Obedient()
    settings = settings_for(data_dir, postgres_url, tmp_path)
    async with (
        serving(settings, extra_agents=[agent], roles=["developer"]) as server,
        holding(postgres_url) as holder,
    ):
        yield server, agent, holder


async def cancel(client: httpx2.AsyncClient, path: str) -> httpx2.Response:
    return await client.delete(path)


@pytest.mark.parametrize("by", ["agent", "user"])
async def test_a_task_may_end_while_its_execution_is_being_cancelled(
    own: tuple[Server, Obedient, Holder], by: str
) -> None:
    server, agent, holder = own
    client = server.developer
    execution_id = await begun(client, obey("a", "wait"), step("b", "a"))
    shown = await step_reached(client, execution_id, "a", "running")
    task_id = by_step(shown)["a"]["task_id"]
    await reached(client, task_id, "processing")
    with conflicts() as met:
        await holder.hold(
            "SELECT 1 FROM workflow_runs WHERE execution_id = $1 FOR UPDATE", execution_id
        )
        cancelling = asyncio.create_task(cancel(client, f"/executions/{execution_id}"))
        await holder.until_waiting(1)
        if by == "agent":
            agent.gate.set()
            also: asyncio.Task[Any] | None = None
        else:
            also = asyncio.create_task(cancel(client, f"/tasks/{task_id}"))
        await holder.until_waiting(2)
        await holder.let_go()
        assert (await cancelling).json()["status"] == "cancelled"
        if also is not None:
            assert (await also).status_code in (200, 409)
        assert (await ended(client, task_id))["status"] == "cancelled"
    assert met == []


async def test_a_sub_workflow_may_end_while_the_one_above_it_is_being_cancelled(
    own: tuple[Server, Obedient, Holder],
) -> None:
    server, agent, holder = own
    client = server.developer
    child = await created(client, obey("inner", "wait"))
    execution_id = await begun(
        client, {"step_id": "outer", "type": "workflow", "workflow_id": child}
    )
    outer = by_step(await step_reached(client, execution_id, "outer", "running"))["outer"]
    shown = await step_reached(client, outer["execution_id"], "inner", "running")
    task_id = by_step(shown)["inner"]["task_id"]
    await reached(client, task_id, "processing")
    with conflicts() as met:
        await holder.hold(
            "SELECT 1 FROM workflow_runs WHERE execution_id = $1 FOR UPDATE", execution_id
        )
        cancelling = asyncio.create_task(cancel(client, f"/executions/{execution_id}"))
        await holder.until_waiting(1)
        agent.gate.set()
        await holder.until_waiting(2)
        await holder.let_go()
        assert (await cancelling).json()["status"] == "cancelled"
        assert (await over(client, outer["execution_id"]))["status"] == "cancelled"
        assert (await ended(client, task_id))["status"] == "cancelled"
    assert met == []


async def test_of_two_ends_that_a_task_waits_for_the_later_one_lets_it_go(
    postgres_url: str, data_dir: Path, tmp_path: Path
) -> None:
    """Each on a server of its own, and neither sees the other's before it is done itself."""
    settings = settings_for(data_dir, postgres_url, tmp_path)
    agents = [Obedient(), Obedient()]
    async with (
        serving(settings, extra_agents=[agents[0]], roles=["user"]) as server,
        holding(postgres_url) as holder,
    ):
        first = (await submit(server.user, "obey", metadata={"do": "wait"}))["task_id"]
        await reached(server.user, first, "processing")
        async with serving(settings, extra_agents=[agents[1]], roles=[]):
            second = (await submit(server.user, "obey", metadata={"do": "wait"}))["task_id"]
            await reached(server.user, second, "processing")
            last = (await submit(server.user, depends_on=[first, second]))["task_id"]
            await holder.hold("LOCK TABLE task_counts IN EXCLUSIVE MODE")
            for count, agent in enumerate(agents, start=1):
                agent.gate.set()
                await holder.until_waiting(count)
            await holder.let_go()
            assert (await ended(server.user, last))["status"] == "completed"
