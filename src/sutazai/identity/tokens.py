"""Access and refresh tokens, and tickets: HS256, and nothing else."""

import hashlib
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import jwt

from sutazai import clock
from sutazai.clock import SECOND
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.identity.model import Principal, TokenPair, User, is_id, permissions_of

ISSUER = "sutazai"
SHORTEST_SECRET = 32
ACCESS_SECONDS = 3600
REFRESH_SECONDS = 30 * 24 * 3600
# Ours are under 700 characters; whatever is longer is not worth parsing.
_LONGEST = 4096
_OF_TICKET = ("sub", "iat", "exp", "iss", "jti", "sid", "use")
_REQUIRED = (*_OF_TICKET, "username", "roles", "permissions")
_ACCESS, _REFRESH, _TICKET = "access", "refresh", "ticket"
_EXPIRED = {
    _ACCESS: "The access token has expired. Use the refresh token to get a new one.",
    _REFRESH: "The refresh token has expired. Log in again.",
    _TICKET: "The ticket has expired. Get a new one.",
}
_NOT_THIS = {
    _ACCESS: "This is not a valid access token. Send the access token that the login gave.",
    _REFRESH: "This is not a valid refresh token. Send the refresh token that the login gave.",
    _TICKET: "This is not a valid ticket. Get one from POST /api/v1/events/tickets.",
}


class Claims(NamedTuple):
    """The part of a genuine token that the server goes by; times in microseconds.

    A ticket that was made for an API key has the key's id as its session's.
    """

    user_id: str
    session_id: str
    token_id: str
    issued_at: int
    expires_at: int


class Tokens:
    """Issues and reads the tokens of one secret (at least 32 bytes, else ValueError)."""

    def __init__(
        self,
        *,
        secret: bytes,
        access_seconds: int = ACCESS_SECONDS,
        refresh_seconds: int = REFRESH_SECONDS,
        now: Callable[[], int] = clock.now,
    ) -> None:
        if len(secret) < SHORTEST_SECRET:
            raise ValueError(
                f"The secret that signs tokens must have at least {SHORTEST_SECRET} bytes, "
                f"not {len(secret)}."
            )
        self._secret = secret
        self._access = access_seconds
        self._now = now
        self.refresh_seconds = refresh_seconds

    def issue(self, user: User, *, session_id: str, refresh_id: str) -> TokenPair:
        """A fresh pair for a session; `refresh_id` becomes the refresh token's `jti`."""
        issued = self._now() // SECOND
        common = {
            "iss": ISSUER,
            "sub": user.user_id,
            "username": user.username,
            "roles": list(user.roles),
            "permissions": list(permissions_of(user.roles)),
            "sid": session_id,
            "iat": issued,
        }
        access = {"use": _ACCESS, "jti": new_token_id(), "exp": issued + self._access}
        refresh = {"use": _REFRESH, "jti": refresh_id, "exp": issued + self.refresh_seconds}
        return TokenPair(
            access_token=self._encode(common | access),
            refresh_token=self._encode(common | refresh),
            expires_in=self._access,
        )

    def issue_ticket(self, principal: Principal) -> str:
        """What stands for a principal's session, or API key, where no header can be sent."""
        issued = self._now() // SECOND
        claims = {
            "iss": ISSUER,
            "sub": principal.user_id,
            "sid": principal.session_id or principal.key_id,
            "iat": issued,
            "use": _TICKET,
            "jti": new_token_id(),
            "exp": issued + self._access,
        }
        return self._encode(claims)

    def read_access(self, token: str) -> Claims:
        """The claims of an access token; UNAUTHORIZED for whatever else it may be."""
        return self._read(token, _ACCESS)

    def read_refresh(self, token: str) -> Claims:
        """The claims of a refresh token; UNAUTHORIZED for whatever else it may be."""
        return self._read(token, _REFRESH)

    def read_ticket(self, token: str) -> Claims:
        """The claims of a ticket; UNAUTHORIZED for whatever else it may be."""
        return self._read(token, _TICKET)

    def _encode(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def _read(self, token: str, use: str) -> Claims:
        if len(token) > _LONGEST:
            raise unauthorized("The token is not valid. Log in again.")
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                issuer=ISSUER,
                # Expiry is judged below, by the same clock that issued it; an `iat` slightly ahead
                # only tells of another server's clock.
                options={
                    "require": list(_OF_TICKET if use == _TICKET else _REQUIRED),
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise unauthorized("The token is not valid. Log in again.") from error
        issued, expires = claims["iat"], claims["exp"]
        subject, session = claims["sub"], claims["sid"]
        known = isinstance(session, str) and is_id(session)
        timed = type(expires) is int and type(issued) is int
        if not timed or not known or claims["use"] != use:
            raise unauthorized(_NOT_THIS[use])
        if expires * SECOND <= self._now():
            raise unauthorized(_EXPIRED[use])
        token_id = str(claims["jti"])
        return Claims(subject, session, token_id, issued * SECOND, expires * SECOND)


def unauthorized(message: str) -> SutazaiError:
    """The error of whoever is not known, or no longer."""
    return SutazaiError(ErrorCode.UNAUTHORIZED, message)


def new_token_id() -> str:
    """128 random bits."""
    return secrets.token_urlsafe(16)


def digest(secret: str) -> str:
    """SHA-256 in hex, for looking up random secrets that are not kept themselves."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
