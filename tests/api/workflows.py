"""What tests of workflows do all the time."""

import asyncio
from typing import Any

import httpx2

from tests.api.server import FINAL, JSON, PATIENCE


def step(step_id: str, *depends_on: str, **more: Any) -> JSON:
    """A step; a ping unless told otherwise."""
    return {"step_id": step_id, "type": "ping", "depends_on": list(depends_on), **more}


def obey(step_id: str, do: str, *depends_on: str, **more: Any) -> JSON:
    """A step of the agent that does what it is told."""
    return step(step_id, *depends_on, **{"type": "obey", "metadata": {"do": do}, **more})


async def created(client: httpx2.AsyncClient, *steps: JSON) -> str:
    """The id of a workflow that must be accepted."""
    answer = await client.post("/workflows", json={"name": "a workflow", "steps": steps})
    assert answer.status_code == 201, answer.text
    workflow_id: str = answer.json()["workflow_id"]
    return workflow_id


async def executed(client: httpx2.AsyncClient, workflow_id: str, **given: Any) -> str:
    """The id of an execution that must be accepted."""
    answer = await client.post(f"/workflows/{workflow_id}/execute", json={"input": given})
    assert answer.status_code == 202, answer.text
    execution_id: str = answer.json()["execution_id"]
    return execution_id


async def begun(client: httpx2.AsyncClient, *steps: JSON, **given: Any) -> str:
    """The id of an execution of a new workflow."""
    return await executed(client, await created(client, *steps), **given)


async def over(client: httpx2.AsyncClient, execution_id: str, *statuses: str) -> JSON:
    """The execution once it has ended, or has one of these statuses."""
    async with asyncio.timeout(PATIENCE):
        while True:
            wait = 0 if statuses else 20
            answer = await client.get(f"/executions/{execution_id}", params={"wait": wait})
            assert answer.status_code == 200, answer.text
            shown: JSON = answer.json()
            if shown["status"] in (statuses or FINAL):
                return shown
            await asyncio.sleep(0.02)  # asks again; the API waits for ends only


async def step_reached(
    client: httpx2.AsyncClient, execution_id: str, step_id: str, *statuses: str
) -> JSON:
    """The execution once a step of it has one of these statuses."""
    async with asyncio.timeout(PATIENCE):
        while True:
            shown: JSON = (await client.get(f"/executions/{execution_id}")).json()
            if by_step(shown)[step_id]["status"] in statuses:
                return shown
            await asyncio.sleep(0.02)  # asks again; nothing announces this to a client yet


def by_step(execution: JSON) -> dict[str, JSON]:
    """The steps by their ids."""
    return {one["step_id"]: one for one in execution["steps"]}


def statuses(execution: JSON) -> dict[str, str]:
    """Each step's status."""
    return {one["step_id"]: one["status"] for one in execution["steps"]}
