"""The tests' own PostgreSQL server."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from sutazai.database import Connection, Database
from tests.postgres import PostgresServer

_STARTS_ONE_AND_WAITS = """
import sys
from tests.postgres import PostgresServer
server = PostgresServer()
print(server.url("postgres"), flush=True)
sys.stdin.read()
"""


def test_a_database_is_a_copy_of_its_template(postgres: PostgresServer) -> None:
    template = postgres.create()
    postgres.execute("CREATE TABLE words AS SELECT 'hello' AS word", database=template)
    copy = postgres.create(template=template)
    assert postgres.execute("SELECT word FROM words", database=copy) == "hello"
    postgres.drop(copy)
    postgres.drop(template)


def test_a_failing_statement_says_what_failed(postgres: PostgresServer) -> None:
    with pytest.raises(RuntimeError, match=r'SELECT nonsense: .*column "nonsense"'):
        postgres.execute("SELECT nonsense")


def test_another_server_is_used_and_tidied(postgres: PostgresServer) -> None:
    count = "SELECT count(*) FROM pg_database"
    before = postgres.execute(count)
    with PostgresServer(postgres.url("postgres")) as other:
        name = other.create()
        assert other.url(name).startswith("postgresql+asyncpg://")
        assert postgres.execute(count) != before
    assert postgres.execute(count) == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_server_and_its_directory_go_with_the_process_that_started_it(how: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _STARTS_ONE_AND_WAITS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline()
        directory = Path(url.rpartition("host=")[2].strip().replace("%2F", "/"))
        assert directory.is_dir()
        process.send_signal(how)
        # The guard has inherited the other end of this pipe, so it ends when the guard does.
        process.stderr.read()
    assert not directory.exists()


async def test_every_test_has_an_empty_database_of_either_kind(database: Database) -> None:
    def unit(connection: Connection) -> str:
        connection.execute(text("CREATE TABLE mine (id INTEGER)"))
        return connection.dialect.name

    assert await database.run(unit) == database.dialect


async def test_a_database_is_of_one_test_alone(database: Database) -> None:
    def unit(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE mine (id INTEGER)"))

    await database.run(unit)
