"""A brake on guessing passwords that never locks out whoever knows the password."""

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sutazai.clock import SECOND
from sutazai.errors import ErrorCode, SutazaiError

T = TypeVar("T")


def monotonic() -> int:
    """Microseconds of a clock that nobody sets: a hold must not last longer for that."""
    return time.monotonic_ns() // 1000


_FORGET_AFTER = 15 * 60 * SECOND
_FIRST_HOLD = SECOND // 4
_LONGEST_HOLD = 2 * SECOND
# How many wrong answers come at once, and how many attempts may be open: for one user name from
# one address, and for one address, which may be an office's with many people behind it.
_FREE_PAIR, _OPEN_PAIR = 5, 4
_FREE_ADDRESS, _OPEN_ADDRESS = 20, 16


class _Count:
    """The failures of one source, and until when each of its open attempts takes up a place."""

    __slots__ = ("failed_at", "failures", "held_until", "running")

    def __init__(self) -> None:
        self.failures = 0
        self.failed_at = 0
        self.running = 0
        self.held_until: list[int] = []

    def open(self, now: int) -> int:
        """How many attempts are running or held."""
        self.held_until = [until for until in self.held_until if until > now]
        return self.running + len(self.held_until)

    def failed(self, now: int, *, free: int) -> int:
        """Count a failure; for how long (microseconds) its answer is to be held."""
        if now - self.failed_at > _FORGET_AFTER:
            self.failures = 0
        self.failures += 1
        self.failed_at = now
        over = self.failures - free
        return 0 if over <= 0 else min(_LONGEST_HOLD, _FIRST_HOLD << min(over - 1, 8))


class Brake:
    """Slows wrong passwords down, by user name and address and by address alone.

    A wrong answer after the first few is held, and only so many attempts may be open at a time, so
    that guessing gets about two tries a second. A right password is answered at once and clears
    the count of its user name; not the address's, or an account of one's own would buy guesses at
    others. Places are given back by the clock, not by the waiting request: hanging up early gains
    nothing. Memory is bounded: the sources longest unseen are forgotten first.
    """

    def __init__(
        self,
        *,
        now: Callable[[], int] = monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        most: int = 10_000,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._most = most
        self._counts: OrderedDict[tuple[str | None, str], _Count] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    async def attempt(
        self, username: str, address: str | None, check: Callable[[], Awaitable[T | None]]
    ) -> T | None:
        """What the check returns; None means wrong, and is held back as long as is due.

        RATE_LIMIT_EXCEEDED, without checking, where too many attempts are open.
        """
        network = network_of(address)
        pair_key, address_key = (username.lower()[:64], network), (None, network)
        pair, whole = self._count(pair_key), self._count(address_key)
        now = self._now()
        if pair.open(now) >= _OPEN_PAIR or whole.open(now) >= _OPEN_ADDRESS:
            raise SutazaiError(
                ErrorCode.RATE_LIMIT_EXCEEDED,
                "Too many logins are open from your address. Try again in 2 seconds.",
                retry_after=_LONGEST_HOLD / SECOND,
            )
        pair.running += 1
        whole.running += 1
        try:
            result = await check()
        finally:
            pair.running -= 1
            whole.running -= 1
        if result is not None:
            self._counts.pop(pair_key, None)
            return result
        now = self._now()
        hold = max(pair.failed(now, free=_FREE_PAIR), whole.failed(now, free=_FREE_ADDRESS))
        if hold:
            pair.held_until.append(now + hold)
            whole.held_until.append(now + hold)
            await self._sleep(hold / SECOND)
        return None

    def _count(self, key: tuple[str | None, str]) -> _Count:
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = _Count()
            while len(self._counts) > self._most:
                self._counts.popitem(last=False)
        self._counts.move_to_end(key)
        return count


def network_of(address: str | None) -> str:
    """What one party surely controls as a whole: an IPv4 address, or an IPv6 /64."""
    if address is None:
        return ""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))
    return str(parsed)
