"""An agent on Redis, as a test drives it by hand, and the specification's own."""

import asyncio
import contextlib
import itertools
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.api.server import JSON, PATIENCE, Server
from tests.features.outside.joining import introduction

SPECIFICATION = (Path(__file__).with_name("specification_agent.txt")).read_text("utf-8")
_numbers = itertools.count()
COORDINATOR = "agent:master-coordinator"


async def register(server: Server, agent_id: str, **more: Any) -> str:
    """An agent on Redis that takes the one type named after it; the type."""
    said = introduction(agent_id, transport="redis", **more)
    answer = await server.admin.post("/agents", json=said)
    assert answer.status_code == 201, answer.text
    return f"type-of-{agent_id}"


def reply(request: JSON, kind: str, payload: JSON, **more: Any) -> JSON:
    """What an agent says of a request."""
    return {
        "message_id": f"msg-{next(_numbers)}",
        "from_agent": request["to_agent"],
        "to_agent": "master-coordinator",
        "type": kind,
        "payload": payload,
        "timestamp": "2026-01-01T00:00:00Z",
        "correlation_id": request["correlation_id"],
        **more,
    }


class ByHand:
    """Listens on an agent's channel, and says what the test wants."""

    def __init__(self, agent_id: str, client: Redis) -> None:
        self.agent_id = agent_id
        self.client = client
        self._inbox: asyncio.Queue[JSON] = asyncio.Queue()

    async def next(self, kind: str = "request") -> JSON:
        """The next message of a kind; others are passed over."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await self._inbox.get()
                if message["type"] == kind:
                    return message

    async def say(self, message: JSON | bytes) -> None:
        """Put something on the coordinator's channel."""
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        await self.client.publish(COORDINATOR, data)

    async def complete(self, request: JSON, result: Any, **more: Any) -> None:
        """Answer that it is done."""
        await self.say(
            reply(request, "response", {"status": "completed", "result": result}, **more)
        )

    async def listen(self, ready: asyncio.Event) -> None:
        """Until cancelled; comes back when Redis does."""
        while True:
            with contextlib.suppress(RedisError, OSError):
                async with self.client.pubsub() as channel:
                    await channel.subscribe(f"agent:{self.agent_id}")
                    ready.set()
                    async for message in channel.listen():
                        if message["type"] == "message":
                            self._inbox.put_nowait(json.loads(message["data"]))
            await asyncio.sleep(0.05)  # nothing tells when Redis is there again


@contextlib.asynccontextmanager
async def present(url: str, agent_id: str) -> AsyncIterator[ByHand]:
    """An agent that listens while this lasts."""
    async with Redis.from_url(url) as client:
        agent = ByHand(agent_id, client)
        ready = asyncio.Event()
        listening = asyncio.create_task(agent.listen(ready))
        async with asyncio.timeout(PATIENCE):
            await ready.wait()
        try:
            yield agent
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


@contextlib.contextmanager
def specification_agent(url: str, agent_id: str) -> Iterator[list[JSON]]:
    """Runs the specification's subscriber, answering every request; what it was asked."""
    asked: list[JSON] = []
    client = SyncRedis.from_url(url)

    def handle(message: JSON) -> None:
        asked.append(message)
        done = {"status": "completed", "result": {"echo": message["payload"]["description"]}}
        client.publish(COORDINATOR, json.dumps(reply(message, "response", done)))

    class Hidden:
        """The client, remembering what listens so that it can be stopped."""

        def pubsub(self) -> Any:
            self.channel: Any = client.pubsub()  # type: ignore[no-untyped-call]  # no types
            return self.channel

    hidden = Hidden()
    names = {
        "redis_client": hidden,
        "agent_id": agent_id,
        "handle_agent_message": handle,
        "json": json,
    }

    def run() -> None:
        with contextlib.suppress(RedisError, OSError, ValueError, AttributeError):
            exec(SPECIFICATION, names)  # the user's code, as it stands

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        # Its loop ends when there is nothing left that it listens to.
        hidden.channel.unsubscribe()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        hidden.channel.close()
        client.close()
