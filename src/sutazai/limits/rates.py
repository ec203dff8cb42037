"""Rate limits: how many requests, and how many submissions, one caller may make in any minute.

Every charge is counted in this process and, where there is a Redis, in all processes together.
While Redis is out of reach, the counts of this process hold: the limit is neither gone nor closed.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

from sutazai.clock import SECOND
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.limits.windows import (
    WINDOW,
    Charge,
    Count,
    LocalWindows,
    SharedWindows,
    monotonic,
)

WINDOW_SECONDS = WINDOW // SECOND


class Policy(StrEnum):
    """What is counted, under the name that the RateLimit headers give it."""

    REQUESTS = "requests"
    SUBMISSIONS = "submissions"


class Allowance(NamedTuple):
    """What a caller may do in any minute: requests of every kind, and tasks or workflows begun."""

    requests: int
    submissions: int


class Caller(NamedTuple):
    """Whose requests are counted together: a user, or an address (an IPv6 /64) without one."""

    name: str
    tier: str | None

    @classmethod
    def user(cls, user_id: str, tier: str) -> "Caller":
        """Somebody who showed a valid credential."""
        return cls(user_id, tier)

    @classmethod
    def address(cls, network: str) -> "Caller":
        """Somebody who did not."""
        return cls(f"address:{network}", None)


class Standing(NamedTuple):
    """How a caller stands with one policy; `resets_in` is whole seconds until more is allowed."""

    policy: Policy
    admitted: bool
    limit: int
    remaining: int
    resets_in: int


class RateLimits:
    """Counts requests and submissions against what each caller's tier allows."""

    def __init__(
        self,
        *,
        tiers: Mapping[str, Allowance],
        without_tier: Allowance,
        shared: SharedWindows | None = None,
        now: Callable[[], int] = monotonic,
    ) -> None:
        """`without_tier` is for addresses, and for a tier that is not among `tiers`."""
        self._tiers = dict(tiers)
        self._without_tier = without_tier
        self._shared = shared
        # Apart, so that a flood from many addresses makes no user's count forgotten.
        self._users = LocalWindows(now=now)
        self._addresses = LocalWindows(now=now)

    async def charge(self, caller: Caller, policy: Policy) -> Standing:
        """Count one more against a policy; see `Standing.admitted`.

        Without await where the answer is known here: with no Redis, or once this process alone has
        let through as many as all together may.
        """
        windows, charge = self._window(caller, policy)
        count = windows.charge(charge)
        if count.admitted and self._shared is not None:
            shared = await self._shared.charge(charge)
            if shared is not None:
                if not shared.admitted:
                    windows.take_back(charge.key)
                count = shared
        return _standing(policy, charge.limit, count)

    async def look(self, caller: Caller, policy: Policy) -> Standing:
        """How a caller stands, without counting anything."""
        windows, (key, limit) = self._window(caller, policy)
        look = Charge(key, 0)
        count = None if self._shared is None else await self._shared.charge(look)
        if count is None:
            count = windows.charge(look)
        return _standing(policy, limit, count._replace(admitted=True))

    async def take_back(self, caller: Caller, policy: Policy) -> Standing:
        """Undo a charge of what came to nothing."""
        windows, (key, limit) = self._window(caller, policy)
        count = windows.take_back(key)
        if self._shared is not None:
            count = await self._shared.take_back(key) or count
        return _standing(policy, limit, count)

    def _window(self, caller: Caller, policy: Policy) -> tuple[LocalWindows, Charge]:
        name, tier = caller
        allowance = self._without_tier
        windows = self._addresses
        if tier is not None:
            allowance = self._tiers.get(tier, allowance)
            windows = self._users
        is_submission = policy is Policy.SUBMISSIONS
        limit = allowance.submissions if is_submission else allowance.requests
        return windows, Charge(f"{policy.value}:{name}", limit)


def too_many(standing: Standing) -> SutazaiError:
    """The refusal of what is over the limit."""
    return SutazaiError(
        ErrorCode.RATE_LIMIT_EXCEEDED,
        f"More than {standing.limit} {standing.policy} in {WINDOW_SECONDS} s. Try again in "
        f"{standing.resets_in} s, or ask an administrator for a higher tier.",
        retry_after=standing.resets_in,
    )


def _standing(policy: Policy, limit: int, count: Count) -> Standing:
    # Rounded up: who comes back then must not come too early.
    resets_in = -(-count.frees_in // SECOND)
    return Standing(policy, count.admitted, limit, max(0, limit - count.used), resets_in)
