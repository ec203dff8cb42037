"""Everything of one process that goes through Redis, started and stopped together."""

import hmac

from sutazai.adapters.redis_events import RedisPublisher
from sutazai.adapters.redis_server import RedisServer
from sutazai.adapters.redis_windows import RedisWindows
from sutazai.events.feed import EventFeed
from sutazai.events.hub import EventHub


class RedisParts:
    """Publishes events and shares rate limits; starts and works whether or not Redis is there."""

    def __init__(self, url: str, *, secret: bytes, feed: EventFeed, hub: EventHub) -> None:
        """`secret` is the installation's: others on the same Redis are kept apart by it.

        VALIDATION_ERROR for a URL with options that there are not.
        """
        installation = hmac.digest(secret, b"sutazai redis", "sha256").hex()[:16]
        self._server = RedisServer(url, installation=installation)
        self.windows = RedisWindows(self._server)
        self._publisher = RedisPublisher(self._server, feed=feed, hub=hub)

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
