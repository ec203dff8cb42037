"""How many deliveries may be under way at once, so that none holds up those to others."""

import asyncio
import time
from collections.abc import Callable
from random import random

from sutazai.clock import SECOND

# Sent at once; and admitted, which is these and those next in line, who keep the lane busy.
_SENT_PER_HOST = 4
_MOST_PER_HOST = 16
_MOST_PER_USER = 64
_LONGEST_WAIT = 60.0
_SHORTEST_GAP = 0.005
_FIRST_GUESS = 0.02
# Nothing having come or gone for so long, a lane is taken to hang.
_STANDS = 2.0


class _Lane:
    """The deliveries to one host, or of one user."""

    __slots__ = ("admitted", "limit", "moved", "sending", "takes", "turn")

    def __init__(self, limit: int, sent_at_once: int) -> None:
        self.limit = limit
        self.admitted = 0
        self.sending = asyncio.Semaphore(sent_at_once)
        self.takes = _FIRST_GUESS  # seconds a delivery, lately
        self.moved = 0.0  # when a place was last taken or given back
        self.turn = 0.0  # when the next in line is to come back


class Lanes:
    """Places per host and per user, of this process."""

    def __init__(
        self,
        *,
        most_per_host: int = _MOST_PER_HOST,
        most_per_user: int = _MOST_PER_USER,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = {"host": most_per_host, "user": most_per_user}
        self._now = now
        self._lanes: dict[tuple[str, str], _Lane] = {}

    def enter(self, *, host: str, user_id: str) -> int | None:
        """Take a place, and None; or the microseconds after which there may be one."""
        lanes = [self._lane("host", host), self._lane("user", user_id)]
        full = [lane for lane in lanes if lane.admitted >= lane.limit]
        if not full:
            for lane in lanes:
                lane.admitted += 1
                lane.moved = self._now()
            return None
        return max(self._in_line(lane) for lane in full)

    def sending_to(self, host: str) -> asyncio.Semaphore:
        """To be held while sending, by who has a place."""
        return self._lanes["host", host].sending

    def leave(self, *, host: str, user_id: str, took: float | None) -> None:
        """Give the place back, after sending for so many seconds, if it came to that."""
        for key in (("host", host), ("user", user_id)):
            lane = self._lanes[key]
            lane.admitted -= 1
            lane.moved = self._now()
            if took is not None:
                lane.takes = 0.7 * lane.takes + 0.3 * took
            if not lane.admitted and lane.turn <= self._now():
                del self._lanes[key]

    def _lane(self, kind: str, name: str) -> _Lane:
        return self._lanes.setdefault((kind, name), _Lane(self._limits[kind], _SENT_PER_HOST))

    def _in_line(self, lane: _Lane) -> int:
        """Who waits comes back one after the other, as fast as the lane moves."""
        now = self._now()
        stands = now - lane.moved
        takes = max(lane.takes, stands) if stands > _STANDS else lane.takes
        gap = max(_SHORTEST_GAP, takes / _SENT_PER_HOST)
        lane.turn = min(max(lane.turn, now) + gap, now + _LONGEST_WAIT)
        wait = lane.turn - now
        if wait >= _LONGEST_WAIT:  # a line so long that its end comes back spread over a while
            wait *= 0.5 + 0.5 * random()  # noqa: S311  # spreads, keeps no secret
        return int(wait * SECOND)
