"""Logging in and out, and knowing who makes a request."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from sutazai import clock
from sutazai.clock import SECOND
from sutazai.database import Connection, Database
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.identity import agent_keys, passwords, store
from sutazai.identity.brake import Brake
from sutazai.identity.cache import Found, PrincipalCache
from sutazai.identity.hooks import DIRECT, Call, Change, OnChange, ignore
from sutazai.identity.keys import PREFIX, ApiKeys
from sutazai.identity.model import ApiKey, Principal, TokenPair, User
from sutazai.identity.passwords import Passwords
from sutazai.identity.store import Account, Session
from sutazai.identity.tokens import Claims, Tokens, digest, new_token_id, unauthorized
from sutazai.identity.users import Users
from sutazai.ids import new_id

_logger = structlog.get_logger(__name__)

TICKET_SECONDS = 30
_TICKET = "ticket:"
_WRONG = "The username or the password is wrong, or the account is disabled."
_ENDED = "This session has ended. Log in again."
_BAD_KEY = "The API key is not valid: unknown, expired, or its user or agent is no more."


class _Reused(Exception):
    """A refresh token came that is no longer the current one of its session."""


class _Changed(Exception):
    """The account changed while its password was being checked."""


class Identity:
    """Sessions and principals; `users` and `keys` manage the rest.

    What a token says is never trusted beyond its user and session: roles, tier, and whether both
    still stand come from the database, through a cache at most 5 s old that changes made through
    the same database reach at once.
    """

    def __init__(
        self,
        *,
        database: Database,
        tokens: Tokens,
        hasher: Passwords | None = None,
        brake: Brake | None = None,
        on_change: OnChange = ignore,
        now: Callable[[], int] = clock.now,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._hasher = Passwords() if hasher is None else hasher
        self._brake = Brake() if brake is None else brake
        self._on_change = on_change
        self._now = now
        self._cache = PrincipalCache(now=now)
        self.users = Users(database=database, hasher=self._hasher, on_change=on_change, now=now)
        self.keys = ApiKeys(database=database, on_change=on_change, now=now)
        database.listen(store.CHANNEL, self._cache.forget)

    def close(self) -> None:
        """Let the hashing threads end."""
        self._hasher.close()

    async def authenticate(self, credential: str) -> Principal:
        """The user who sends this access token or API key; UNAUTHORIZED for anything else.

        FORBIDDEN for an agent's key.
        """
        return agent_keys.refuse_agents(await self.authenticate_any(credential))

    async def authenticate_any(self, credential: str) -> Principal:
        """As `authenticate`, but for agents from outside as well."""
        principal = self.known(credential)
        if principal is not None:
            return principal
        return await self._cache.load(credential, self._look_up)

    def known(self, credential: str) -> Principal | None:
        """Who sends this credential, if that was found out less than 5 s ago."""
        return self._cache.get(credential)

    def issue_ticket(self, principal: Principal) -> str:
        """What opens one stream where no header can be sent; to be redeemed within 30 s."""
        return self._tokens.issue_ticket(principal)

    async def redeem_ticket(self, ticket: str, *, call: Call = DIRECT) -> Principal:
        """Who got this ticket; `call.once` sees to it that nobody redeems it twice.

        UNAUTHORIZED for anything but a ticket that was issued less than 30 s ago.
        """
        claims = self._tokens.read_ticket(ticket)
        if claims.issued_at + TICKET_SECONDS * SECOND <= self._now():
            raise unauthorized(
                f"The ticket was to be used within {TICKET_SECONDS} s. Get a new one."
            )
        await self._database.run(lambda connection: call.once(connection, bool, lambda: True))
        return await self.still_holds(ticket)

    async def still_holds(self, ticket: str) -> Principal:
        """Whom a redeemed ticket stands for now; UNAUTHORIZED once its hour or session is over."""
        kept = _TICKET + ticket  # so that it can never be taken for an access token
        principal = self._cache.get(kept)
        if principal is not None:
            return principal
        return await self._cache.load(kept, self._look_up_ticket)

    async def login(
        self,
        username: str,
        password: str,
        *,
        address: str | None = None,
        user_agent: str | None = None,
        call: Call = DIRECT,
    ) -> TokenPair:
        """A new session.

        UNAUTHORIZED, after a delay if it happens often; RATE_LIMIT_EXCEEDED for too many at once.
        """

        async def check() -> TokenPair | None:
            account = await self._verified(username, password, address)
            if account is None:
                return None
            return await self._database.run(
                lambda connection: call.once(
                    connection,
                    TokenPair,
                    lambda: self._open_session(connection, account, address, user_agent, call),
                )
            )

        try:
            pair = await self._brake.attempt(username, address, check)
        except _Changed:
            pair = None
        if pair is None:
            raise unauthorized(_WRONG)
        return pair

    async def refresh(self, refresh_token: str, *, call: Call = DIRECT) -> TokenPair:
        """The next pair of a session; the token given is spent.

        UNAUTHORIZED otherwise. A spent token that comes again ends its session: one of the two who
        hold it has stolen it.
        """
        claims = self._tokens.read_refresh(refresh_token)

        def unit(connection: Connection) -> TokenPair | None:
            try:
                return call.once(
                    connection, TokenPair, lambda: self._rotate(connection, claims, call)
                )
            except _Reused:
                # Returned, not raised: raising would undo the revocation.
                self._revoke(connection, claims.session_id, "session.reused", call)
                return None

        pair = await self._database.run(unit)
        if pair is None:
            raise unauthorized(_ENDED)
        return pair

    async def logout(self, principal: Principal, *, call: Call = DIRECT) -> None:
        """End the session that the principal came by; BAD_REQUEST for an API key: it has none."""
        session_id = principal.session_id
        if session_id is None:
            raise SutazaiError(
                ErrorCode.BAD_REQUEST, "An API key has no session to end. Delete the key instead."
            )
        await self._database.run(
            lambda connection: self._revoke(connection, session_id, "session.revoked", call)
        )

    async def me(self, principal: Principal) -> User:
        """The principal's account."""
        return await self.users.get(principal.user_id)

    def purge(self, connection: Connection) -> int:
        """Inside a unit: forget sessions that are over; how many."""
        return store.purge(connection, self._now())

    # --- who it is

    async def _look_up(self, credential: str) -> Found:
        if credential.startswith(agent_keys.PREFIX):
            find = partial(agent_keys.find, secret=credential)
            agent = await self._database.read(find)
            if agent is not None:
                return Found(agent, None)
        if credential.startswith(PREFIX):
            secret = digest(credential)
            return await self._of_key(partial(store.find_by_key, digest=secret))
        return await self._of_session(self._tokens.read_access(credential))

    async def _look_up_ticket(self, kept: str) -> Found:
        claims = self._tokens.read_ticket(kept.removeprefix(_TICKET))
        held = claims.session_id
        if held.startswith("key-"):
            found = await self._of_key(partial(store.find_by_key, key_id=held))
            until = min(claims.expires_at, found.expires_at or claims.expires_at)
            return Found(found.principal, until)
        return await self._of_session(claims)

    async def _of_session(self, claims: Claims) -> Found:
        found = await self._database.read(
            lambda connection: store.find_by_session(connection, claims.session_id)
        )
        if found is None:
            raise unauthorized(_ENDED)
        user, session = found
        over = session.revoked_at is not None or session.expires_at <= self._now()
        if over or not user.enabled or user.user_id != claims.user_id:
            raise unauthorized(_ENDED)
        principal = Principal(
            user_id=user.user_id,
            username=user.username,
            roles=user.roles,
            tier=user.tier,
            session_id=session.session_id,
        )
        return Found(principal, min(claims.expires_at, session.expires_at))

    async def _of_key(self, find: Callable[[Connection], tuple[User, ApiKey] | None]) -> Found:
        found = await self._database.read(find)
        now = self._now()
        if found is None:
            raise unauthorized(_BAD_KEY)
        user, key = found
        if not user.enabled or (key.expires_at is not None and key.expires_at <= now):
            raise unauthorized(_BAD_KEY)
        if key.last_used_at is None or key.last_used_at <= now - store.TOUCH_EVERY:
            # A full disk must not keep anybody from reading.
            with contextlib.suppress(SutazaiError):
                await self._database.run(
                    lambda connection: store.touch_key(connection, key.key_id, now=now)
                )
        principal = Principal(
            user_id=user.user_id,
            username=user.username,
            roles=user.roles,
            tier=user.tier,
            key_id=key.key_id,
        )
        return Found(principal, key.expires_at)

    async def _verified(self, username: str, password: str, address: str | None) -> Account | None:
        """The enabled account that the password opens; takes as long where there is none."""
        try:
            normal = passwords.normalised(password)
        except ValueError:
            _logger.warning("login.failed", user_id=None, address=address)
            return None
        name = username if username.isascii() and "\0" not in username else ""
        account = await self._database.read(lambda connection: store.find_account(connection, name))
        old = None if account is None else account.password_hash
        right, new = await self._hasher.verify(normal, old)
        if account is None or not right or not account.user.enabled:
            # Not the name that was given: people type passwords into that field.
            known = None if account is None else account.user.user_id
            _logger.warning("login.failed", user_id=known, address=address)
            return None
        if new is None:
            return account
        await self._database.run(
            lambda connection: store.replace_hash(
                connection, account.user.user_id, old=account.password_hash, new=new
            )
        )
        return Account(account.user, new)

    # --- units of work

    def _open_session(
        self,
        connection: Connection,
        account: Account,
        address: str | None,
        user_agent: str | None,
        call: Call,
    ) -> TokenPair:
        # Checking the password took a while; the account may have been changed in the meantime.
        held = store.hold_account(connection, account.user.user_id)
        if held is None or held.password_hash != account.password_hash or not held.user.enabled:
            raise _Changed
        now, refresh_id = self._now(), new_token_id()
        session = Session(
            new_id("sess"),
            held.user.user_id,
            now + self._tokens.refresh_seconds * SECOND,
            None,
        )
        store.add_session(
            connection,
            session,
            refresh_digest=digest(refresh_id),
            now=now,
            address=None if address is None else address[:64],
            user_agent=None if user_agent is None else user_agent[:256],
        )
        opened = (held.user.user_id, session.session_id)
        self._tell(connection, call, "session.created", opened, address=address)
        return self._tokens.issue(held.user, session_id=session.session_id, refresh_id=refresh_id)

    def _rotate(self, connection: Connection, claims: Claims, call: Call) -> TokenPair:
        now, refresh_id = self._now(), new_token_id()
        user_id = store.rotate_session(
            connection,
            claims.session_id,
            old=digest(claims.token_id),
            new=digest(refresh_id),
            now=now,
            expires_at=now + self._tokens.refresh_seconds * SECOND,
        )
        account = None if user_id is None else store.hold_account(connection, user_id)
        if account is None or not account.user.enabled:
            raise _Reused
        user = account.user
        self._tell(connection, call, "session.refreshed", (user.user_id, claims.session_id))
        return self._tokens.issue(user, session_id=claims.session_id, refresh_id=refresh_id)

    def _revoke(self, connection: Connection, session_id: str, what: str, call: Call) -> None:
        user_id = store.revoke_session(connection, session_id, now=self._now())
        if user_id is not None:  # else it had ended before, and that was told
            self._tell(connection, call, what, (user_id, session_id))

    def _tell(
        self,
        connection: Connection,
        call: Call,
        what: str,
        session: tuple[str, str],
        **data: Any,
    ) -> None:
        user_id, session_id = session
        self._on_change(
            connection,
            Change(
                what=what,
                user_id=user_id,
                actor=f"user:{user_id}",
                request_id=call.request_id,
                data={"user_id": user_id, "session_id": session_id, **data},
            ),
        )
