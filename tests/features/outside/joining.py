"""Agents from outside, as a test drives them by hand."""

from typing import Any, NamedTuple

import httpx2

from tests.api.server import JSON, Server, client_of, submit


class Joined(NamedTuple):
    """An agent that has joined: its id, the one type it takes, and its client, with its own key."""

    agent_id: str
    type: str
    client: httpx2.AsyncClient
    key: str

    async def claim(self, **query: Any) -> list[JSON]:
        """What it is given."""
        answer = await self.client.post(f"/agents/{self.agent_id}/claim", params=query)
        assert answer.status_code == 200, answer.text
        given: list[JSON] = answer.json()["assignments"]
        return given

    async def claim_one(self, **query: Any) -> JSON:
        """The one assignment that there must be."""
        (given,) = await self.claim(**query)
        return given

    async def report(self, assignment: JSON, verb: str, **body: Any) -> httpx2.Response:
        """A report on an assignment."""
        path = f"/assignments/{assignment['assignment_id']}/{verb}"
        return await self.client.post(path, json=body)

    async def beat(self, **body: Any) -> JSON:
        """The answer to a heartbeat."""
        answer = await self.client.post(f"/agents/{self.agent_id}/heartbeat", json=body)
        assert answer.status_code == 200, answer.text
        pulse: JSON = answer.json()
        return pulse


def introduction(agent_id: str, **more: Any) -> JSON:
    """What an agent says when it joins: it takes the one type that is named after it."""
    return {
        "agent_id": agent_id,
        "name": f"The agent {agent_id}",
        "type": "specialist",
        "capabilities": [f"type-of-{agent_id}"],
        "max_capacity": 1,
        "transport": "http",
        **more,
    }


async def join(server: Server, agent_id: str, **more: Any) -> Joined:
    """An agent of one test, with a type of its own unless it is given others."""
    said = introduction(agent_id, **more)
    answer = await server.admin.post("/agents", json=said)
    assert answer.status_code == 201, answer.text
    key = answer.json()["api_key"]
    client = client_of(server.application, key)
    return Joined(agent_id, said["capabilities"][0], client, key)


async def given(server: Server, agent: Joined, **more: Any) -> tuple[JSON, JSON]:
    """A task for an agent, and the assignment in which it has got it."""
    task = await submit(server.admin, agent.type, **more)
    return task, await agent.claim_one(wait=20)


async def events_about(server: Server, **wanted: str) -> list[str]:
    """The types of all events whose data has these values, oldest first."""
    found: list[str] = []
    after = 0
    while True:
        query = {"after": after, "limit": 1000}
        page = (await server.admin.get("/events", params=query)).json()
        found += [
            event["event_type"]
            for event in page["events"]
            if wanted.items() <= event["data"].items()
        ]
        if not page["events"]:
            return found
        after = page["next_after"]
