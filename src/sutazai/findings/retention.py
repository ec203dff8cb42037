"""What may be forgotten of reviews, where settings say so: with the tasks that made them."""

from sutazai import clock
from sutazai.database import Connection
from sutazai.findings import store


def purge_reviews(keep: int, connection: Connection) -> int:
    """Inside a unit: forget some reviews of more than `keep` µs ago; dismissals are kept."""
    return store.purge_reviews(connection, before=clock.now() - keep)
