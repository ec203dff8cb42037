"""The event log on Redis: every event once on the channel `events`, whatever becomes of Redis.

Of all the processes of an installation one publishes: who holds a lease in Redis, where it also
keeps the id it has come to. Both are checked and moved on in the script that publishes, so that
nothing is published twice by two processes, nor again after an answer that got lost. The log is
the truth: whoever publishes next goes on in it from the id in Redis.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from typing import NamedTuple

import structlog
from redis.exceptions import RedisError

from sutazai import clock
from sutazai.adapters.redis_server import RedisServer, reason_of
from sutazai.errors import SutazaiError
from sutazai.events.catalogue import PUBLISHED
from sutazai.events.feed import EventFeed
from sutazai.events.hub import EventHub
from sutazai.events.model import Event
from sutazai.events.streams import EventStreams, Reset, Sight, Subscription, TooSlow

CHANNEL = "events"

# Take or renew the lease, if nobody else holds it and, for who is `patient`, the position is not
# lost; then publish, if the position is where the caller believes it to be.
_SCRIPT = """
local lease, kept = KEYS[1], KEYS[2]
local holder, milliseconds, patient = ARGV[1], ARGV[2], ARGV[3]
local believed, next_position = ARGV[4], ARGV[5]
local position = redis.call('GET', kept) or ''
local held = redis.call('GET', lease)
if (held and held ~= holder) or (patient == '1' and position == '') then
  return {0, position}
end
redis.call('SET', lease, holder, 'PX', milliseconds)
if next_position == '' or position ~= believed then return {1, position} end
for i = 7, #ARGV do redis.call('PUBLISH', ARGV[6], ARGV[i]) end
redis.call('SET', kept, next_position)
return {1, next_position}
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"

_SECONDS = 5.0
_LEASE_MILLISECONDS = 5_000
_RENEW_SECONDS = 1.5
_STANDBY_SECONDS = 1.0
# How often a process that stands by looks at a Redis without a position before it takes over:
# whoever published last knows better where to go on.
_PATIENCE = 5
_LAST_SECONDS = 1.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0

_logger = structlog.get_logger(__name__)


class _State(NamedTuple):
    """What Redis says: whether the lease is ours, and the position, None where it has none."""

    leads: bool
    position: int | None


class RedisPublisher:
    """Publishes this installation's events, or stands by for who does."""

    def __init__(self, server: RedisServer, *, feed: EventFeed, hub: EventHub) -> None:
        self._client = server.client(_SECONDS)
        self._publish = self._client.register_script(_SCRIPT)
        self._release = self._client.register_script(_RELEASE)
        self._keys = [server.key("publisher"), server.key("position")]
        self._feed = feed
        self._hub = hub
        # Not those that clients are on, which end before the last events happen.
        self._streams = EventStreams(feed=feed, hub=hub)
        self._subscription: Subscription | None = None
        self._me = secrets.token_hex(8)
        self._loop: asyncio.Task[None] | None = None
        self._known = 0
        """The last position there was, as far as this process knows."""
        self._is_sending = False
        self._moved = asyncio.Event()
        self._saw_another = False
        """Whether that is the position of another process, which may have gone on from it."""

    async def start(self) -> None:
        """Begin to publish what happens from now on, and what Redis says was not published yet."""
        self._known = await self._hub.settled_position()
        self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Publish what has happened, if Redis is there; let another process go on at once."""
        if self._loop is None:
            return
        with contextlib.suppress(SutazaiError, TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self._until_published()
        self._loop.cancel()
        await asyncio.wait([self._loop])
        self._loop = None
        # Where it cannot be given back, the lease lapses by itself.
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self._release(keys=self._keys[:1], args=[self._me])

    async def _until_published(self) -> None:
        _, newest = await self._feed.bounds()
        while (current := self._subscription) is not None and (
            current.position < newest or self._is_sending
        ):
            self._moved.clear()
            await self._moved.wait()

    async def _run(self) -> None:
        pause, is_lost = _FIRST_PAUSE, False
        looks = 0
        while True:
            try:
                state = await self._ask(patient=self._saw_another and looks < _PATIENCE)
                if is_lost:
                    _logger.info("events.publishing_again")
                pause, is_lost = _FIRST_PAUSE, False
                if state.leads:
                    looks = 0
                    await self._lead(state)
                    continue
                looks = looks + 1 if state.position is None else 0
                if state.position is not None:
                    self._known, self._saw_another = state.position, True
                await asyncio.sleep(_STANDBY_SECONDS)
            except (RedisError, OSError, TimeoutError, SutazaiError) as error:
                if not is_lost:
                    _logger.warning("events.publishing_held_up", reason=reason_of(error))
                is_lost = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except Exception:
                _logger.exception("events.publishing_failed")
                await asyncio.sleep(_LONGEST_PAUSE)

    async def _lead(self, state: _State) -> None:
        """Publish for as long as the lease is ours and the position where we left it."""
        start = await self._start_from(state.position)
        self._saw_another = False
        sight = Sight(PUBLISHED, "")
        async with self._streams.subscribe(sight, ("*",), after=start) as subscription:
            self._subscription = subscription
            try:
                while (events := await self._next(subscription)) is not None:
                    # An empty batch renews the lease.
                    new = subscription.position
                    self._is_sending = bool(events)
                    state = await self._ask(believed=state.position, new=new, events=events)
                    self._is_sending = False
                    self._moved.set()
                    if not state.leads or state.position != new:
                        # Another took over, Redis forgot, or an answer got lost: begin anew.
                        return
                    self._known = new
            finally:
                self._subscription = None
                self._is_sending = False
                self._moved.set()

    async def _start_from(self, position: int | None) -> int:
        _, newest = await self._feed.bounds()
        if position is None or position > newest:
            # Redis was emptied, or is of a log that there is no more.
            position = self._known
        return min(position, newest)

    async def _next(self, subscription: Subscription) -> Sequence[Event] | None:
        """What is to be published next, nothing after a while; None where to subscribe anew."""
        try:
            async with asyncio.timeout(_RENEW_SECONDS):
                found = await subscription.next()
        except TimeoutError:
            return []
        except TooSlow:
            return None
        if isinstance(found, Reset):
            _logger.warning(
                "events.not_published", after=found.asked, up_to=found.position, reason="purged"
            )
            return []
        return found.events

    async def _ask(
        self,
        *,
        patient: bool = False,
        believed: int | None = None,
        new: int | None = None,
        events: Sequence[Event] = (),
    ) -> _State:
        """Take or renew the lease; with `new`, publish if Redis has the believed position."""
        arguments: list[str | int | bytes] = [
            *(self._me, _LEASE_MILLISECONDS, int(patient)),
            "" if believed is None else believed,
            "" if new is None else new,
            CHANNEL,
        ]
        async with asyncio.timeout(_SECONDS):
            leads, position = await self._publish(
                keys=self._keys, args=[*arguments, *map(message_of, events)]
            )
        return _State(leads == 1, int(position) if position else None)


def message_of(event: Event) -> bytes:
    """An event as the specification has it on Redis."""
    return b'{"event_type":"%s","timestamp":"%s","data":%s}' % (
        event.event_type.encode(),
        clock.to_iso(event.timestamp).encode(),
        event.data.encode(),
    )
