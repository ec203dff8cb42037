"""What may be forgotten of workflows, where settings say so: with the tasks of their steps."""

from sutazai import clock
from sutazai.database import Connection
from sutazai.workflows import store


def purge_executions(keep: int, connection: Connection) -> int:
    """Inside a unit: forget some executions that ended more than `keep` µs ago; 0 when done.

    Deleted workflows go with the last of their executions.
    """
    return store.purge(connection, before=clock.now() - keep) or store.purge_deleted(connection)
