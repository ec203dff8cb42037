"""What computes for a while within a unit does not do it on the event loop."""

import threading

import pytest

from sutazai.database import Connection, Database, aside


async def test_it_runs_on_another_thread_and_the_unit_goes_on_with_its_value(
    database: Database,
) -> None:
    def unit(connection: Connection) -> tuple[int, int]:
        one = connection.exec_driver_sql("SELECT 1").scalar_one()
        thread = aside(connection, threading.get_ident)
        return thread, one + connection.exec_driver_sql("SELECT 2").scalar_one()

    for runs in (database.run, database.read):
        thread, total = await runs(unit)
        assert (thread != threading.get_ident(), total) == (True, 3)


async def test_what_it_raises_undoes_the_unit(database: Database) -> None:
    def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.run(lambda connection: aside(connection, work))
