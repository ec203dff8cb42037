"""Units that stand by: run within the very transaction that sends a signal they wait for."""

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection

_logger = structlog.get_logger(__name__)

T = TypeVar("T")
Signal = tuple[str, str]
StandingUnit = Callable[[Sequence[str], Connection], T]
"""A unit that stands by is also given the payloads of the signals which called it."""


class Standby:
    """One unit that stands by, until it has run once or is withdrawn; see `Database.stand_by`."""

    def __init__(
        self,
        line: "StandingLine",
        signals: Sequence[Signal],
        unit: StandingUnit[Any],
        told: Callable[[Any], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.signals = signals
        self.unit = unit
        self._line = line
        self._told = told
        self._over = asyncio.Event()

    async def withdraw(self) -> None:
        """Stand by no more; if it is being run at this moment, its owner has been told after this.

        On the event loop.
        """
        if self._line.drop(self):
            self._over.set()
        await self._over.wait()

    def tell(self, result: Any) -> None:
        """It has run and is on the disk, or (None) was undone; on the event loop."""
        self._over.set()
        try:
            self._told(result)
        except Exception:  # the commit stands, and others are to hear of it
            _logger.exception("database.standby_failed")


class Called(NamedTuple):
    """A unit that one of its signals was sent for, and all of them that were."""

    standby: Standby
    signals: list[Signal]


class StandingLine:
    """Those that stand by, by signal, first come first served; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_signal: dict[Signal, dict[Standby, None]] = {}

    def join(
        self,
        channel: str,
        payloads: Iterable[str],
        unit: StandingUnit[T],
        told: Callable[[T | None], None],
    ) -> Standby:
        """Let a unit stand by, at the end; on the event loop."""
        standby = Standby(self, [(channel, payload) for payload in payloads], unit, told)
        with self._lock:
            for signal in standby.signals:
                self._by_signal.setdefault(signal, {})[standby] = None
        return standby

    def drop(self, standby: Standby) -> bool:
        """Leave; False for one that does not stand there any more."""
        with self._lock:
            return self._drop(standby)

    def call(self, signals: Collection[Signal]) -> Called | None:
        """Take the first of those that wait for one of these."""
        if not self._by_signal:
            return None
        with self._lock:
            for signal in signals:
                waiting = self._by_signal.get(signal)
                if waiting:
                    standby = next(iter(waiting))
                    self._drop(standby)
                    return Called(standby, [one for one in standby.signals if one in signals])
        return None

    def _drop(self, standby: Standby) -> bool:
        there = False
        for signal in standby.signals:
            waiting = self._by_signal.get(signal)
            if waiting is not None and standby in waiting:
                there = True
                del waiting[standby]
                if not waiting:
                    del self._by_signal[signal]
        return there
