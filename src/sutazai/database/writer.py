"""The one thread that writes to SQLite; units that wait together share a commit."""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from sutazai.database.standing import Signal, Standby, StandingLine
from sutazai.database.unit import (
    Lasts,
    Meter,
    Unit,
    database_error,
    forget,
    is_fault_of_unit,
    raisable,
    settle,
    take_lasts,
    take_signals,
    take_tallies,
    write_lasts,
)

_logger = structlog.get_logger(__name__)

T = TypeVar("T")
Signals = list[Signal]

_MOST_UNITS_PER_COMMIT = 64
# What a new connection may mend. The rest (full, busy, constraint …) is not the connection's.
_BROKEN = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_INTERNAL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)


def raw_connection(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection, for statements that are about transactions."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def translated(error: BaseException) -> BaseException:
    """What the unit's caller gets to see of an error."""
    if isinstance(error, DBAPIError | sqlite3.Error) and not is_fault_of_unit(error):
        return database_error(error)
    return raisable(error)


def _breaks_connection(error: BaseException) -> bool:
    """Whether the connection that raised this had better be replaced."""
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _BROKEN


class _Work(NamedTuple):
    unit: Unit[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class _Done(NamedTuple):
    work: _Work
    result: Any
    error: BaseException | None


class _Stood(NamedTuple):
    """A unit that stood by and was called; the result is None where it was undone."""

    standby: Standby
    result: Any


class _Left:
    """What the units of one transaction have left for its end and for after it."""

    def __init__(self) -> None:
        self.signals: dict[Signal, None] = {}
        self.tallies: Counter[tuple[str, ...]] = Counter()
        self.lasts: Lasts = {}

    def take(self, connection: Connection) -> None:
        """What the unit just run has left, which stands."""
        self.signals.update(dict.fromkeys(take_signals(connection)))
        self.tallies.update(take_tallies(connection))
        for write, items in take_lasts(connection).items():
            self.lasts.setdefault(write, []).extend(items)


class Writer:
    """Runs units one after the other, each as a transaction or as its part of a shared one."""

    def __init__(
        self,
        *,
        engine: Engine,
        tell: Callable[[Signals], None],
        standing: StandingLine,
        meter: Meter | None = None,
    ) -> None:
        """`tell` is called on the event loop with the signals of each commit.

        But for those that called a unit which stands by.
        """
        self._engine = engine
        self._tell = tell
        self._standing = standing
        self._meter = meter
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, unit: Unit[T]) -> asyncio.Future[T]:
        """Queue a unit; one whose future is cancelled before its turn never runs."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Work(unit, loop, future))
        return future

    def close(self) -> None:
        """Do what was submitted before, then end the thread; blocking."""
        self._queue.put(None)
        self._thread.join()

    # --- everything below runs on the thread

    def _run(self) -> None:
        while not self._closing:
            batch = self._next_batch()
            try:
                self._run_batch([work for work in batch if not work.future.cancelled()])
            except BaseException as error:  # nobody may wait for ever, and the thread lives on
                self._report([_Done(work, None, database_error(error)) for work in batch])
                self._disconnect()
        self._disconnect()

    def _next_batch(self) -> list[_Work]:
        """Wait for a unit; with it come those that wait already."""
        batch: list[_Work] = []
        work = self._queue.get()
        while work is not None:
            batch.append(work)
            if len(batch) == _MOST_UNITS_PER_COMMIT:
                return batch
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                return batch
        self._closing = True
        return batch

    def _run_batch(self, batch: list[_Work]) -> None:
        if len(batch) > 1 and self._run_together(batch):
            return
        # Alone; or the shared transaction was lost as a whole: apart, only the guilty unit fails.
        for work in batch:
            self._run_alone(work)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DBAPIError, sqlite3.Error):
                connection.close()

    def _run_alone(self, work: _Work, *, call: bool = True) -> None:
        begun = time.perf_counter()
        left = _Left()
        stood: list[_Stood] = []
        try:
            connection = self._connected()
            raw = raw_connection(connection)
            raw.execute("BEGIN IMMEDIATE")
            result = work.unit(connection)
            left.take(connection)
            if call:
                self._call_standing(connection, left, stood)
            write_lasts(connection, left.lasts)
            raw.execute("COMMIT")
        except BaseException as error:  # whatever the unit raises goes to its caller
            self._undo(error)
            if stood:
                self._tell_undone(stood)
                self._run_alone(work, call=False)
                return
            self._report([_Done(work, None, translated(error))])
        else:
            self._succeeded(begun, [_Done(work, result, None)], stood, left)

    def _run_together(self, batch: list[_Work]) -> bool:
        """One commit for all, each in a savepoint; False when the transaction was lost."""
        begun = time.perf_counter()
        done: list[_Done] = []
        left = _Left()
        stood: list[_Stood] = []
        try:
            connection = self._connected()
            raw = raw_connection(connection)
            raw.execute("BEGIN IMMEDIATE")
            for work in batch:
                result, error = self._run_within(connection, work.unit)
                if error is None:
                    left.take(connection)
                done.append(_Done(work, result, None if error is None else translated(error)))
            self._call_standing(connection, left, stood)
            write_lasts(connection, left.lasts)
            raw.execute("COMMIT")
        except BaseException as error:
            self._undo(error)
            self._tell_undone(stood)
            return False
        self._succeeded(begun, done, stood, left)
        return True

    def _run_within(
        self, connection: Connection, unit: Unit[Any]
    ) -> tuple[Any, BaseException | None]:
        """A unit's result, or the error it raised and was undone for; raises if all was."""
        raw = raw_connection(connection)
        raw.execute("SAVEPOINT unit")
        result, raised = None, None
        try:
            result = unit(connection)
        except BaseException as error:
            forget(connection)
            if not raw.in_transaction:  # SQLite gave all of it up
                raise
            raw.execute("ROLLBACK TO unit")
            raised = error
        raw.execute("RELEASE unit")
        return result, raised

    def _call_standing(self, connection: Connection, left: _Left, stood: list[_Stood]) -> None:
        """Run the units that stand by for the signals left, until none is called any more."""
        while (called := self._standing.call(left.signals)) is not None:
            standby, signals = called
            stood.append(_Stood(standby, None))  # in case it takes all else with it
            payloads = [payload for _, payload in signals]
            result, error = self._run_within(connection, partial(standby.unit, payloads))
            if error is None:
                for signal in signals:
                    del left.signals[signal]
                left.take(connection)
                stood[-1] = _Stood(standby, result)
            else:
                _logger.error("database.standby_undone", exc_info=error)

    def _succeeded(self, begun: float, done: list[_Done], stood: list[_Stood], left: _Left) -> None:
        # Counted before it is told, so that who was told finds it counted.
        if self._meter is not None:
            self._meter.committed(time.perf_counter() - begun, len(done) + len(stood))
            self._meter.add_tallies(left.tallies)
        self._report(done, list(left.signals), stood)

    def _tell_undone(self, stood: list[_Stood]) -> None:
        self._report([], None, [one._replace(result=None) for one in stood])

    def _undo(self, error: BaseException) -> None:
        """Leave no transaction behind, nor a connection that may be broken."""
        if self._connection is None:
            return
        try:
            forget(self._connection)
            raw = raw_connection(self._connection)
            if raw.in_transaction:
                raw.execute("ROLLBACK")
        except (DBAPIError, sqlite3.Error):
            self._disconnect()
        else:
            if _breaks_connection(error):
                self._disconnect()

    def _report(
        self,
        done: list[_Done],
        signals: Signals | None = None,
        stood: Sequence[_Stood] = (),
    ) -> None:
        """Hand results back, one wake-up per event loop and commit."""
        loops = {item.work.loop: None for item in done} | {one.standby.loop: None for one in stood}
        for loop in loops:
            its_stood = [one for one in stood if one.standby.loop is loop]
            items = [item for item in done if item.work.loop is loop]
            # A loop that was closed meanwhile has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._deliver, items, its_stood, signals or [])
                signals = None

    def _deliver(self, done: list[_Done], stood: list[_Stood], signals: Signals) -> None:
        if signals:
            self._tell(signals)
        # Before those who only learn that it is done: these have work to begin.
        for standby, result in stood:
            standby.tell(result)
        for item in done:
            settle(item.work.future, item.result, item.error)
