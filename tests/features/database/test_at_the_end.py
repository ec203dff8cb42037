"""What is left for a transaction's end is written once, and only if the unit counts."""

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest

from sutazai.database import Connection, Database, StepFailed, at_the_end, step

Written = list[tuple[str, list[int]]]


def writer(written: Written, name: str, connection: Connection, items: Sequence[int]) -> None:
    written.append((name, list(items)))


@pytest.fixture
def written() -> Written:
    return []


async def test_it_is_written_once_after_everything_else(
    database: Database, written: Written
) -> None:
    def first(connection: Connection, items: Sequence[int]) -> None:
        writer(written, "first", connection, items)

    def second(connection: Connection, items: Sequence[int]) -> None:
        writer(written, "second", connection, items)

    def unit(connection: Connection) -> None:
        at_the_end(connection, second, [1])
        at_the_end(connection, first, [2])
        at_the_end(connection, second, [3, 4])
        at_the_end(connection, first, [])
        assert written == []

    await database.run(unit)
    assert written == [("first", [2]), ("second", [1, 3, 4])]


async def test_nothing_of_a_unit_or_a_step_that_is_undone_is_written(
    database: Database, written: Written
) -> None:
    def write(connection: Connection, items: Sequence[int]) -> None:
        writer(written, "it", connection, items)

    def failing(connection: Connection) -> None:
        at_the_end(connection, write, [1])
        raise KeyError

    def unit(connection: Connection) -> None:
        at_the_end(connection, write, [2])
        with pytest.raises(StepFailed):
            step(connection, partial(failing, connection))

    with pytest.raises(KeyError):
        await database.run(failing)
    await database.run(unit)
    assert written == [("it", [2])]


async def test_where_it_cannot_be_written_the_unit_fails_and_the_others_do_not(
    database: Database, written: Written
) -> None:
    def write(connection: Connection, items: Sequence[int]) -> None:
        if 3 in items:
            raise KeyError
        writer(written, "it", connection, items)

    def unit(number: int, connection: Connection) -> int:
        at_the_end(connection, write, [number])
        return number

    # All at once, so that on SQLite most of them share a commit.
    done = await asyncio.gather(
        *(database.run(partial(unit, number)) for number in range(6)), return_exceptions=True
    )
    assert [one for one in done if isinstance(one, int)] == [0, 1, 2, 4, 5]
    assert isinstance(done[3], KeyError)
    assert sorted(item for _, items in written for item in items) == [0, 1, 2, 4, 5]
