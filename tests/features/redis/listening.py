"""A listener on Redis, by the specification's own code, and what the log has to say to it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
from redis.asyncio import Redis

from tests.api.server import JSON, PATIENCE, Server

SPECIFICATION = (Path(__file__).with_name("specification_subscriber.txt")).read_text("utf-8")


class Heard:
    """Everything that came on the channel, in order."""

    def __init__(self) -> None:
        self.events: list[JSON] = []
        self._came = asyncio.Condition()

    async def take(self, event: JSON) -> None:
        """The specification's `handle_event`."""
        async with self._came:
            self.events.append(event)
            self._came.notify_all()

    async def until(self, count: int) -> list[JSON]:
        """All there is, once that is as many as this."""
        async with asyncio.timeout(PATIENCE), self._came:
            await self._came.wait_for(lambda: len(self.events) >= count)
        return self.events

    async def until_ended(self, *task_ids: str) -> list[JSON]:
        """All there is, once it tells of the end of these tasks."""

        def told() -> bool:
            ended = {
                event["data"]["task_id"]
                for event in self.events
                if event["event_type"] == "task.completed"
            }
            return ended.issuperset(task_ids)

        async with asyncio.timeout(PATIENCE), self._came:
            await self._came.wait_for(told)
        return self.events


@contextlib.asynccontextmanager
async def listening(url: str, **options: Any) -> AsyncIterator[Heard]:
    """Runs `subscribe_to_events` of the specification; subscribed when it yields."""
    heard = Heard()
    async with Redis.from_url(url, **options) as client:
        names: dict[str, Any] = {
            "redis_client": client,
            "handle_event": heard.take,
            "json": json,
        }
        exec(SPECIFICATION, names)  # the user's code, as it stands
        listener = asyncio.create_task(names["subscribe_to_events"]())
        async with asyncio.timeout(PATIENCE):
            while True:
                if dict(await client.pubsub_numsub("events"))[b"events"] > 0:
                    break
                await asyncio.sleep(0.005)  # Redis tells nobody who has subscribed
        try:
            yield heard
        finally:
            listener.cancel()
            await asyncio.wait([listener])


async def published(client: httpx2.AsyncClient, *, after: int = 0) -> list[JSON]:
    """What the log has that is to be on Redis, in order."""
    found: list[JSON] = []
    while True:
        page = (await client.get("/events", params={"after": after, "limit": 1000})).json()
        found += [
            {name: event[name] for name in ("event_type", "timestamp", "data")}
            for event in page["events"]
            if event["event_type"].startswith(("agent.", "task."))
        ]
        if page["next_after"] == after:
            return found
        after = page["next_after"]


async def redis_state(server: Server) -> tuple[str, str]:
    """What `/health` says: overall, and of Redis."""
    health = (await server.anonymous.get("/health")).json()
    return health["status"], health["services"]["redis"]


async def reached(server: Server, *wanted: str) -> None:
    """Returns once `/health` says of Redis what is wanted."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if (await redis_state(server))[1] in wanted:
                return
            await asyncio.sleep(0.05)  # health is measured only when asked for
