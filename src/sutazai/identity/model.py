"""Users, their roles and what these allow; plain values."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

import msgspec

from sutazai.errors import ErrorCode, SutazaiError

ANY = "*"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def is_id(text: str) -> bool:
    """Whether it can be an id at all; what cannot (NUL, say) must not reach the database."""
    return _ID.fullmatch(text) is not None


class Permission(StrEnum):
    """What one may do to a resource."""

    READ = "read"
    WRITE = "write"
    EXECUTE = "execute"


class Role(StrEnum):
    """What a user is; several may be held, and their grants add up."""

    ADMIN = "admin"
    DEVELOPER = "developer"
    USER = "user"
    VIEWER = "viewer"


class Tier(StrEnum):
    """How much a user may ask for per minute."""

    FREE = "free"
    STANDARD = "standard"
    PREMIUM = "premium"


class Grant(NamedTuple):
    """Each of the permissions, on each of the resources; `*` stands for all."""

    permissions: tuple[str, ...]
    resources: tuple[str, ...]


GRANTS: dict[str, Grant] = {
    Role.ADMIN: Grant((ANY,), (ANY,)),
    Role.DEVELOPER: Grant(("read", "write", "execute"), ("agents", "tasks", "workflows")),
    Role.USER: Grant(("read", "execute"), ("tasks", "results")),
    Role.VIEWER: Grant(("read",), ("tasks", "results", "metrics")),
}
"""The specification's table, by role."""


def may(roles: Iterable[str], permission: str, resource: str) -> bool:
    """Whether one of the roles alone grants it; an unknown role grants nothing."""
    for role in roles:
        grant = GRANTS.get(role)
        if (
            grant is not None
            and (permission in grant.permissions or ANY in grant.permissions)
            and (resource in grant.resources or ANY in grant.resources)
        ):
            return True
    return False


def permissions_of(roles: Iterable[str]) -> tuple[str, ...]:
    """The token's `permissions` claim, such as `("read", "execute")`, or `("*",)` for an admin."""
    held = {name for role in roles if role in GRANTS for name in GRANTS[role].permissions}
    return (ANY,) if ANY in held else tuple(name for name in Permission if name in held)


class User(msgspec.Struct, frozen=True, kw_only=True):
    """An account; times in microseconds."""

    user_id: str
    username: str
    roles: tuple[str, ...]
    tier: str
    enabled: bool
    created_at: int


class UserPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of all users, oldest first, and how many there are in all."""

    users: tuple[User, ...]
    total: int
    limit: int
    offset: int


AGENT_TIER = "agent"
"""The tier of every agent from outside; no user has it."""


def subject_of(agent_id: str) -> str:
    """What stands in an agent's principal for the user's id; no user's id looks like it."""
    return f"agent:{agent_id}"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a request, as the database knew it at most 5 s ago.

    Came in by a session's access token (`session_id`) or by an API key (`key_id`). An agent from
    outside (`agent_id`) has no roles, and so may do nothing but its own work.
    """

    user_id: str
    username: str
    roles: tuple[str, ...]
    tier: str
    session_id: str | None = None
    key_id: str | None = None
    agent_id: str | None = None

    @property
    def actor(self) -> str:
        """How events name this principal."""
        return f"user:{self.user_id}" if self.agent_id is None else self.user_id

    @property
    def permissions(self) -> tuple[str, ...]:
        """See `permissions_of`."""
        return permissions_of(self.roles)

    @property
    def is_admin(self) -> bool:
        """Whether everything is allowed."""
        return Role.ADMIN in self.roles

    def may(self, permission: str, resource: str) -> bool:
        """See `may`."""
        return may(self.roles, permission, resource)


def require(principal: Principal, permission: str, resource: str) -> None:
    """Raise FORBIDDEN unless the principal may."""
    if not principal.may(permission, resource):
        roles = ", ".join(principal.roles) or "none"
        raise SutazaiError(
            ErrorCode.FORBIDDEN,
            f"This needs the permission {permission!r} on {resource!r}, which your roles "
            f"({roles}) do not grant. Ask an administrator for a role that does.",
        )


class TokenPair(msgspec.Struct, frozen=True, kw_only=True):
    """What a login or a refresh answers; `expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    token_type: str = "bearer"  # noqa: S105  # a kind of token, not a token
    expires_in: int = 3600

    def __repr__(self) -> str:
        return f"TokenPair(expires_in={self.expires_in}, tokens hidden)"


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as its owner sees it afterwards; `hint` is how its secret begins."""

    key_id: str
    user_id: str
    name: str
    hint: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None


class NewApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key just made, with the secret that cannot be shown again."""

    key: ApiKey
    secret: str

    def __repr__(self) -> str:
        return f"NewApiKey(key={self.key!r}, secret hidden)"
