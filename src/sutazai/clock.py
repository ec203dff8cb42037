"""Time as the server keeps it: integer microseconds since the Unix epoch, UTC."""

import time
from datetime import UTC, datetime, timedelta

SECOND = 1_000_000
"""One second in the unit of every stored time."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NAIVE = _EPOCH.replace(tzinfo=None)


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def to_iso(moment: int) -> str:
    """RFC 3339 with a `Z`, to the microsecond where there is one: `2026-08-05T10:00:00.250000Z`."""
    return f"{(_EPOCH_NAIVE + timedelta(microseconds=moment)).isoformat()}Z"


def from_datetime(moment: datetime) -> int:
    """Microseconds of an aware datetime; a naive one is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)
