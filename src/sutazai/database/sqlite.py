"""SQLite: one writer thread that lets waiting units share a commit, and a few reader threads."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from sutazai.database.standing import Standby, StandingLine, StandingUnit
from sutazai.database.unit import Listener, Listeners, Meter, Unit, database_error
from sutazai.database.writer import Writer, raw_connection, translated

T = TypeVar("T")

_READERS = 3
# A unit that meets another process's write lock (the CLI's, a backup's) waits this long.
_BUSY_TIMEOUT_MS = 5_000


def sqlite_engine(path: Path, *, read_only: bool = False) -> Engine:
    """An engine whose connections are set up as the whole product wants them.

    Transactions are the caller's: the driver begins none by itself (`isolation_level=None`).
    """
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,  # errors are logged; hashes and sealed answers must not be
        connect_args={"check_same_thread": False, "cached_statements": 512},
    )

    @event.listens_for(engine, "connect")
    def _set_up(raw: sqlite3.Connection, _record: object) -> None:
        raw.isolation_level = None
        raw.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=ON")
        raw.execute("PRAGMA temp_store=MEMORY")
        raw.execute("PRAGMA cache_size=-16000")
        if read_only:
            raw.execute("PRAGMA query_only=ON")

    return engine


class SqliteDatabase:
    """A `Database` in one file, for one process."""

    dialect = "sqlite"

    def __init__(self, path: Path, *, meter: Meter | None = None) -> None:
        self._listeners = Listeners()
        self._closed = False
        self._read_engine = sqlite_engine(path, read_only=True)
        self._local = threading.local()
        self._read_connections: set[Connection] = set()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sqlite-reader")
        self._standing = StandingLine()
        self._writer = Writer(
            engine=sqlite_engine(path),
            tell=self._listeners.tell,
            standing=self._standing,
            meter=meter,
        )

    def listen(self, channel: str, listener: Listener) -> None:
        """See `Database.listen`; there is no other process to hear from."""
        self._listeners.add(channel, listener)

    def stand_by(
        self,
        channel: str,
        payloads: Iterable[str],
        unit: StandingUnit[T],
        told: Callable[[T | None], None],
    ) -> Standby:
        """See `Database.stand_by`."""
        return self._standing.join(channel, payloads, unit, told)

    async def run(self, unit: Unit[T]) -> T:
        """See `Database.run`."""
        self._check_open()
        return await self._writer.submit(unit)

    async def read(self, unit: Unit[T]) -> T:
        """See `Database.read`."""
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, unit)

    async def close(self) -> None:
        """See `Database.close`."""
        if not self._closed:
            self._closed = True
            # In a thread that finishes even where nobody waits for it any more.
            await asyncio.to_thread(self._close)

    def _check_open(self) -> None:
        if self._closed:
            raise database_error(RuntimeError("the database is closed"))

    def _close(self) -> None:
        self._writer.close()
        self._readers.shutdown()
        for connection in self._read_connections:
            connection.close()

    # --- reader threads

    def _read(self, unit: Unit[T]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        try:
            if connection is None:
                connection = self._local.connection = self._read_engine.connect()
                self._read_connections.add(connection)
            raw = raw_connection(connection)
            raw.execute("BEGIN")
            try:
                return unit(connection)
            finally:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
        except Exception as error:
            told = translated(error)
            if told is error:
                raise
            if connection is not None:
                self._replace(connection)
            raise told from error

    def _replace(self, connection: Connection) -> None:
        """Let this thread's next read open the file anew."""
        self._local.connection = None
        self._read_connections.discard(connection)
        with contextlib.suppress(DBAPIError, sqlite3.Error):
            connection.close()
