"""Starting on a database: several at once, and one that a newer version has used."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sutazai.database import SQLITE_FILE, open_database
from sutazai.database.schema import HEAD, is_current, migrate_sqlite
from sutazai.errors import ErrorCode, SutazaiError
from tests.postgres import PostgresServer

_MIGRATE = """
import asyncio, pathlib, sys
from sutazai.database import open_database
async def main():
    url = sys.argv[1] or None
    sys.stdin.readline()
    database = await open_database(url=url, data_dir=pathlib.Path(sys.argv[2]))
    await database.close()
asyncio.run(main())
sys.exit(3 if "alembic" in sys.modules else 0)
"""


def _start(url: str | None, data_dir: Path) -> "subprocess.Popen[str]":
    """A process that will open the database once it is told to."""
    return subprocess.Popen(
        [sys.executable, "-c", _MIGRATE, url or "", str(data_dir)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _open_at_once(url: str | None, data_dir: Path, *, processes: int) -> list[tuple[int, str]]:
    started = [_start(url, data_dir) for _ in range(processes)]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[1] for process in started]
    return [(process.returncode, text) for process, text in zip(started, said, strict=True)]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A database without a schema."""
    if request.param == "sqlite":
        yield None
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


async def test_processes_that_start_at_once_make_one_schema(
    empty_url: str | None, data_dir: Path
) -> None:
    ends = await asyncio.to_thread(_open_at_once, empty_url, data_dir, processes=4)
    assert [text for code, text in ends if code not in (0, 3)] == []
    assert await is_current(url=empty_url, path=data_dir / SQLITE_FILE)
    database = await open_database(url=empty_url, data_dir=data_dir)
    try:
        versions = await database.read(
            lambda c: c.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
        )
        assert versions == [HEAD]
    finally:
        await database.close()


async def test_alembic_is_not_imported_when_the_schema_is_current(
    database_url: str | None, data_dir: Path
) -> None:
    ends = await asyncio.to_thread(_open_at_once, database_url, data_dir, processes=1)
    assert ends == [(0, "")]


async def test_a_schema_newer_than_the_code_is_refused_and_left_alone(
    database_url: str | None, data_dir: Path, postgres: PostgresServer
) -> None:
    newer = "UPDATE alembic_version SET version_num = '9999'"
    if database_url is None:
        with contextlib.closing(sqlite3.connect(data_dir / SQLITE_FILE)) as connection:
            connection.execute(newer)
            connection.commit()
    else:
        name = database_url.partition("?")[0].rpartition("/")[2]
        postgres.execute(newer, database=name)
    for _ in range(2):
        with pytest.raises(SutazaiError) as caught:
            await open_database(url=database_url, data_dir=data_dir)
        assert caught.value.code is ErrorCode.CONFLICT
        assert "newer version" in caught.value.message
        assert "9999" in caught.value.message
        assert HEAD in caught.value.message
    with pytest.raises(SutazaiError, match="newer version"):
        await is_current(url=database_url, path=data_dir / SQLITE_FILE)


async def test_a_migration_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / SQLITE_FILE
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE events (mine TEXT)")  # in the way of ours
        connection.commit()
    with pytest.raises(SutazaiError) as caught:
        migrate_sqlite(path)
    assert caught.value.code is ErrorCode.DATABASE_ERROR
    assert str(path) in caught.value.message
    with contextlib.closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        assert tables.fetchall() == [("events",)]


async def test_a_file_that_is_no_database_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / SQLITE_FILE
    path.write_bytes(b"this is a letter, not a database\n" * 100)
    with pytest.raises(SutazaiError) as caught:
        migrate_sqlite(path)
    assert caught.value.code is ErrorCode.DATABASE_ERROR
    assert str(path) in caught.value.message
