"""The secrets that users' callbacks are signed with, sealed at rest."""

import base64
import contextlib
import secrets
from functools import partial

from sutazai.callbacks import store
from sutazai.callbacks.model import NewSecret
from sutazai.clock import SECOND
from sutazai.database import Connection, StepFailed, step
from sutazai.errors import SutazaiError
from sutazai.limits.sealer import Sealer

OVERLAP = 24 * 3600 * SECOND
"""How long (µs) the secret before signs beside the new one after a rotation."""

_BYTES = 32


class Secrets:
    """One secret a user, made when it is first needed and replaced when the user asks."""

    def __init__(self, *, secret: bytes) -> None:
        """`secret` is the server's; whoever has only the database cannot sign."""
        self._sealer = Sealer(
            secret,
            purpose=b"sutazai callback secret",
            lost="The secret that signs your callbacks can no longer be read, because the server's "
            "own secret was changed. Make a new one with POST /callbacks/secret.",
        )

    def rotate(self, connection: Connection, user_id: str, *, now: int) -> NewSecret:
        """Inside a unit: a new secret; the one before, if there is one, signs for another day."""
        secret = _new_secret()
        sealed = self._sealer.seal(secret.encode())
        until = now + OVERLAP
        rotate = partial(
            store.rotate_secret, connection, user_id, sealed, previous_until=until, now=now
        )
        # Tried again after an insert that found itself too late.
        rotated = rotate() or (
            not store.add_secret(connection, user_id, sealed, now=now) and rotate()
        )
        return NewSecret(secret=secret, created_at=now, previous_until=until if rotated else None)

    def ensure(self, connection: Connection, user_id: str, *, now: int) -> bool:
        """Inside a unit: see to it that a user has a secret; False where there is no such user."""
        sealed = self._sealer.seal(_new_secret().encode())
        try:
            step(connection, partial(store.add_secret, connection, user_id, sealed, now=now))
        except StepFailed:
            return False
        return True

    def signing(self, connection: Connection, user_id: str, *, now: int) -> list[str]:
        """Inside a unit: what to sign with, newest first; none for a user that has none yet.

        CONFLICT where the server's own secret was changed.
        """
        kept = store.sealed(connection, user_id)
        if kept is None:
            return []
        found = [self._sealer.open(kept.secret).decode()]
        if kept.previous is not None and (kept.previous_until or 0) > now:
            with contextlib.suppress(SutazaiError):  # replaced because it cannot be read
                found.append(self._sealer.open(kept.previous).decode())
        return found


def _new_secret() -> str:
    """As Standard Webhooks write one: `whsec_` and base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_BYTES)).decode()
