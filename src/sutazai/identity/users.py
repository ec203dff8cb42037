"""Managing users; who may do so is checked by the caller (see `require`)."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from sutazai.database import Connection, Database
from sutazai.errors import Detail, ErrorCode, SutazaiError, not_found
from sutazai.identity import passwords, store
from sutazai.identity.hooks import DIRECT, Call, Change, OnChange
from sutazai.identity.model import Role, Tier, User, UserPage, is_id
from sutazai.identity.passwords import Passwords
from sutazai.ids import new_id

ADMIN = "admin"
_USERNAME = re.compile(r"[A-Za-z0-9._-]{3,64}")


class Users:
    """Makes, shows, changes and deletes users; a deleted user's tasks stay."""

    def __init__(
        self,
        *,
        database: Database,
        hasher: Passwords,
        on_change: OnChange,
        now: Callable[[], int],
    ) -> None:
        self._database = database
        self._hasher = hasher
        self._on_change = on_change
        self._now = now

    async def create(
        self,
        *,
        username: str,
        password: str,
        roles: Sequence[str] = (Role.USER,),
        tier: str = Tier.FREE,
        call: Call = DIRECT,
    ) -> User:
        """A new, enabled user.

        VALIDATION_ERROR with a detail per wrong field; CONFLICT where the name is taken, in
        whichever case.
        """
        details = _username_faults(username) + _faults(password, roles, tier)
        _raise(details)
        password_hash = await self._hasher.hash(passwords.normalised(password))

        def make(connection: Connection) -> User:
            user = User(
                user_id=new_id("user"),
                username=username,
                roles=_ordered(roles),
                tier=tier,
                enabled=True,
                created_at=self._now(),
            )
            if not store.add_user(connection, user, password_hash):
                raise SutazaiError(
                    ErrorCode.CONFLICT,
                    f"There is a user {username!r} already. Choose another username.",
                )
            self._tell(connection, call, "user.created", user, {})
            return user

        return await self._database.run(
            lambda connection: call.once(connection, User, lambda: make(connection))
        )

    async def list(self, *, limit: int = 100, offset: int = 0) -> UserPage:
        """A page of all users, oldest first."""
        users, total = await self._database.read(
            lambda connection: store.list_users(connection, limit=limit, offset=offset)
        )
        return UserPage(users=users, total=total, limit=limit, offset=offset)

    async def get(self, user_id: str) -> User:
        """NOT_FOUND where there is none."""
        _check(user_id)
        user = await self._database.read(lambda connection: store.find_user(connection, user_id))
        if user is None:
            raise not_found("user", user_id)
        return user

    async def find(self, user_ids: Sequence[str]) -> dict[str, User]:
        """Those of these that there are, by id."""
        return await self._database.read(lambda connection: store.find_users(connection, user_ids))

    def hold(self, connection: Connection, user_id: str, *, alone: bool = False) -> User | None:
        """Inside a unit: a user, unchanged by others until it ends; None where there is none.

        With `alone`, no other unit that says so goes on beside this one.
        """
        return store.hold_user(connection, user_id, alone=alone)

    async def update(
        self,
        user_id: str,
        *,
        password: str | None = None,
        roles: Sequence[str] | None = None,
        tier: str | None = None,
        enabled: bool | None = None,
        call: Call = DIRECT,
    ) -> User:
        """Change what is given. A new password ends the user's sessions, disabling also the keys.

        CONFLICT where no enabled admin would be left; VALIDATION_ERROR; NOT_FOUND.
        """
        _check(user_id)
        _raise(_faults(password, roles, tier))
        values: dict[str, Any] = {}
        if roles is not None:
            values["roles"] = _ordered(roles)
        if tier is not None:
            values["tier"] = tier
        if enabled is not None:
            values["enabled"] = enabled
        changed = sorted(values) + (["password"] if password is not None else [])
        if password is not None:
            values["password_hash"] = await self._hasher.hash(passwords.normalised(password))
        if not values:
            return await self.get(user_id)
        demoted = enabled is False or (roles is not None and Role.ADMIN not in roles)

        def unit(connection: Connection) -> User:
            if demoted:
                _keep_an_admin(connection, user_id)
            user = store.change_user(connection, user_id, values)
            if user is None:
                raise not_found("user", user_id)
            if password is not None or enabled is False:
                store.revoke_sessions(connection, user_id, now=self._now())
            if enabled is False:
                store.remove_keys(connection, user_id)
            self._tell(connection, call, "user.updated", user, {"changed": changed})
            return user

        return await self._database.run(unit)

    async def delete(self, user_id: str, *, call: Call = DIRECT) -> None:
        """Delete with all sessions and keys; CONFLICT for the last enabled admin; NOT_FOUND."""
        _check(user_id)

        def unit(connection: Connection) -> None:
            _keep_an_admin(connection, user_id)
            user = store.find_user(connection, user_id)
            if user is None or not store.remove_user(connection, user_id):
                raise not_found("user", user_id)
            self._tell(connection, call, "user.deleted", user, {})

        await self._database.run(unit)

    async def ensure_admin(self, password: str | None = None) -> str | None:
        """Make the user `admin` if there are no users yet.

        Returns the password to show once where one had to be generated; of several processes that
        start together, one makes it. VALIDATION_ERROR for a password that may not be one.
        """
        if await self._database.read(store.has_users):
            return None
        chosen = password if password is not None else passwords.generate()
        _raise(_faults(chosen, None, None))
        password_hash = await self._hasher.hash(passwords.normalised(chosen))

        def unit(connection: Connection) -> bool:
            user = User(
                user_id=new_id("user"),
                username=ADMIN,
                roles=(Role.ADMIN.value,),
                tier=Tier.PREMIUM.value,
                enabled=True,
                created_at=self._now(),
            )
            if store.has_users(connection) or not store.add_user(connection, user, password_hash):
                return False
            self._tell(connection, DIRECT, "user.created", user, {})
            return True

        made = await self._database.run(unit)
        return chosen if made and password is None else None

    def _tell(
        self, connection: Connection, call: Call, what: str, user: User, data: dict[str, Any]
    ) -> None:
        known = {
            "user_id": user.user_id,
            "username": user.username,
            "roles": list(user.roles),
            "tier": user.tier,
            "enabled": user.enabled,
        }
        self._on_change(
            connection,
            Change(
                what=what,
                user_id=user.user_id,
                actor=call.actor,
                request_id=call.request_id,
                data=known | data,
            ),
        )


