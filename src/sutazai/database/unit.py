"""The unit of work: a plain function over a connection, run as one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.util import await_only

from sutazai.database.standing import Standby, StandingUnit
from sutazai.errors import ErrorCode, SutazaiError

_logger = structlog.get_logger(__name__)

T = TypeVar("T")
Unit = Callable[[Connection], T]
"""Reads and writes through the connection and returns a value; pure but for its SQL, because it
may be run again. It neither commits nor rolls back: raising undoes it."""

Listener = Callable[[str], None]
"""Called on the event loop with a signal's payload, after the commit that carried it.

An empty payload also comes when signals may have been lost: whatever they would have said may be.
"""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)
"""Every store's tables; the migrations are tested against it."""

_SIGNALS = "sutazai_signals"
_TALLIES = "sutazai_tallies"
_LASTS = "sutazai_lasts"

Tallies = Mapping[tuple[str, ...], int]
"""How much was counted under each (name, label, …)."""


class Meter(Protocol):
    """Who wants to know what was committed; called from any thread, and must not raise."""

    def committed(self, seconds: float, units: int) -> None:
        """A transaction of so many units took so long, its commit included."""
        ...

    def add_tallies(self, tallies: Tallies) -> None:
        """Committed units counted this; see `tally`."""
        ...


class Database(Protocol):
    """One database behind one interface, whichever it is.

    Every method raises SutazaiError with DATABASE_ERROR when the database fails. What a unit itself
    raises comes through unchanged, with the unit undone; so does the IntegrityError of a constraint
    that it broke.
    """

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        ...

    async def run(self, unit: Unit[T]) -> T:
        """Run the unit as one transaction; when this returns, it is on the disk."""
        ...

    async def read(self, unit: Unit[T]) -> T:
        """Run a unit that only reads, on one snapshot, without waiting for writers."""
        ...

    def listen(self, channel: str, listener: Listener) -> None:
        """Call the listener for every committed signal on the channel, from any process.

        Signals are hints: keep a slow poll under them. After a break in the connection that brings
        those of other processes, every listener is called once with an empty payload.
        """
        ...

    def stand_by(
        self,
        channel: str,
        payloads: Iterable[str],
        unit: StandingUnit[T],
        told: Callable[[T | None], None],
    ) -> Standby:
        """Have a unit run within the very transaction that sends one of these signals, once.

        It runs as if it came right after, undone alone if it fails. It answers for the signals that
        called it: no listener hears of them unless it sends them again. `told` is called on the
        event loop once that is on the disk; with None if it was undone, so its owner looks itself.

        Only a short cut, which PostgreSQL does not have: listen to the signals all the same.
        """
        ...

    async def close(self) -> None:
        """Finish what was begun, then let go of every connection."""
        ...


def signal(connection: Connection, channel: str, payload: str = "") -> None:
    """Tell the channel's listeners once this unit has committed; nothing if it is undone."""
    connection.info.setdefault(_SIGNALS, {})[(channel, payload)] = None


def take_signals(connection: Connection) -> list[tuple[str, str]]:
    """The signals of the unit just run, in order, each once; clears them."""
    return list(connection.info.pop(_SIGNALS, ()))


def tally(connection: Connection, name: str, *labels: str, by: int = 1) -> None:
    """Count something for telemetry once this unit has committed; nothing if it is undone.

    The names, and how many labels each has, are in `sutazai.telemetry.instruments.TALLIES`.
    """
    tallies: dict[tuple[str, ...], int] = connection.info.setdefault(_TALLIES, {})
    key = (name, *labels)
    tallies[key] = tallies.get(key, 0) + by


def take_tallies(connection: Connection) -> dict[tuple[str, ...], int]:
    """What the unit just run has counted; clears it."""
    taken: dict[tuple[str, ...], int] = connection.info.pop(_TALLIES, None) or {}
    return taken


Last = Callable[[Connection, Sequence[Any]], None]
"""Writes, at the end of a transaction, what `at_the_end` was given for it."""
Lasts = dict[Last, list[Any]]


def at_the_end(
    connection: Connection, write: Callable[[Connection, Sequence[T]], None], items: Iterable[T]
) -> None:
    """Have `write` called with all of these items, if any, once, when the transaction ends.

    For rows that everybody counts in. They are locked last, in one order, and not for long; and
    units that share a commit write them once.
    """
    if given := list(items):
        lasts: Lasts = connection.info.setdefault(_LASTS, {})
        lasts.setdefault(write, []).extend(given)


