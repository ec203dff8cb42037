"""Subscriptions: the log from a cursor on, then whatever comes, each subscriber seeing what it may.

A subscriber that is behind reads pages of the log at its own speed; one that has caught up is
handed new events as the hub reads them, through a bounded queue. Who cannot keep up is cut off
rather than waited for, and may resume from where it was.
"""

import asyncio
import contextlib
import functools
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import NamedTuple

from sutazai.errors import ErrorCode, SutazaiError, invalid
from sutazai.events.feed import EventFeed
from sutazai.events.hub import EventHub
from sutazai.events.model import Event

MOST_QUEUED = 10_000
MOST_QUEUED_BYTES = 8 * 1024 * 1024
MOST_PATTERNS = 50

_PAGE = 500
_SMALLEST_PAGE = 16
# Events of the log that its readers hold together, about: who does not take his keeps them in
# memory, and thousands may resume at once.
_MOST_REPLAYED = 4_000
# What is handed out at once, so that little stands between a slow client and its queue's end, and
# who does not read it makes the server hold little. An event may be larger by itself.
_MOST_AT_ONCE = 500
_MOST_BYTES_AT_ONCE = 64 * 1024
_PATTERN = re.compile(r"[a-z0-9_.*-]{1,64}")


class Sight(NamedTuple):
    """What a reader may see: events about these resources (None: all), and those it owns."""

    resources: frozenset[str] | None
    owner: str

    def sees(self, event: Event) -> bool:
        """Whether this event may reach the reader."""
        return (
            self.resources is None or event.resource in self.resources or event.owner == self.owner
        )


Encode = Callable[[Event], bytes]


