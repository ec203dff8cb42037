"""Following the log without missing what commits late.

Ids are taken before commits happen, so a reader may see event 7 while the transaction of event 6
is still open. The reader therefore releases ids one by one. At a gap it takes a transaction id of
its own as a mark: whoever took a missing id had a transaction id before (see `log._INSERT`), so a
lower one. Once a later snapshot's xmin has reached the mark, every such transaction has ended, and
what is still missing never comes. A snapshot's xmax is no such mark: it lies above the newest
transaction that has ended, not above those that run.

xmin does not know whose transaction writes events, so any that stays open holds up a gap.
"""

import asyncio
from typing import NamedTuple

import structlog

from sutazai.database import Database
from sutazai.events import log
from sutazai.events.model import Event

_SETTLING_PAUSE = 0.02
# Looks in vain before the log tells what is wrong: about 5 s.
_PATIENCE = 250

_logger = structlog.get_logger(__name__)


class _Gap(NamedTuple):
    """What was missing below an id that was there; the mark is taken at the next look."""

    below: int
    mark: int | None


class SettledReader:
    """Hands out every event once, in id order, from a starting id on."""

    def __init__(self, database: Database, *, after: int) -> None:
        self._database = database
        self._gap: _Gap | None = None
        self.position = after
        """Every id up to this one has been handed out or will never exist."""

    @classmethod
    async def at_the_end(cls, database: Database) -> "SettledReader":
        """A reader of what comes from now on; returns once everything before it is settled."""
        newest = await database.read(log.newest_id)
        if database.dialect == "postgresql":
            mark = await database.read(log.transaction_id)
            looks = 0
            while await database.read(log.snapshot_xmin) < mark:
                looks += 1
                if looks == _PATIENCE:
                    _logger.warning("events.waiting_for_open_transaction", see="pg_stat_activity")
                await asyncio.sleep(_SETTLING_PAUSE)  # nothing tells when those of others end
        return cls(database, after=newest)

    @property
    def waits_at_gap(self) -> bool:
        """Whether events are there that cannot be released yet."""
        return self._gap is not None

    async def next(self, *, limit: int = 1_000) -> list[Event]:
        """The events that can be released now, perhaps none."""
        if self._gap is not None and self._gap.mark is None:
            mark = await self._database.read(log.transaction_id)
            self._gap = self._gap._replace(mark=mark)
        page = await self._database.read(
            lambda connection: log.read_unsettled(connection, after=self.position, limit=limit)
        )
        if self._database.dialect == "sqlite":
            if page.events:
                self.position = page.events[-1].id
            return page.events
        return self._settle(page)

    def _settle(self, page: log.Page) -> list[Event]:
        released: list[Event] = []
        gap, self._gap = self._gap, None
        for event in page.events:
            if event.id != self.position + 1:
                noted = gap if gap is not None and event.id <= gap.below else None
                if noted is None or noted.mark is None or page.xmin < noted.mark:
                    # One mark serves for all that is missing below the newest id there was.
                    self._gap = noted or _Gap(page.events[-1].id, None)
                    break
            self.position = event.id
            released.append(event)
        return released
