"""Idempotency-Key: a request that is sent again gets the answer of the first time.

Per draft-ietf-httpapi-idempotency-key-header-08: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import msgspec

from sutazai import clock
from sutazai.clock import SECOND
from sutazai.database import Connection
from sutazai.errors import ErrorCode, SutazaiError, invalid
from sutazai.limits import store
from sutazai.limits.sealer import Sealer
from sutazai.limits.store import Kept

T = TypeVar("T")

HEADER = "Idempotency-Key"
KEPT = 24 * 3600 * SECOND
"""How long an answer is kept at least, in microseconds."""
LONGEST_KEY = 255

_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(r"[!#-\[\]-~]+")


def parse_key(header: str) -> str:
    """The key in a header's value: a structured-field string, or bare as most clients send it.

    VALIDATION_ERROR where it is neither, empty, or over 255 characters.
    """
    text = header.strip(" \t")
    quoted = _QUOTED.fullmatch(text)
    if quoted:
        key = re.sub(r'\\(["\\])', r"\1", quoted[1])
    elif _BARE.fullmatch(text):
        key = text
    else:
        raise invalid(
            HEADER,
            'Must be a quoted string of printable ASCII, such as "8e03978e-40d5", or the same '
            "without quotes and spaces.",
        )
    if not 1 <= len(key) <= LONGEST_KEY:
        raise invalid(HEADER, f"Must have 1 to {LONGEST_KEY} characters.")
    return key


class Claim(NamedTuple):
    """What a request claims to be: one operation (as a digest), with one body (as a digest)."""

    claim_id: str
    body_digest: str


class Once(NamedTuple, Generic[T]):
    """A value, and whether it was made by an earlier request."""

    value: T
    replayed: bool


class Idempotency:
    """Answers kept in the transaction that makes them, so that both are there or neither.

    `secret` is the server's; bodies may hold passwords, so even their digests are keyed with it.
    """

    def __init__(self, *, secret: bytes, now: Callable[[], int] = clock.now) -> None:
        self._now = now
        self._mac_key = hmac.digest(secret, b"sutazai idempotency body", "sha256")
        self._sealer = Sealer(
            secret,
            purpose=b"sutazai idempotency answer",
            lost="The first answer under this Idempotency-Key can no longer be read, because the "
            "server's secret was changed. Use a new key.",
        )

    def claim(
        self, header: str | None, *, principal: str, method: str, path: str, body: bytes
    ) -> Claim | None:
        """The claim of a request; None without the header, VALIDATION_ERROR for a wrong one.

        `principal` names who asks. Where nobody is known yet it must still tell callers apart, such
        as `login:<username>`, or one caller's key would meet another's.
        """
        if header is None:
            return None
        scope = msgspec.json.encode((principal, method, path, parse_key(header)))
        body_digest = hmac.digest(self._mac_key, body, "sha256").hex()
        return Claim(hashlib.sha256(scope).hexdigest(), body_digest)

    def once(
        self,
        connection: Connection,
        claim: Claim | None,
        type_: type[T],
        make: Callable[[], T],
        *,
        seal: bool = False,
    ) -> Once[T]:
        """Inside a unit: make a value of `type_` and keep it as JSON, or hand out the one kept.

        With `seal` it is kept encrypted: for values that hold a secret. What `make` raises is not
        kept. VALIDATION_ERROR where the key came with another body; CONFLICT where the first
        request is still running in another transaction.
        """
        if claim is None:
            return Once(make(), False)
        alone = store.hold(connection, claim.claim_id)
        kept = store.find(connection, claim.claim_id)
        if kept is not None:
            return Once(self._opened(kept, claim, type_), True)
        if not alone:
            raise SutazaiError(
                ErrorCode.CONFLICT,
                f"The first request with this {HEADER} is still running. Send it again in a "
                "second to get its answer.",
                retry_after=1,
            )
        value = make()
        text = msgspec.json.encode(value)
        shown = self._sealer.seal(text) if seal else text.decode()
        store.keep(
            connection,
            claim.claim_id,
            Kept(claim.body_digest, shown, seal),
            now=self._now(),
        )
        return Once(value, False)

    def replayable(self, claim: Claim | None, *, seal: bool = False) -> "Replayable":
        """`once` for one request, for services that take it as a function."""
        return Replayable(self, claim, seal=seal)

    def purge(self, connection: Connection) -> int:
        """Inside a unit: forget some of the answers older than `KEPT`; how many, 0 when done."""
        return store.purge(connection, before=self._now() - KEPT)

    def _opened(self, kept: Kept, claim: Claim, type_: type[T]) -> T:
        if not hmac.compare_digest(kept.body_digest, claim.body_digest):
            raise invalid(
                HEADER,
                "This key was used for a request with another body. Use a new key for a new "
                "request.",
            )
        text = self._sealer.open(kept.value) if kept.sealed else kept.value.encode()
        return msgspec.json.decode(text, type=type_)


class Replayable:
    """Calls `Idempotency.once` for one request and remembers whether its answer was a replay."""

    def __init__(self, idempotency: Idempotency, claim: Claim | None, *, seal: bool) -> None:
        self._idempotency = idempotency
        self._claim = claim
        self._seal = seal
        self._refusal: SutazaiError | None = None
        self.replayed = False

    def refuse(self, error: SutazaiError) -> None:
        """From now on hand out what is kept, and raise this instead of making anything new."""
        self._refusal = error

    def __call__(self, connection: Connection, type_: type[T], make: Callable[[], T], /) -> T:
        """The value, made now or kept from the first time."""

        def unless_refused() -> T:
            if self._refusal is not None:
                raise self._refusal
            return make()

        value, self.replayed = self._idempotency.once(
            connection, self._claim, type_, unless_refused, seal=self._seal
        )
        return value
