"""Whoever waits for something to end, woken by the event that tells of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from sutazai.events.hub import EventHub
from sutazai.events.model import Event

T = TypeVar("T")


class Waiters:
    """Those who wait in this process; listens to the log only while somebody does."""

    def __init__(self, hub: EventHub, *, id_field: str, ended_by: frozenset[str]) -> None:
        """`ended_by` are the types of the last events; their data has the id as `id_field`."""
        self._hub = hub
        self._id_field = id_field
        self._ended_by = ended_by
        self._by_id: dict[str, set[asyncio.Event]] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self._subscribing = asyncio.Lock()
        self._closed = False

    def close(self) -> None:
        """Wake everybody, and keep nobody waiting any more."""
        self._closed = True
        for waiting in self._by_id.values():
            for event in waiting:
                event.set()

    async def ended(
        self,
        what: str,
        wait: float,
        look: Callable[[], Awaitable[T]],
        is_over: Callable[[T], bool],
    ) -> T:
        """What `look` finds once it is over, or after `wait` seconds at most; at once with 0."""
        seen = await look()
        if wait <= 0 or is_over(seen):
            return seen
        async with self._waiting_for(what) as ended:
            # It may have ended between the first look and the subscription.
            seen = await look()
            if is_over(seen):
                return seen
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await ended.wait()
        return await look()

    @contextlib.asynccontextmanager
    async def _waiting_for(self, what: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when it ends from now on, or there is no time to wait."""
        event = asyncio.Event()
        if self._closed:
            event.set()
        self._by_id.setdefault(what, set()).add(event)
        try:
            async with self._subscribing:
                if self._unsubscribe is None:
                    self._unsubscribe = await self._hub.subscribe(self._on_events)
            yield event
        finally:
            waiting = self._by_id[what]
            waiting.discard(event)
            if not waiting:
                del self._by_id[what]
            if not self._by_id and self._unsubscribe is not None:
                self._unsubscribe()
                self._unsubscribe = None

    def _on_events(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.event_type in self._ended_by:
                data: dict[str, Any] = msgspec.json.decode(event.data)
                for waiter in self._by_id.get(data[self._id_field], ()):
                    waiter.set()
