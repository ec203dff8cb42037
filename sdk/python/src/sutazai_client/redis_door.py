"""The door for agents that talk to their server through Redis; needs `sutazai-client[redis]`."""

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

try:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError
except ImportError as error:
    raise ImportError(
        "An agent on Redis needs one package more: pip install 'sutazai-client[redis]'"
    ) from error

_logger = logging.getLogger("sutazai_client.agent")

_COORDINATOR = "agent:master-coordinator"
_OURS = frozenset({"action", "task_id", "assignment_id", "description", "attempt", "traceparent"})
_LEASE_SECONDS = 10.0
# The server asks again what it hears nothing of for 30 s.
_SIGN_OF_LIFE_SECONDS = 10.0
_MOST_REMEMBERED = 1_000
_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


class RedisDoor:
    """Over Redis. What reaches nobody is sent again until it does; see Door for the methods."""

    def __init__(self, url: str, *, agent_id: str) -> None:
        self._agent_id = agent_id
        self._client = Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)
        # Waiting for messages has no end of its own.
        self._ears = Redis.from_url(url, socket_timeout=None, socket_connect_timeout=_SECONDS)
        self._requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        # Message id to the answer that was given, None while there is none.
        self._answers: OrderedDict[str, dict[str, Any] | None] = OrderedDict()
        self._message_of: dict[str, str] = {}
        self._cancelled: set[str] = set()
        self._signs: dict[str, float] = {}
        self._listening: asyncio.Task[None] | None = None
        self._is_heard = asyncio.Event()

    async def arrive(self) -> dict[str, Any]:
        """Begin to listen, which is what makes an agent on Redis be there."""
        self._listening = asyncio.create_task(self._listen())
        await self._is_heard.wait()
        return {"lease_seconds": _LEASE_SECONDS, "assignments": [], "cancelled": []}

    async def beat(self, holding: Sequence[str]) -> dict[str, Any]:
        """Say of each assignment that it is being worked on; what was cancelled meanwhile."""
        now = time.monotonic()
        for assignment_id in holding:
            if now - self._signs.get(assignment_id, 0.0) >= _SIGN_OF_LIFE_SECONDS:
                await self._send(assignment_id, "event", {"heartbeat": True})
        cancelled = [one for one in holding if one in self._cancelled]
        self._cancelled.clear()
        return {"lease_seconds": _LEASE_SECONDS, "assignments": [], "cancelled": cancelled}

    async def claim(self, *, wait: float, limit: int) -> list[dict[str, Any]]:
        """What was asked for, at most so many."""
        given: list[dict[str, Any]] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                given.append(await self._requests.get())
        while given and len(given) < limit and not self._requests.empty():
            given.append(self._requests.get_nowait())
        return given

    async def report(self, assignment_id: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        """An event for progress, the response for everything else."""
        if verb == "progress":
            await self._send(assignment_id, "event", body)
            return {}
        match verb:
            case "complete":
                payload = {"status": "completed", "result": body["result"]}
            case "fail":
                payload = {"status": "failed", "error": body["error"]}
            case _:
                payload = {"status": "released", **body}
        message_id = self._message_of.pop(assignment_id, None)
        if message_id is not None:
            self._answers[message_id] = payload
        self._signs.pop(assignment_id, None)
        await self._until_heard(assignment_id, payload)
        return {}

    async def close(self) -> None:
        """Listen no more."""
        if self._listening is not None:
            while not self._listening.done():
                self._listening.cancel()
                # More than once: a client in the middle of reconnecting can swallow it.
                await asyncio.wait([self._listening], timeout=1)
        await self._client.aclose()
        await self._ears.aclose()

    # --- to the server

    async def _until_heard(self, assignment_id: str, payload: dict[str, Any]) -> None:
        pause = _FIRST_PAUSE
        while not await self._send(assignment_id, "response", payload):
            if pause == _FIRST_PAUSE:
                _logger.warning("Nobody hears the answer. Trying again until somebody does.")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _send(self, assignment_id: str, kind: str, payload: dict[str, Any]) -> bool:
        """Whether somebody heard it."""
        message = {
            "message_id": f"msg-{uuid.uuid4()}",
            "from_agent": self._agent_id,
            "to_agent": "master-coordinator",
            "type": kind,
            "payload": payload,
            "timestamp": datetime.now(UTC).isoformat(),
            "correlation_id": assignment_id,
        }
        if kind == "event":
            self._signs[assignment_id] = time.monotonic()
        try:
            heard: int = await self._client.publish(_COORDINATOR, json.dumps(message))
        except (RedisError, OSError, TimeoutError) as error:
            _logger.warning("Redis cannot be reached: %s", error)
            return False
        return heard > 0

    # --- from the server

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                async with self._ears.pubsub() as channel:
                    await channel.subscribe(f"agent:{self._agent_id}")
                    self._is_heard.set()
                    pause = _FIRST_PAUSE
                    async for message in channel.listen():
                        if message["type"] == "message":
                            await self._take(message["data"])
            except (RedisError, OSError, TimeoutError) as error:
                _logger.warning("Redis cannot be reached: %s. Trying again until it can.", error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _take(self, data: bytes) -> None:
        try:
            message = json.loads(data)
            kind, payload = message["type"], message["payload"]
            if kind == "request":
                await self._take_request(message, payload)
            elif kind == "event" and payload.get("action") in ("cancel", "refused"):
                assignment_id = message["correlation_id"]
                self._cancelled.add(assignment_id)
                if payload["action"] == "refused":
                    _logger.warning("The server refused a message: %s", payload.get("error"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _logger.warning("A message could not be understood: %r", error)

    async def _take_request(self, message: dict[str, Any], payload: dict[str, Any]) -> None:
        message_id, assignment_id = message["message_id"], payload["assignment_id"]
        if message_id in self._answers:
            # Asked again, because an answer may have been lost.
            answer = self._answers[message_id]
            if answer is not None:
                await self._send(assignment_id, "response", answer)
            return
        given = {
            "assignment_id": assignment_id,
            "task_id": payload["task_id"],
            "type": payload["action"],
            "description": payload["description"],
            "attempt": int(payload.get("attempt", 1)),
            "traceparent": payload.get("traceparent"),
            "metadata": {name: value for name, value in payload.items() if name not in _OURS},
        }
        self._answers[message_id] = None
        self._message_of[assignment_id] = message_id
        while len(self._answers) > _MOST_REMEMBERED:
            self._answers.popitem(last=False)
        self._requests.put_nowait(given)
