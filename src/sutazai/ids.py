"""Identifiers: time-ordered UUIDs for tasks, prefixed random ones for the rest."""

import secrets

from uuid_utils import compat

# Every byte becomes one of 32 letters, each as likely as the others.
_LETTERS = b"0123456789abcdefghjkmnpqrstvwxyz" * 8


def new_uuid() -> str:
    """A UUID version 7 in its usual text form; later ones sort after earlier ones."""
    return str(compat.uuid7())


def new_id(prefix: str) -> str:
    """A random id such as `req-4k2j…`: 20 characters of a 32 letter alphabet, 100 bits."""
    return f"{prefix}-{secrets.token_bytes(20).translate(_LETTERS).decode()}"


def made_at(uuid: str) -> int:
    """When a UUID of `new_uuid` was made (microseconds, true to the millisecond)."""
    return int(uuid[:8] + uuid[9:13], 16) * 1000
