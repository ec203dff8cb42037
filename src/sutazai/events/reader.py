"""Following the log without missing what commits late.

Ids are taken before commits happen, so a reader may see event 7 while the transaction of event 6
is still open. The reader therefore releases ids one by one. At a gap it notes the snapshot's xmax:
whoever took the missing id had a transaction id below it (see `log._INSERT`). Once a later
snapshot's xmin has reached that mark, every such transaction has ended, and what is still missing
never comes.

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
    last_id: int
    ended_at_xmin: int


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
        newest, _, xmax = await database.read(log.newest_id)
        if database.dialect == "postgresql":
            looks = 0
            while await database.read(log.snapshot_xmin) < xmax:
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
        for event in page.events:
            if event.id != self.position + 1 and not self._may_pass(event.id - 1, page):
                break
            self.position = event.id
            released.append(event)
        return released

    def _may_pass(self, last_missing: int, page: log.Page) -> bool:
        gap = self._gap
        if gap is None or gap.last_id < last_missing:
            # A gap whose noted part has ended but which reaches further starts anew.
            self._gap = gap = _Gap(last_missing, page.xmax)
        if page.xmin < gap.ended_at_xmin:
            return False
        self._gap = None
        return True
