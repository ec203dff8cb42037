"""Sliding windows: what counts now, and for sixty seconds from now, then no more."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from sutazai.clock import SECOND

WINDOW = 60 * SECOND
"""The length of every window, in microseconds."""


class Count(NamedTuple):
    """What one key's window holds.

    `admitted` says whether the charge was taken up; `used` counts it then. `frees_in` is how many
    microseconds from now the oldest charge leaves the window, 0 for an empty one.
    """

    admitted: bool
    used: int
    frees_in: int


class Charge(NamedTuple):
    """One more in the window of a key, unless the window holds `limit` already.

    With limit 0 nothing is charged, only looked at.
    """

    key: str
    limit: int


class SharedWindows(Protocol):
    """Windows that several processes count in together."""

    async def charge(self, charge: Charge) -> Count | None:
        """Count, in all processes at once; None, without delay, while they are out of reach."""
        ...

    async def take_back(self, key: str) -> Count | None:
        """Undo the newest charge of a key; None while they are out of reach."""
        ...


def monotonic() -> int:
    """Microseconds of a clock that nobody sets."""
    return time.monotonic_ns() // 1000


class LocalWindows:
    """The windows of this process.

    Memory is bounded twice: a window that holds nothing any more is dropped, and of more than
    `most` keys those unseen for longest are forgotten first.
    """

    def __init__(
        self, *, window: int = WINDOW, now: Callable[[], int] = monotonic, most: int = 20_000
    ) -> None:
        """`window` in microseconds."""
        self._length = window
        self._now = now
        self._most = most
        # In the order of the newest charge, so that what is over stands in front.
        self._windows: OrderedDict[str, deque[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def charge(self, charge: Charge) -> Count:
        """Count one more, if there is room."""
        now = self._now()
        self._drop_what_is_over(now)
        key, limit = charge
        window = self._windows.get(key)
        if window is None:
            if limit <= 0:
                return Count(False, 0, 0)
            window = self._windows[key] = deque()
            if len(self._windows) > self._most:
                self._windows.popitem(last=False)
        else:
            self._slide(window, now)
        admitted = len(window) < limit
        if admitted:
            window.append(now)
            self._windows.move_to_end(key)
        return self._count(window, now, admitted=admitted)

    def take_back(self, key: str) -> Count:
        """Undo the newest charge of a key."""
        window = self._windows.get(key)
        if window:
            window.pop()
        now = self._now()
        return self._count(window or (), now, admitted=True)

    def _drop_what_is_over(self, now: int) -> None:
        while self._windows:
            key = next(iter(self._windows))
            window = self._windows[key]
            if window and now - window[-1] < self._length:
                return
            del self._windows[key]

    def _slide(self, window: deque[int], now: int) -> None:
        while window and now - window[0] >= self._length:
            window.popleft()

    def _count(self, window: Sequence[int], now: int, *, admitted: bool) -> Count:
        frees_in = max(0, window[0] + self._length - now) if window else 0
        return Count(admitted, len(window), frees_in)
