"""Reaching a Redis or Valkey: never waiting long for it, never trying twice behind one's back."""

import asyncio
import time

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError

from sutazai.errors import ErrorCode, SutazaiError

_HEALTH_SECONDS = 0.5
_HEALTH_KEPT_SECONDS = 1.0


class RedisServer:
    """The server that a URL names; connects when first asked for something."""

    def __init__(self, url: str, *, installation: str) -> None:
        """`installation` keeps the keys of several on one server apart.

        VALIDATION_ERROR for a URL with options that there are not.
        """
        self._url = url
        self._installation = installation
        self._clients: list[Redis] = []
        self._health = self.client(_HEALTH_SECONDS)
        self._checking = asyncio.Lock()
        self._checked_at = float("-inf")
        self._was_healthy = False
        try:
            pool = self._health.connection_pool
            pool.connection_class(**pool.connection_kwargs)
        except (TypeError, ValueError) as error:
            raise _wrong_url(error) from None

    def key(self, name: str) -> str:
        """A key of this installation; the braces keep all of them on one node of a cluster."""
        return f"sutazai:{{{self._installation}}}:{name}"

    def client(self, seconds: float | None) -> Redis:
        """Connections of their own, on which no wait is longer than this; never retried.

        With None whoever waits sees to it.
        """
        try:
            client = Redis.from_url(
                self._url,
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                retry=Retry(NoBackoff(), 0),
                client_name="sutazai",
            )
        except (TypeError, ValueError) as error:
            raise _wrong_url(error) from None
        self._clients.append(client)
        return client

    def connection(self) -> AbstractConnection:
        """One connection, made when first used, for who asks one thing after the other.

        Who uses it limits its waits, and disconnects it after any failure.
        """
        pool = self.client(None).connection_pool
        made: AbstractConnection = pool.connection_class(**pool.connection_kwargs)
        return made

    async def is_healthy(self) -> bool:
        """Whether it answers now; measured at most once a second, however often it is asked."""
        async with self._checking:
            if time.monotonic() - self._checked_at >= _HEALTH_KEPT_SECONDS:
                try:
                    await self.check()
                    self._was_healthy = True
                except SutazaiError:
                    self._was_healthy = False
                self._checked_at = time.monotonic()
            return self._was_healthy

    async def check(self) -> None:
        """SERVICE_UNAVAILABLE, with the reason, unless it answers at once."""
        try:
            async with asyncio.timeout(2 * _HEALTH_SECONDS):
                try:
                    await self._health.ping()
                except ConnectionLost:
                    # That of the last check: Redis may have been restarted since.
                    await self._health.ping()
        except (RedisError, OSError, TimeoutError) as error:
            raise SutazaiError(
                ErrorCode.SERVICE_UNAVAILABLE,
                f"Redis cannot be used: {reason_of(error)}. Start it, or correct "
                "SUTAZAI_REDIS_URL.",
            ) from error

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients:
            await client.aclose()


def reason_of(error: BaseException) -> str:
    """What went wrong, on one line; the library's texts name the server, never a password."""
    text = " ".join(str(error).split())
    return text.rstrip(".") if text else "no answer in time"


def _wrong_url(error: Exception) -> SutazaiError:
    return SutazaiError(ErrorCode.VALIDATION_ERROR, f"The URL of Redis is wrong: {error}")
