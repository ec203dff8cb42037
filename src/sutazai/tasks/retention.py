"""What may be forgotten: cached results nobody asks for, and tasks where settings say so."""

from sutazai import clock
from sutazai.database import Connection
from sutazai.tasks import cache_store, retention_store

_CACHE_KEPT = 30 * 24 * 3600 * clock.SECOND


def purge_cache(connection: Connection) -> int:
    """Inside a unit: forget some cached results unused for 30 days; how many, 0 when done."""
    return cache_store.purge(connection, before=clock.now() - _CACHE_KEPT)


def purge_tasks(keep: int, connection: Connection) -> int:
    """Inside a unit: forget some tasks that ended more than `keep` µs ago, with all of theirs."""
    return retention_store.remove_ended(connection, before=clock.now() - keep)