def take_lasts(connection: Connection) -> Lasts:
    """What the unit just run has left for the end; clears it."""
    taken: Lasts = connection.info.pop(_LASTS, None) or {}
    return taken


def write_lasts(connection: Connection, lasts: Lasts) -> None:
    """Write it, in the same order in every transaction."""
    for write in sorted(lasts, key=lambda one: (one.__module__, one.__qualname__)):
        write(connection, lasts[write])


def forget(connection: Connection) -> None:
    """Clear what a unit has left that is undone."""
    take_signals(connection)
    take_tallies(connection)
    take_lasts(connection)


def aside(connection: Connection, work: Callable[[], T]) -> T:
    """What `work` returns, which computes for a while, without the connection.

    Units of PostgreSQL run on the event loop, and there it is done on a thread meanwhile.
    """
    if connection.dialect.is_async:
        return await_only(asyncio.to_thread(work))
    return work()


_FULL = ("its disk is full", "make room there, then try again")
_SILENT = ("it did not answer as it should", "try again, and see the server's log if it lasts")
_UNCHANGED = "Nothing was changed"
_UNKNOWN = "Whether the change was made is not known, so look first"

# Classes of SQLSTATE: bad data, broken constraint, wrong or forbidden statement.
_FAULTS_OF_THE_UNIT = ("22", "23", "42")


def is_fault_of_unit(error: BaseException) -> bool:
    """Whether a unit asked for what cannot be, while the database works."""
    if not isinstance(error, DBAPIError) or error.connection_invalidated:
        return False
    if isinstance(error, IntegrityError | DataError | ProgrammingError):
        return True
    state = getattr(error.orig, "sqlstate", None)
    return isinstance(state, str) and state.startswith(_FAULTS_OF_THE_UNIT)


class StepFailed(Exception):
    """A step of a unit raised and was undone; the cause tells what."""


def step(connection: Connection, work: Callable[[], T]) -> T:
    """Do part of a unit so that its failure leaves the rest standing: StepFailed, then go on.

    When it is the database that fails, the unit is lost as ever.
    """
    counted = dict(connection.info.get(_TALLIES, ()))
    left = {write: list(items) for write, items in connection.info.get(_LASTS, {}).items()}
    try:
        with connection.begin_nested():
            return work()
    except Exception as error:
        if isinstance(error, DBAPIError) and not is_fault_of_unit(error):
            raise
        connection.info[_TALLIES] = counted
        connection.info[_LASTS] = left
        raise StepFailed from error


def database_error(cause: BaseException, *, committing: bool = False) -> SutazaiError:
    """What the caller sees of a failing database: that it failed, not its internals.

    `committing`: it failed when the commit was already on its way, so its fate is open.
    """
    original = cause.orig if isinstance(cause, DBAPIError) else cause
    full = "full" in str(original) or getattr(original, "sqlstate", None) == "53100"
    problem, remedy = _FULL if full else _SILENT
    error = SutazaiError(
        ErrorCode.DATABASE_ERROR,
        f"The database could not do this: {problem}. "
        f"{_UNKNOWN if committing else _UNCHANGED}; {remedy}.",
        retry_after=1,
    )
    error.__cause__ = cause
    return error


class Listeners:
    """The listeners of one process, by channel."""

    def __init__(self) -> None:
        self._by_channel: dict[str, list[Listener]] = {}

    def add(self, channel: str, listener: Listener) -> None:
        """Register for the life of the database."""
        self._by_channel.setdefault(channel, []).append(listener)

    def tell(self, signals: Iterable[tuple[str, str]]) -> None:
        """Deliver; runs on the event loop."""
        for channel, payload in signals:
            for listener in self._by_channel.get(channel, ()):
                try:
                    listener(payload)
                except Exception:  # the commit stands, and the others are to hear of it
                    _logger.exception("database.listener_failed", channel=channel)

    def tell_all(self) -> None:
        """Tell everybody that signals may have been lost."""
        self.tell([(channel, "") for channel in self._by_channel])


def settle(future: asyncio.Future[T], result: T | None, error: BaseException | None) -> None:
    """Resolve a future whose owner may have stopped waiting."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)  # type: ignore[arg-type]  # T may be None itself


def raisable(error: BaseException) -> BaseException:
    """An error that a future can hold: StopIteration, alone of all, it refuses."""
    if not isinstance(error, StopIteration):
        return error
    stopped = RuntimeError("the unit raised StopIteration")
    stopped.__cause__ = error
    return stopped
