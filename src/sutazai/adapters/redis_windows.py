"""Rate limits that several processes count together, in Redis.

Whatever is asked for while Redis is answering goes there together with the next call, so that a
busy process pays for one round trip what a single request would pay. A Redis that does not answer
in time is left alone until a probe finds it back: meanwhile nobody waits for it.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import structlog
from redis.exceptions import NoScriptError

from sutazai.adapters.redis_server import RedisServer, reason_of
from sutazai.limits.windows import WINDOW, Charge, Count

# Per key, in order: drop what is over, then count one more if there is room. The newest stands at
# the head, and Redis's own clock serves all processes. A limit of -1 undoes the newest charge.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window = tonumber(ARGV[1])
local counts = {}
for i, key in ipairs(KEYS) do
  local limit = tonumber(ARGV[i + 1])
  local oldest = redis.call('LINDEX', key, -1)
  while oldest and now - oldest >= window do
    redis.call('RPOP', key)
    oldest = redis.call('LINDEX', key, -1)
  end
  if limit < 0 then
    redis.call('LPOP', key)
    oldest = redis.call('LINDEX', key, -1)
  end
  local used = redis.call('LLEN', key)
  local admitted = 0
  if used < limit then
    redis.call('LPUSH', key, string.format('%.0f', now))
    redis.call('PEXPIRE', key, window / 1000)
    admitted, used, oldest = 1, used + 1, oldest or now
  end
  local frees_in = 0
  if oldest then frees_in = math.max(0, oldest + window - now) end
  table.insert(counts, admitted)
  table.insert(counts, used)
  table.insert(counts, frees_in)
end
return counts
"""
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()  # as Redis names it
_TAKE_BACK = -1
_MOST_AT_ONCE = 500
_SECONDS = 0.1
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0

_logger = structlog.get_logger(__name__)


class _Asked(NamedTuple):
    """One thing that somebody waits for."""

    charge: Charge
    answer: asyncio.Future[Count | None]


class RedisWindows:
    """Implements `SharedWindows`."""

    def __init__(
        self, server: RedisServer, *, window: int = WINDOW, seconds: float = _SECONDS
    ) -> None:
        """`window` in microseconds; after `seconds` Redis counts as out of reach."""
        self._window = window
        self._seconds = seconds
        # One connection and no more between: pool, locks and retries cost as much as Redis does.
        self._connection = server.connection()
        self._prefix = server.key("")
        self._waiting: list[_Asked] = []
        self._sender: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None

    @property
    def out_of_reach(self) -> bool:
        """Whether nothing is asked of Redis at the moment."""
        return self._probe is not None

    async def charge(self, charge: Charge) -> Count | None:
        """See `SharedWindows`."""
        if self._probe is not None:
            return None
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(charge, answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        found: Count | None = await answer
        return found

    async def take_back(self, key: str) -> Count | None:
        """See `SharedWindows`."""
        count = await self.charge(Charge(key, _TAKE_BACK))
        return None if count is None else count._replace(admitted=True)

    async def close(self) -> None:
        """Stop; whoever still waits is told that Redis is out of reach."""
        running = [task for task in (self._sender, self._probe) if task is not None]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        self._leave(self._waiting)
        await self._connection.disconnect(nowait=True)

    async def _send(self) -> None:
        batch: list[_Asked] = []
        try:
            while self._waiting:
                batch, self._waiting = (
                    self._waiting[:_MOST_AT_ONCE],
                    self._waiting[_MOST_AT_ONCE:],
                )
                counts = await self._counted([asked.charge for asked in batch])
                for asked, count in zip(batch, counts, strict=True):
                    if not asked.answer.done():
                        asked.answer.set_result(count)
        except Exception as error:
            # Whatever it is, it must not cost a request more than its share of the limit.
            self._probe = asyncio.create_task(self._until_back())
            _logger.warning("rate_limits.redis_out_of_reach", reason=reason_of(error))
        finally:
            self._leave(batch)
            if self._probe is not None:
                self._leave(self._waiting)
            self._sender = None

    def _leave(self, asked: list[_Asked]) -> None:
        for one in asked:
            if not one.answer.done():
                one.answer.set_result(None)
        asked.clear()

    async def _counted(self, charges: Sequence[Charge]) -> list[Count]:
        arguments: list[str | int] = [
            len(charges),
            *[self._prefix + charge.key for charge in charges],
            self._window,
            *[charge.limit for charge in charges],
        ]
        try:
            async with asyncio.timeout(self._seconds):
                try:
                    found = await self._ask("EVALSHA", _SHA, *arguments)
                except NoScriptError:
                    found = await self._ask("EVAL", _SCRIPT, *arguments)
        except BaseException:
            # An answer may still be under way; the next question takes a new connection.
            await self._connection.disconnect(nowait=True)
            raise
        parts = iter(found)
        return [
            Count(admitted == 1, used, int(frees_in))
            for admitted, used, frees_in in zip(parts, parts, parts, strict=True)
        ]

    async def _ask(self, *command: str | int) -> list[int]:
        await self._connection.send_command(*command)
        answer: list[int] = await self._connection.read_response()
        return answer

    async def _until_back(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            await asyncio.sleep(pause)
            try:
                await self._counted([Charge("probe", 0)])
            except Exception:  # told already, when it was lost
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                _logger.info("rate_limits.redis_is_back")
                self._probe = None
                return
