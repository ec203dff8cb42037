"""API keys: long random secrets of which only the digest is kept."""

import secrets
from collections.abc import Callable

from sutazai.database import Connection, Database
from sutazai.errors import ErrorCode, SutazaiError, invalid, not_found
from sutazai.identity import store
from sutazai.identity.hooks import DIRECT, Call, Change, OnChange
from sutazai.identity.model import ApiKey, NewApiKey, Principal, is_id
from sutazai.identity.tokens import digest
from sutazai.ids import new_id

PREFIX = "sk-sutazai-"
_LONGEST_NAME = 100
_HINT = len(PREFIX) + 4


class ApiKeys:
    """Makes, lists and deletes the keys of users."""

    def __init__(self, *, database: Database, on_change: OnChange, now: Callable[[], int]) -> None:
        self._database = database
        self._on_change = on_change
        self._now = now

    async def create(
        self,
        principal: Principal,
        *,
        name: str,
        expires_at: int | None = None,
        call: Call = DIRECT,
    ) -> NewApiKey:
        """A key of the principal's own, with its secret, which cannot be shown again.

        `expires_at` in microseconds, in the future. VALIDATION_ERROR for name or expiry.
        """
        if not (name.strip() and len(name) <= _LONGEST_NAME and name.isprintable()):
            raise invalid("name", f"Must be 1 to {_LONGEST_NAME} printable characters.")
        if expires_at is not None and expires_at <= self._now():
            raise invalid("expires_at", "Must be in the future.")

        def make(connection: Connection) -> NewApiKey:
            account = store.hold_account(connection, principal.user_id)
            if account is None or not account.user.enabled:
                raise SutazaiError(ErrorCode.UNAUTHORIZED, "Your account is no longer enabled.")
            secret = PREFIX + secrets.token_urlsafe(32)
            key = ApiKey(
                key_id=new_id("key"),
                user_id=principal.user_id,
                name=name,
                hint=secret[:_HINT],
                created_at=self._now(),
                expires_at=expires_at,
                last_used_at=None,
            )
            store.add_key(connection, key, digest(secret))
            self._tell(connection, principal, call, "api_key.created", key)
            return NewApiKey(key=key, secret=secret)

        return await self._database.run(
            lambda connection: call.once(connection, NewApiKey, lambda: make(connection))
        )

    async def list(self, principal: Principal, *, user_id: str | None = None) -> tuple[ApiKey, ...]:
        """The principal's own keys, oldest first; for an admin also another user's.

        FORBIDDEN for another's.
        """
        owner = principal.user_id if user_id is None else user_id
        if owner != principal.user_id and not principal.is_admin:
            raise SutazaiError(
                ErrorCode.FORBIDDEN, "Only an administrator may see the keys of others."
            )
        if not is_id(owner):
            return ()
        return await self._database.read(lambda connection: store.list_keys(connection, owner))

    async def delete(self, principal: Principal, key_id: str, *, call: Call = DIRECT) -> None:
        """Delete a key of one's own, as an admin anybody's; NOT_FOUND for every other."""
        owner = None if principal.is_admin else principal.user_id
        if not is_id(key_id):
            raise not_found("API key", key_id)

        def unit(connection: Connection) -> None:
            key = store.remove_key(connection, key_id, owner=owner)
            if key is None:
                raise not_found("API key", key_id)
            self._tell(connection, principal, call, "api_key.deleted", key)

        await self._database.run(unit)

    def _tell(
        self, connection: Connection, principal: Principal, call: Call, what: str, key: ApiKey
    ) -> None:
        self._on_change(
            connection,
            Change(
                what=what,
                user_id=key.user_id,
                actor=principal.actor,
                request_id=call.request_id,
                data={"user_id": key.user_id, "key_id": key.key_id, "name": key.name},
            ),
        )
