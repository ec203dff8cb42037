"""Principals by credential, for a few seconds, so that a hot client costs no database call."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sutazai.clock import SECOND
from sutazai.identity.model import Principal

LIFE = 5 * SECOND
_MOST = 4096


class Found(NamedTuple):
    """A principal, and when its credential itself expires (microseconds), if ever."""

    principal: Principal
    expires_at: int | None


class _Entry(NamedTuple):
    principal: Principal
    since: int
    until: int


class PrincipalCache:
    """Bounded and short-lived; concurrent misses of one credential share one look-up.

    Kept under the credential itself: a dictionary's look-up compares no secret byte by byte, and a
    digest would cost more than all the rest.
    """

    def __init__(self, *, now: Callable[[], int], most: int = _MOST) -> None:
        self._now = now
        self._most = most
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._pending: dict[str, asyncio.Task[Principal]] = {}
        self._generation = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, credential: str) -> Principal | None:
        """The principal, if it was looked up less than 5 s ago."""
        entry = self._entries.get(credential)
        if entry is None:
            return None
        # The lower bound is for a clock that was set back.
        if entry.since <= self._now() < entry.until:
            self._entries.move_to_end(credential)
            return entry.principal
        del self._entries[credential]
        return None

    async def load(self, credential: str, look_up: Callable[[str], Awaitable[Found]]) -> Principal:
        """Look it up, or wait for the look-up under way; what it raises is raised to all."""
        task = self._pending.get(credential)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load(credential, look_up))
            self._pending[credential] = task
            task.add_done_callback(lambda done: self._finished(credential, done))
        # Shielded: one client that hangs up does not fail the others.
        return await asyncio.shield(task)

    def forget(self, user_id: str) -> None:
        """Drop a user's principals at once, including those being looked up at this moment."""
        self._generation += 1
        self._pending.clear()
        stale = [
            credential
            for credential, entry in self._entries.items()
            if entry.principal.user_id == user_id
        ]
        for credential in stale:
            del self._entries[credential]

    async def _load(self, credential: str, look_up: Callable[[str], Awaitable[Found]]) -> Principal:
        generation, since = self._generation, self._now()
        found = await look_up(credential)
        until = since + LIFE
        if found.expires_at is not None:
            until = min(until, found.expires_at)
        if generation == self._generation:
            self._entries[credential] = _Entry(found.principal, since, until)
            self._entries.move_to_end(credential)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
        return found.principal

    def _finished(self, credential: str, task: asyncio.Task[Principal]) -> None:
        if self._pending.get(credential) is task:
            del self._pending[credential]
        if not task.cancelled():
            task.exception()  # seen, even where nobody waits any more
