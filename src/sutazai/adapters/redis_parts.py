"""Everything of one process that goes through Redis, started and stopped together."""

import hmac

from sutazai.adapters.redis_agents import RedisAgents
from sutazai.adapters.redis_events import RedisPublisher
from sutazai.adapters.redis_server import RedisServer
from sutazai.adapters.redis_windows import RedisWindows
from sutazai.agents.service import AgentDirectory
from sutazai.events.feed import EventFeed
from sutazai.events.hub import EventHub
from sutazai.tasks.assignments import Assignments


class RedisParts:
    """Events, rate limits, agents; starts and works whether or not Redis is there."""

    def __init__(self, url: str, *, secret: bytes, feed: EventFeed, hub: EventHub) -> None:
        """`secret` is the installation's: others on the same Redis are kept apart by it.

        VALIDATION_ERROR for a URL with options that there are not.
        """
        installation = hmac.digest(secret, b"sutazai redis", "sha256").hex()[:16]
        self._server = RedisServer(url, installation=installation)
        self.windows = RedisWindows(self._server)
        self._publisher = RedisPublisher(self._server, feed=feed, hub=hub)

    def agents(
        self, *, directory: AgentDirectory, assignments: Assignments, lease_seconds: float
    ) -> RedisAgents:
        """The door for agents on this Redis, to be started once the assignments are."""
        return RedisAgents(
            self._server,
            directory=directory,
            assignments=assignments,
            lease_seconds=lease_seconds,
        )

    async def is_healthy(self) -> bool:
        """See `RedisServer`."""
        return await self._server.is_healthy()

    async def start(self) -> None:
        """Begin to publish; the hub must have been started."""
        await self._publisher.start()

    async def stop(self) -> None:
        """Publish the rest, then close."""
        await self._publisher.stop()
        await self.windows.close()
        await self._server.close()