class Broadcast:
    """An event on its way to every subscriber, encoded at most once for each kind of wire."""

    __slots__ = ("_encoded", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self._encoded: dict[Encode, bytes] = {}

    def encoded(self, encode: Encode) -> bytes:
        """What `encode` makes of the event, kept for the next subscriber."""
        found = self._encoded.get(encode)
        if found is None:
            found = self._encoded[encode] = encode(self.event)
        return found


class Batch:
    """Events in order; those who asked for the same share one."""

    __slots__ = ("_joined", "broadcasts", "size")

    def __init__(self, broadcasts: Sequence[Broadcast]) -> None:
        self.broadcasts = broadcasts
        self.size = sum(len(one.event.data) for one in broadcasts)
        """Roughly, in bytes."""
        self._joined: dict[Encode, bytes] = {}

    @property
    def events(self) -> list[Event]:
        """The events themselves."""
        return [one.event for one in self.broadcasts]

    def joined(self, encode: Encode) -> bytes:
        """All of them encoded, one after the other."""
        found = self._joined.get(encode)
        if found is None:
            found = b"".join([one.encoded(encode) for one in self.broadcasts])
            self._joined[encode] = found
        return found


def _first_of(broadcasts: Iterable[Broadcast]) -> list[Broadcast]:
    """As many of the first as may be handed out at once, at least one."""
    first: list[Broadcast] = []
    size = 0
    for one in broadcasts:
        size += len(one.event.data)
        if first and (len(first) == _MOST_AT_ONCE or size > _MOST_BYTES_AT_ONCE):
            break
        first.append(one)
    return first


Sink = Callable[[Batch], bool]
"""Takes a batch at once, on the event loop, without waiting; False where it cannot."""


class Reset(NamedTuple):
    """The cursor is not in the log: events after it were purged, or it is of another log.

    The subscription goes on from `position`, the oldest there is.
    """

    asked: int
    position: int


class TooSlow(Exception):
    """The subscriber's queue was full; `position` is where to resume."""

    def __init__(self, position: int) -> None:
        super().__init__(f"too slow: events are there faster than they are read, at {position}")
        self.position = position


class Closed(Exception):
    """The server is stopping."""


def checked_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """Patterns of event types, in which `*` stands for any text; VALIDATION_ERROR for others."""
    if len(patterns) > MOST_PATTERNS:
        raise invalid("events", f"Name at most {MOST_PATTERNS} patterns.")
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise invalid(
                "events",
                "A pattern is an event type such as task.completed, with * for any text, as in "
                "task.*, of at most 64 characters.",
            )
    return tuple(dict.fromkeys(patterns))


class _Matcher:
    """Which event types some patterns select; remembered, for there are few types."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        # No regular expression: with many stars that would try for ever what does not fit.
        self._patterns = [pattern.split("*") for pattern in patterns]
        self._known: dict[str, bool] = {}

    def __call__(self, event_type: str) -> bool:
        found = self._known.get(event_type)
        if found is None:
            found = any(_fits(parts, event_type) for parts in self._patterns)
            self._known[event_type] = found
        return found


def _fits(parts: Sequence[str], text: str) -> bool:
    """Whether the parts stand in the text in order, the outer ones at its ends."""
    if len(parts) == 1:
        return text == parts[0]
    first, *middle, last = parts
    place, end = len(first), len(text) - len(last)
    if place > end or not text.startswith(first) or not text.endswith(last):
        return False
    for part in middle:
        # The earliest place leaves the most for what follows, so there is no going back.
        found = text.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True


# Thousands of subscribers ask for the same few selections.
_matcher = functools.lru_cache(maxsize=256)(_Matcher)


_Selection = tuple[_Matcher, Sight]


class _Replays:
    """Who reads from the log: the more they are, the smaller the pages they may each hold."""

    def __init__(self) -> None:
        self._count = 0

    def change(self, by: int) -> None:
        self._count += by

    @property
    def page(self) -> int:
        """How many events to read at once."""
        return max(_SMALLEST_PAGE, min(_PAGE, _MOST_REPLAYED // max(1, self._count)))


class _Place(NamedTuple):
    """Where a subscriber begins: after this id, which the log is read from if it is `behind`."""

    position: int
    behind: bool


class Subscription:
    """One subscriber's place in the stream; `next` is for one caller at a time."""

    def __init__(
        self,
        feed: EventFeed,
        replays: _Replays,
        sight: Sight,
        patterns: tuple[str, ...],
        start: _Place,
    ) -> None:
        self.sight = sight
        self._replays = replays
        self._feed = feed
        self._matches = _matcher(patterns)
        self._queue: deque[Broadcast] = deque()
        self._idle = False
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._reset: Reset | None = None
        self._behind = False
        self._missed = False
        self._overflowed = False
        self._closed = False
        self.sink: Sink | None = None
        """Spares an idle subscriber's task from being woken for every event."""
        self.position = start.position
        """The id up to which everything was handed out or is not for this subscriber."""
        self._stand(behind=start.behind)

    def _stand(self, *, behind: bool) -> None:
        self._replays.change(behind - self._behind)
        self._behind = behind

    def select(self, patterns: tuple[str, ...]) -> None:
        """Go on with other patterns, from the same place."""
        self._matches = _matcher(patterns)
        self._keep([one for one in self._queue if self._matches(one.event.event_type)])

    def _keep(self, queued: Sequence[Broadcast]) -> None:
        self._queue = deque(queued)
        self._queued_bytes = sum(len(one.event.data) for one in queued)

    async def next(self) -> Batch | Reset:
        """The next events, at least one, as soon as there are any; a Reset where some are lost.

        TooSlow or Closed at the end.
        """
        while True:
            if self._closed:
                raise Closed
            if self._reset is not None:
                reset, self._reset = self._reset, None
                return reset
            if self._behind:
                if found := await self._read_log():
                    return Batch(found)
                continue
            if self._queue:
                return self._taken()
            if self._overflowed:
                raise TooSlow(self.position)
            self._wake.clear()
            self._idle = True
            try:
                await self._wake.wait()
            finally:
                self._idle = False

    def _taken(self) -> Batch:
        batch = Batch(_first_of(self._queue))
        for _ in batch.broadcasts:
            self._queue.popleft()
        self._queued_bytes -= batch.size
        self.position = batch.broadcasts[-1].event.id
        return batch

    async def _read_log(self) -> list[Broadcast]:
        self._missed = False
        page = await self._feed.after(
            self.position,
            limit=self._replays.page,
            resources=self.sight.resources,
            owner=self.sight.owner,
        )
        self.position = page.next_after
        if page.at_end and not self._missed:
            # Everything the hub delivered before this page was read is in it, and everything
            # since stands in the queue: caught up, with no event between.
            self._stand(behind=False)
            self._keep([one for one in self._queue if one.event.id > self.position])
        return [Broadcast(event) for event in page.events if self._matches(event.event_type)]

    def _start(self, reset: Reset) -> None:
        self._reset = reset
        self.position = reset.position

    @property
    def _selection(self) -> "_Selection":
        return self._matches, self.sight

    def _offer(self, batch: Batch, newest: int) -> None:
        if self._overflowed or newest <= self.position:
            return
        if batch.broadcasts and batch.broadcasts[0].event.id <= self.position:
            # The log was read further than the hub had come by then.
            batch = Batch([one for one in batch.broadcasts if one.event.id > self.position])
        waits = self._idle and not self._queue
        if waits:
            if not batch.broadcasts:
                self.position = newest
                return
            if self.sink is not None and self.sink(batch):
                self.position = newest
                return
        elif not batch.broadcasts:
            return
        self._queue.extend(batch.broadcasts)
        self._queued_bytes += batch.size
        if len(self._queue) > MOST_QUEUED or self._queued_bytes > MOST_QUEUED_BYTES:
            self._queue.clear()
            self._queued_bytes = 0
            if self._behind:
                self._missed = True  # the log has them; they are read from there
            elif self._idle:
                self._stand(behind=True)  # too much came at once for one who had read everything
            else:
                self._overflowed = True
        self._wake.set()

    def _close(self) -> None:
        self._closed = True
        self._wake.set()


class EventStreams:
    """Fans the hub's events out to this process's subscribers."""

    def __init__(self, *, feed: EventFeed, hub: EventHub) -> None:
        self._feed = feed
        self._hub = hub
        self._subscriptions: set[Subscription] = set()
        self._replays = _Replays()
        self._unsubscribe: Callable[[], None] | None = None
        self._subscribing = asyncio.Lock()
        self._closed = False

    @property
    def subscribers(self) -> int:
        """How many there are in this process."""
        return len(self._subscriptions)

    @contextlib.asynccontextmanager
    async def subscribe(
        self, sight: Sight, patterns: tuple[str, ...], *, after: int | None = None
    ) -> AsyncIterator[Subscription]:
        """Events after an id, or from now on; the patterns have been `checked_patterns`."""
        async with self._subscribing:
            if self._unsubscribe is None and not self._closed:
                self._unsubscribe = await self._hub.subscribe(self._on_events)
            if self._closed:
                message = "The server is stopping; connect again in a moment."
                raise SutazaiError(ErrorCode.SERVICE_UNAVAILABLE, message, retry_after=1)
            place = _Place(self._hub.position, behind=False)
            if after is not None:
                place = _Place(after, behind=True)
            subscription = Subscription(self._feed, self._replays, sight, patterns, place)
            self._subscriptions.add(subscription)
        try:
            if after is not None and (reset := await self._judged(after)):
                subscription._start(reset)  # noqa: SLF001  # its other half
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            subscription._stand(behind=False)  # noqa: SLF001  # its other half
            if not self._subscriptions and self._unsubscribe is not None:
                self._unsubscribe()
                self._unsubscribe = None

    def close(self) -> None:
        """End every subscription, and admit no more."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription._close()  # noqa: SLF001  # its other half

    async def _judged(self, after: int) -> Reset | None:
        oldest, newest = await self._feed.bounds()
        position = max(oldest - 1, 0)
        return Reset(after, position) if 0 < after < position or after > newest else None

    def _on_events(self, events: Sequence[Event]) -> None:
        left = [Broadcast(event) for event in events]
        while left:
            part = _first_of(left)
            del left[: len(part)]
            self._hand_out(part)

    def _hand_out(self, broadcasts: Sequence[Broadcast]) -> None:
        newest = broadcasts[-1].event.id
        selected: dict[_Selection, Batch] = {}
        for subscription in tuple(self._subscriptions):
            selection = subscription._selection  # noqa: SLF001  # its other half
            batch = selected.get(selection)
            if batch is None:
                matches, sight = selection
                wanted = [
                    one
                    for one in broadcasts
                    if matches(one.event.event_type) and sight.sees(one.event)
                ]
                batch = selected[selection] = Batch(wanted)
            subscription._offer(batch, newest)  # noqa: SLF001  # its other half
