"""Reading the log by cursor, each reader seeing what it may."""

from sutazai.database import Connection, Database
from sutazai.events import log
from sutazai.events.hub import EventHub
from sutazai.events.model import EventPage

# A reader who may see little must not make one request scan the whole log.
_MOST_PASSED_OVER = 50_000


class EventFeed:
    """Pages of events, in id order."""

    def __init__(self, *, database: Database, hub: EventHub) -> None:
        self._database = database
        self._hub = hub

    async def after(
        self, cursor: int, *, limit: int, resources: frozenset[str] | None, owner: str
    ) -> EventPage:
        """Events after a cursor about these resources (None: all) or of this owner.

        `next_after` is where to go on, also when nothing of it was for this reader.
        """
        settled = await self._hub.settled_position()

        def unit(connection: Connection) -> EventPage:
            # What was purged needs no passing over, page by empty page.
            start = max(cursor, min((log.oldest_id(connection) or 1) - 1, settled))
            end = max(start, min(settled, start + _MOST_PASSED_OVER))
            events = log.read_settled(
                connection, after=start, up_to=end, limit=limit, resources=resources, owner=owner
            )
            full = len(events) == limit
            return EventPage(
                events, events[-1].id if full else end, at_end=not full and end >= settled
            )

        return await self._database.read(unit)

    async def bounds(self) -> tuple[int, int]:
        """The oldest id that is kept and the newest given out; an empty log has (1, 0)."""

        def unit(connection: Connection) -> tuple[int, int]:
            newest = log.newest_id(connection)
            return log.oldest_id(connection) or newest + 1, newest

        return await self._database.read(unit)
