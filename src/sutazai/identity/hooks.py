"""What callers bring along, so that identity needs to import none of its siblings."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from sutazai.database import Connection

T = TypeVar("T")


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of state, for the event log; `data` never holds a secret.

    `what` is one of user.created, user.updated, user.deleted, session.created, session.refreshed,
    session.revoked, session.reused, api_key.created, api_key.deleted; `user_id` is whom it is
    about.
    """

    what: str
    user_id: str
    actor: str
    request_id: str | None
    data: dict[str, Any]


OnChange = Callable[[Connection, Change], None]
"""Called in the transaction of the change, after it; may be run again with the rest of the unit."""


class Once(Protocol):
    """Makes the value, or hands out the one that an earlier run of the same request has made."""

    def __call__(self, connection: Connection, type_: type[T], make: Callable[[], T], /) -> T:
        """A value of `type_`, which msgspec can encode and decode."""
        ...


def directly(_connection: Connection, _type: type[T], make: Callable[[], T], /) -> T:
    """Make it, always: for requests without an Idempotency-Key."""
    return make()


def ignore(_connection: Connection, _change: Change) -> None:
    """Tell nobody."""


class Call(NamedTuple):
    """One call of a service: on whose behalf, in which request, and how it is made only once.

    Login, refresh and calls that name a principal take the actor from there.
    """

    actor: str = "system"
    request_id: str | None = None
    once: Once = directly


DIRECT = Call()
