"""PostgreSQL over asyncpg: units in parallel, retried on conflicts, signals by LISTEN/NOTIFY."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sutazai.database.link import SignalLink
from sutazai.database.standing import Standby, StandingLine, StandingUnit
from sutazai.database.unit import (
    Listener,
    Listeners,
    Meter,
    Tallies,
    Unit,
    database_error,
    forget,
    is_fault_of_unit,
    take_lasts,
    take_signals,
    take_tallies,
    write_lasts,
)
from sutazai.errors import SutazaiError

T = TypeVar("T")

_TRIES = 5
# serialization_failure, deadlock_detected: PostgreSQL's own advice is to run the unit again.
_CONFLICTS = frozenset({"40001", "40P01"})
FAILURES = (
    DBAPIError,
    PoolTimeoutError,
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)
"""What a database out of order raises; the driver's own come unwrapped while it connects."""
_CLOSING_SECONDS = 10.0


def postgresql_engine(url: str, *, size: int) -> AsyncEngine:
    """An engine for `postgresql+asyncpg://` URLs (`postgresql://` is read as that)."""
    parsed = make_url(url).set(drivername="postgresql+asyncpg")
    return create_async_engine(
        parsed,
        pool_size=size,
        max_overflow=0,
        pool_timeout=10,
        hide_parameters=True,  # errors are logged; hashes and sealed answers must not be
        # Every unit ends its own transaction, so there is nothing to reset.
        pool_reset_on_return=None,
        connect_args={"timeout": 10, "server_settings": {"application_name": "sutazai"}},
    )


class PostgresqlDatabase:
    """A `Database` that several processes share."""

    dialect = "postgresql"

    def __init__(self, url: str, *, connections: int = 16, meter: Meter | None = None) -> None:
        self._engine = postgresql_engine(url, size=connections)
        self._meter = meter
        self._listeners = Listeners()
        self._link = SignalLink(url=url, listeners=self._listeners, origin=secrets.token_hex(8))
        self._standing = StandingLine()
        self._in_use = 0
        self._unused = asyncio.Event()
        self._closed = False

    def listen(self, channel: str, listener: Listener) -> None:
        """See `Database.listen`."""
        self._listeners.add(channel, listener)
        self._link.start()

    def stand_by(
        self,
        channel: str,
        payloads: Iterable[str],
        unit: StandingUnit[T],
        told: Callable[[T | None], None],
    ) -> Standby:
        """See `Database.stand_by`; no unit is called here: its locks would come out of order."""
        return self._standing.join(channel, payloads, unit, told)

    async def run(self, unit: Unit[T]) -> T:
        """See `Database.run`."""
        with self._used():
            attempt = 0
            while True:
                attempt += 1
                try:
                    return await self._run_once(unit)
                except _Failure as failure:
                    if attempt == _TRIES or not failure.may_run_again:
                        raise failure.told from failure.cause
                await asyncio.sleep(_pause(attempt))

    async def read(self, unit: Unit[T]) -> T:
        """See `Database.read`."""
        with self._used():
            attempt = 0
            while True:
                attempt += 1
                try:
                    async with self._engine.connect() as plain:
                        # Both travel with BEGIN, and the pool takes them back by itself.
                        connection = await plain.execution_options(
                            isolation_level="REPEATABLE READ", postgresql_readonly=True
                        )
                        async with connection.begin():
                            return await connection.run_sync(unit)
                except FAILURES as error:
                    if is_fault_of_unit(error):
                        raise
                    failure = _Failure(error, committing=False)
                    if attempt == _TRIES or not failure.may_run_again:
                        raise failure.told from error
                await asyncio.sleep(_pause(attempt))

    async def close(self) -> None:
        """See `Database.close`."""
        if self._closed:
            return
        self._closed = True
        self._unused.clear()
        if self._in_use:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSING_SECONDS):
                    await self._unused.wait()
        await self._link.close()
        await self._engine.dispose()

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        if self._closed:
            raise database_error(RuntimeError("the database is closed"))
        self._in_use += 1
        try:
            yield
        finally:
            self._in_use -= 1
            if not self._in_use:
                self._unused.set()

    async def _run_once(self, unit: Unit[T]) -> T:
        """One attempt; _Failure when the database failed it."""
        signals: list[tuple[str, str]] = []
        committing = False
        begun = time.perf_counter()
        try:
            async with self._engine.connect() as connection, connection.begin():
                result, signals, tallies = await _run(connection, unit)
                committing = True
            if self._meter is not None:
                self._meter.committed(time.perf_counter() - begun, 1)
                self._meter.add_tallies(tallies)
            return result
        except FAILURES as error:
            if is_fault_of_unit(error):
                raise
            raise _Failure(error, committing=committing) from error
        finally:
            # Also where the answer to COMMIT was lost, or whoever asked was cancelled meanwhile: a
            # signal too many does no harm.
            if signals:
                self._listeners.tell(signals)
                self._link.send(signals)


async def _run(
    connection: AsyncConnection, unit: Unit[T]
) -> tuple[T, list[tuple[str, str]], Tallies]:
    def with_signals(sync: Connection) -> tuple[T, list[tuple[str, str]], Tallies]:
        # Left behind where an earlier unit of this connection failed.
        forget(sync)
        result = unit(sync)
        write_lasts(sync, take_lasts(sync))
        return result, take_signals(sync), take_tallies(sync)

    return await connection.run_sync(with_signals)


def _pause(attempt: int) -> float:
    """Seconds before the next attempt: 10, 20, 40, 80 ms."""
    return 0.005 * 2.0**attempt


class _Failure(Exception):
    """The database failed an attempt at a unit."""

    def __init__(self, cause: BaseException, *, committing: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self._committing = committing

    @property
    def told(self) -> SutazaiError:
        """What the caller of the unit gets to see."""
        return database_error(self.cause, committing=self._committing and not self._is_conflict)

    @property
    def may_run_again(self) -> bool:
        """Whether the unit surely did not commit, and running it again may help."""
        if self._is_conflict:
            return True
        # A pooled connection that died while idle; once COMMIT was sent its fate is unknown.
        lost = isinstance(self.cause, DBAPIError) and self.cause.connection_invalidated
        return lost and not self._committing

    @property
    def _is_conflict(self) -> bool:
        return getattr(getattr(self.cause, "orig", None), "sqlstate", None) in _CONFLICTS