def _keep_an_admin(connection: Connection, user_id: str) -> None:
    if store.hold_admins(connection) == {user_id}:
        raise SutazaiError(
            ErrorCode.CONFLICT,
            "This is the last enabled administrator. Make another one first.",
        )


def _check(user_id: str) -> None:
    if not is_id(user_id):
        raise not_found("user", user_id)


def _ordered(roles: Sequence[str]) -> tuple[str, ...]:
    return tuple(role.value for role in Role if role in roles)


def _username_faults(username: str) -> list[Detail]:
    if _USERNAME.fullmatch(username):
        return []
    return [Detail("username", "Must be 3 to 64 characters out of a-z, A-Z, 0-9, '.', '_', '-'.")]


def _faults(password: str | None, roles: Sequence[str] | None, tier: str | None) -> list[Detail]:
    details = []
    if password is not None:
        try:
            passwords.normalised(password)
        except ValueError as error:
            details.append(Detail("password", f"A password {error}."))
    if roles is not None:
        known = ", ".join(Role)
        unknown = sorted({role for role in roles if role not in set(Role)})
        if unknown:
            listed = ", ".join(map(ascii, unknown))
            details.append(Detail("roles", f"Unknown: {listed}. The roles are {known}."))
        elif not roles:
            details.append(Detail("roles", f"At least one of {known} is needed."))
    if tier is not None and tier not in set(Tier):
        details.append(Detail("tier", f"Must be one of {', '.join(Tier)}."))
    return details


def _raise(details: list[Detail]) -> None:
    if details:
        raise SutazaiError(ErrorCode.VALIDATION_ERROR, "Invalid input data", details=details)
