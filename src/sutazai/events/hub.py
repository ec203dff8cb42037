"""One follower of the log per process, and whoever listens to it."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import structlog

from sutazai.database import Database
from sutazai.errors import SutazaiError
from sutazai.events import log
from sutazai.events.model import Event
from sutazai.events.reader import SettledReader

Subscriber = Callable[[Sequence[Event]], None]
"""Takes every new event once, in order; on the event loop, so it must be quick and not raise."""

# On PostgreSQL, how long an unfinished gap waits for another look.
_SHORTEST_GAP_PAUSE = 0.005
_LONGEST_GAP_PAUSE = 0.25
# Looks at the same gap before the log tells what is wrong: about 5 s.
_PATIENCE = 25

_logger = structlog.get_logger(__name__)


class EventHub:
    """Reads each new event once per process, and only while somebody listens.

    On PostgreSQL it always follows, because what other processes may still commit below the newest
    id is learned only by watching.
    """

    def __init__(self, database: Database, *, poll_seconds: float = 2.0) -> None:
        """`poll_seconds` is how long a lost signal can delay an event."""
        self._database = database
        self._poll_seconds = poll_seconds
        self._shared = database.dialect == "postgresql"
        self._subscribers: dict[object, Subscriber] = {}
        self._reader: SettledReader | None = None
        self._wake = asyncio.Event()
        self._anchoring = asyncio.Lock()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow."""
        self._database.listen(log.CHANNEL, self._heard)
        if self._shared:
            self._reader = await SettledReader.at_the_end(self._database)
            self._wake.set()  # for what was committed meanwhile
        self._loop = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following; subscribers hear nothing more."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
            self._loop = None

    async def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Deliver everything committed from now on; call the returned function to end it."""
        key = object()
        async with self._anchoring:
            if self._reader is None:
                self._reader = await SettledReader.at_the_end(self._database)
            self._subscribers[key] = subscriber
        # What was committed while the reader took its place has had its signal already.
        self._wake.set()

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)
            if not self._subscribers and not self._shared:
                self._reader = None

        return unsubscribe

    @property
    def position(self) -> int:
        """The id up to which subscribers have been told; for who is one."""
        assert self._reader is not None
        return self._reader.position

    async def settled_position(self) -> int:
        """The id up to which a reader may go now without missing what commits late."""
        if self._shared and self._reader is not None:
            return self._reader.position
        return await self._database.read(log.newest_id)

    def _heard(self, _: str) -> None:
        if self._reader is not None:
            self._wake.set()

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._catch_up()
            except Exception as error:
                if isinstance(error, SutazaiError):
                    _logger.warning("events.follow_failed", reason=error.message)
                else:
                    _logger.exception("events.follow_failed")
                await asyncio.sleep(1)
                self._wake.set()

    async def _catch_up(self) -> None:
        """Deliver batch after batch until there is no more, waiting at gaps."""
        waits = 0
        while (reader := self._reader) is not None:
            events = await reader.next()
            if reader is not self._reader:
                # Whoever it read for is gone; who came since has a reader of their own.
                continue
            if events:
                waits = 0
                self._deliver(events)
            elif reader.waits_at_gap:
                waits += 1
                if waits == _PATIENCE:
                    _logger.warning("events.waiting_for_open_transaction", see="pg_stat_activity")
                await asyncio.sleep(min(_SHORTEST_GAP_PAUSE * 2.0**waits, _LONGEST_GAP_PAUSE))
            else:
                return

    def _deliver(self, events: Sequence[Event]) -> None:
        for subscriber in list(self._subscribers.values()):
            try:
                subscriber(events)
            except Exception:  # one subscriber's fault is not the others'
                _logger.exception("events.subscriber_failed")
