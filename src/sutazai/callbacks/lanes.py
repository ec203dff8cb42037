"""How many deliveries may be under way at once, so that none holds up those to others."""

import time
from collections.abc import Callable
from random import random

from sutazai.clock import SECOND

_MOST_PER_HOST = 4
_MOST_PER_USER = 16
_LONGEST_WAIT = 60.0
_SHORTEST_GAP = 0.005
_FIRST_GUESS = 0.1


class _Lane:
    """The deliveries to one host, or of one user."""

    __slots__ = ("limit", "running", "takes", "turn")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.takes = _FIRST_GUESS  # seconds a delivery, lately
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
        full = [lane for lane in lanes if lane.running >= lane.limit]
        if not full:
            for lane in lanes:
                lane.running += 1
            return None
        return max(self._in_line(lane) for lane in full)

    def leave(self, *, host: str, user_id: str, took: float) -> None:
        """Give the place back, after so many seconds."""
        for key in (("host", host), ("user", user_id)):
            lane = self._lanes[key]
            lane.running -= 1
            lane.takes = 0.7 * lane.takes + 0.3 * took
            if not lane.running and lane.turn <= self._now():
                del self._lanes[key]

    def _lane(self, kind: str, name: str) -> _Lane:
        return self._lanes.setdefault((kind, name), _Lane(self._limits[kind]))

    def _in_line(self, lane: _Lane) -> int:
        """Who waits comes back one after the other, as fast as the lane has lately moved."""
        now = self._now()
        gap = max(_SHORTEST_GAP, lane.takes / lane.limit)
        lane.turn = min(max(lane.turn, now) + gap, now + _LONGEST_WAIT)
        wait = lane.turn - now
        if wait >= _LONGEST_WAIT:  # a line so long that its end comes back spread over a while
            wait *= 0.5 + 0.5 * random()  # noqa: S311  # spreads, keeps no secret
        return int(wait * SECOND)
