"""A unit that stands by runs in the transaction that sends its signal, where the database can."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from sutazai.database import Connection, Database, at_the_end, open_database, signal
from sutazai.database.unit import Tallies

PATIENCE = 20.0
CHANNEL = "test"


class Commits:
    """How many units each commit held."""

    def __init__(self) -> None:
        self.units: list[int] = []

    def committed(self, seconds: float, units: int) -> None:
        self.units.append(units)

    def add_tallies(self, tallies: Tallies) -> None:
        pass


class Board:
    """Notes of units, which are there only if they were committed; and what listeners heard."""

    def __init__(self, database: Database, path: Path) -> None:
        self.database = database
        self.heard: list[str] = []
        self._path = path
        database.listen(CHANNEL, self.heard.append)

    async def prepare(self) -> None:
        await self.database.run(
            lambda connection: connection.exec_driver_sql("CREATE TABLE notes (note TEXT)").close()
        )

    def notes(self) -> list[str]:
        reader = sqlite3.connect(self._path)
        try:
            return [row[0] for row in reader.execute("SELECT note FROM notes ORDER BY rowid")]
        finally:
            reader.close()

    async def send(self, *payloads: str, note: str = "sent") -> None:
        def unit(connection: Connection) -> None:
            write(connection, note)
            for payload in payloads:
                signal(connection, CHANNEL, payload)

        await self.database.run(unit)

    def stand_by(
        self,
        name: str,
        *payloads: str,
        unit: Callable[[Sequence[str], Connection], str] | None = None,
    ) -> "Standing":
        """Stand by with a unit that notes its name and what called it."""
        return Standing(self.database, payloads, unit or partial(noting, name))


class Standing:
    def __init__(
        self,
        database: Database,
        payloads: Sequence[str],
        unit: Callable[[Sequence[str], Connection], str],
    ) -> None:
        self.told: list[str | None] = []
        self._news = asyncio.Event()
        self._standby = database.stand_by(CHANNEL, payloads, unit, self._hear)

    def _hear(self, result: str | None) -> None:
        self.told.append(result)
        self._news.set()

    async def outcome(self) -> str | None:
        async with asyncio.timeout(PATIENCE):
            await self._news.wait()
        (result,) = self.told
        return result

    async def withdraw(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._standby.withdraw()


def write(connection: Connection, note: str) -> None:
    connection.exec_driver_sql("INSERT INTO notes VALUES (?)", (note,))


def noting(name: str, payloads: Sequence[str], connection: Connection) -> str:
    said = f"{name} for {', '.join(payloads)}"
    write(connection, said)
    return said


@pytest.fixture
def commits() -> Commits:
    return Commits()


@pytest.fixture
async def board(data_dir: Path, commits: Commits) -> AsyncIterator[Board]:
    database = await open_database(url=None, data_dir=data_dir, meter=commits)
    board = Board(database, data_dir / "sutazai.db")
    await board.prepare()
    commits.units.clear()
    yield board
    await database.close()


async def test_it_shares_the_commit_and_answers_for_the_signal(
    board: Board, commits: Commits
) -> None:
    standing = board.stand_by("one", "a", "b")
    await board.send("c", "a")
    assert await standing.outcome() == "one for a"
    assert board.notes() == ["sent", "one for a"]
    assert board.heard == ["c"]
    assert commits.units == [2]
    await board.send("a")  # once is once
    assert board.notes() == ["sent", "one for a", "sent"]
    assert board.heard == ["c", "a"]


async def test_who_came_first_is_called_first_and_a_signal_sent_again_calls_the_next(
    board: Board, commits: Commits
) -> None:
    def again(payloads: Sequence[str], connection: Connection) -> str:
        signal(connection, CHANNEL, "a")
        return noting("first", payloads, connection)

    first, second = board.stand_by("first", "a", unit=again), board.stand_by("second", "a")
    third = board.stand_by("third", "a")
    await board.send("a")
    assert await first.outcome() == "first for a"
    assert await second.outcome() == "second for a"
    assert (commits.units, board.heard, third.told) == ([3], [], [])


async def test_units_that_share_a_commit_share_it_with_those_that_they_call(board: Board) -> None:
    standing = [board.stand_by(f"number {one}", f"{one}") for one in range(20)]
    await asyncio.gather(*(board.send(f"{one}") for one in range(20)))
    assert [await one.outcome() for one in standing] == [
        f"number {one} for {one}" for one in range(20)
    ]
    assert board.heard == []


async def test_its_failure_is_its_own(board: Board) -> None:
    def failing(payloads: Sequence[str], connection: Connection) -> str:
        write(connection, "never")
        signal(connection, CHANNEL, "never")
        raise KeyError

    standing, next_one = board.stand_by("it", "a", unit=failing), board.stand_by("next", "a")
    await board.send("a", "b")
    assert await standing.outcome() is None
    assert await next_one.outcome() == "next for a"
    assert board.notes() == ["sent", "next for a"]
    assert board.heard == ["b"]


async def test_it_is_undone_with_the_transaction_and_told_so(board: Board) -> None:
    def lost(connection: Connection, items: Sequence[int]) -> None:
        raise KeyError

    def unit(connection: Connection) -> None:
        signal(connection, CHANNEL, "a")
        at_the_end(connection, lost, [1])

    standing = board.stand_by("it", "a")
    with pytest.raises(KeyError):
        await board.database.run(unit)
    assert await standing.outcome() is None
    assert (board.notes(), board.heard) == ([], [])


async def test_where_it_takes_the_transaction_with_it_the_unit_is_run_without(
    board: Board,
) -> None:
    def breaking(payloads: Sequence[str], connection: Connection) -> str:
        # As SQLite does when its disk is full.
        connection.exec_driver_sql("ROLLBACK")
        raise KeyError

    standing = board.stand_by("it", "a", unit=breaking)
    await board.send("a")
    assert await standing.outcome() is None
    assert (board.notes(), board.heard) == (["sent"], ["a"])


async def test_once_it_is_withdrawn_it_never_runs(board: Board) -> None:
    standing, other = board.stand_by("it", "a"), board.stand_by("other", "a")
    await standing.withdraw()
    await standing.withdraw()
    await board.send("a")
    assert await other.outcome() == "other for a"
    assert standing.told == []


async def test_withdrawing_waits_for_what_is_being_run(board: Board) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(payloads: Sequence[str], connection: Connection) -> str:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(PATIENCE)
        return "done"

    standing = board.stand_by("it", "a", unit=slow)
    sending = asyncio.create_task(board.send("a"))
    await begun.wait()
    withdrawing = asyncio.create_task(standing.withdraw())
    done, _ = await asyncio.wait([withdrawing], timeout=0.05)
    assert not done
    go_on.set()
    await withdrawing
    assert standing.told == ["done"]
    await sending


async def test_postgresql_never_runs_it_and_tells_the_listeners(postgres_url: str) -> None:
    database = await open_database(url=postgres_url, data_dir=Path())
    heard: asyncio.Queue[str] = asyncio.Queue()
    database.listen(CHANNEL, heard.put_nowait)
    standing = Standing(database, ["a"], partial(noting, "it"))
    await database.run(lambda connection: signal(connection, CHANNEL, "a"))
    async with asyncio.timeout(PATIENCE):
        while await heard.get() != "a":
            pass
    await standing.withdraw()
    assert standing.told == []
    await database.close()
