"""What the live doors (WebSocket, SSE, GraphQL subscriptions) share: who listens, and for how long.

A listener's rights are looked at again every few seconds, so that a session which ends, or a role
which is taken away, ends the stream or narrows it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from sutazai.errors import ErrorCode, SutazaiError
from sutazai.events.streams import Sight, Subscription
from sutazai.identity.model import GRANTS, Principal

RECHECK_SECONDS = 5.0
SEND_SECONDS = 30.0
"""How long one write may wait for a client that does not read."""


@dataclass
class Listener:
    """Who listens; `check` says who that is now, or raises UNAUTHORIZED."""

    principal: Principal
    check: Callable[[], Awaitable[Principal]]

    @property
    def sight(self) -> Sight:
        """What this listener may see."""
        return Sight(readable_resources(self.principal), self.principal.user_id)

    async def until_ended(
        self, subscriptions: Callable[[], Iterable[Subscription]]
    ) -> SutazaiError:
        """Wait until the credential is no longer good: why.

        Meanwhile changed roles take effect on the subscriptions, which may come and go.
        """
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                self.principal = await self.check()
            except SutazaiError as error:
                if error.code is ErrorCode.UNAUTHORIZED:
                    return error
                continue  # the database is out of reach: nobody is thrown out for that
            for one in subscriptions():
                one.sight = self.sight


def readable_resources(principal: Principal) -> frozenset[str] | None:
    """The resources a principal may read; None for all."""
    if principal.may("read", "*"):
        return None
    named = {name for grant in GRANTS.values() for name in grant.resources}
    return frozenset(name for name in named if principal.may("read", name))
