"""The one thread that writes to SQLite; units that wait together share a commit."""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from sutazai.database.unit import (
    Lasts,
    Meter,
    Tallies,
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

T = TypeVar("T")
Signals = list[tuple[str, str]]

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


class Writer:
    """Runs units one after the other, each as a transaction or as its part of a shared one."""

    def __init__(
        self, *, engine: Engine, tell: Callable[[Signals], None], meter: Meter | None = None
    ) -> None:
        """`tell` is called on the event loop with the signals of each commit."""
        self._engine = engine
        self._tell = tell
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

    def _run_alone(self, work: _Work) -> None:
        begun = time.perf_counter()
        try:
            connection = self._connected()
            raw = raw_connection(connection)
            raw.execute("BEGIN IMMEDIATE")
            result = work.unit(connection)
            write_lasts(connection, take_lasts(connection))
            raw.execute("COMMIT")
        except BaseException as error:  # whatever the unit raises goes to its caller
            self._undo(error)
            self._report([_Done(work, None, translated(error))])
        else:
            # Counted before it is told, so that who was told finds it counted.
            self._measure(begun, 1, take_tallies(connection))
            self._report([_Done(work, result, None)], take_signals(connection))

    def _run_together(self, batch: list[_Work]) -> bool:
        """One commit for all, each in a savepoint; False when the transaction was lost."""
        begun = time.perf_counter()
        done: list[_Done] = []
        signals: dict[tuple[str, str], None] = {}
        tallies: Counter[tuple[str, ...]] = Counter()
        lasts: Lasts = {}
        try:
            connection = self._connected()
            raw = raw_connection(connection)
            raw.execute("BEGIN IMMEDIATE")
            for work in batch:
                raw.execute("SAVEPOINT unit")
                try:
                    result = work.unit(connection)
                except BaseException as error:
                    forget(connection)
                    if not raw.in_transaction:  # SQLite gave all of it up
                        raise
                    raw.execute("ROLLBACK TO unit")
                    done.append(_Done(work, None, translated(error)))
                else:
                    signals.update(dict.fromkeys(take_signals(connection)))
                    tallies.update(take_tallies(connection))
                    for write, items in take_lasts(connection).items():
                        lasts.setdefault(write, []).extend(items)
                    done.append(_Done(work, result, None))
                raw.execute("RELEASE unit")
            write_lasts(connection, lasts)
            raw.execute("COMMIT")
        except BaseException as error:
            self._undo(error)
            return False
        self._measure(begun, len(batch), tallies)
        self._report(done, list(signals))
        return True

    def _measure(self, begun: float, units: int, tallies: Tallies) -> None:
        if self._meter is not None:
            self._meter.committed(time.perf_counter() - begun, units)
            self._meter.add_tallies(tallies)

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

    def _report(self, done: list[_Done], signals: Signals | None = None) -> None:
        """Hand results back, one wake-up per event loop and commit."""
        by_loop: dict[asyncio.AbstractEventLoop, list[_Done]] = {}
        for item in done:
            by_loop.setdefault(item.work.loop, []).append(item)
        for loop, items in by_loop.items():
            # A loop that was closed meanwhile has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._deliver, items, signals or [])
                signals = None

    def _deliver(self, done: list[_Done], signals: Signals) -> None:
        for item in done:
            settle(item.work.future, item.result, item.error)
        if signals:
            self._tell(signals)
