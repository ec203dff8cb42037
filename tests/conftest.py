"""Databases for the tests: ask for `database` and the test runs on SQLite and on PostgreSQL."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sutazai.database import Database, open_database
from sutazai.database.schema import migrate_postgresql, migrate_sqlite
from tests import names
from tests.language_model import OllamaFront, SmallModel
from tests.postgres import PostgresServer
from tests.valkey import ValkeyServer

pytest_collection_modifyitems = names.pytest_collection_modifyitems

# In the background a shell has its children ignore Ctrl-C, and all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_SQLITE_FILE = "sutazai.db"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What async tests and fixtures run on."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """This process's PostgreSQL server, or the one that SUTAZAI_TEST_POSTGRES_URL names."""
    with PostgresServer(os.environ.get("SUTAZAI_TEST_POSTGRES_URL") or None) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """A database with the current schema, migrated once and copied for each test."""
    name = postgres.create()
    asyncio.run(migrate_postgresql(postgres.url(name)))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the current schema, migrated once and copied for each test."""
    path = tmp_path_factory.mktemp("template") / _SQLITE_FILE
    migrate_sqlite(path)
    return path


@pytest.fixture
def postgres_url(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with the current schema and no rows, of this test alone."""
    name = postgres.create(template=postgres_template)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data directory."""
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, data_dir: Path) -> str | None:
    """What the setting of that name would be: None for SQLite in `data_dir`, else a URL.

    Either database has the current schema and no rows.
    """
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        shutil.copyfile(template, data_dir / _SQLITE_FILE)
        return None
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def database(database_url: str | None, data_dir: Path) -> AsyncIterator[Database]:
    """An open database, empty but for the schema."""
    opened = await open_database(url=database_url, data_dir=data_dir)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def small_model() -> Iterator[SmallModel]:
    """This process's language model; its tests are of the group `model`, so that one will do."""
    with SmallModel() as model:
        yield model


@pytest.fixture(scope="session")
def ollama(
    small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OllamaFront]:
    """The same model behind Ollama's protocol."""
    with OllamaFront(small_model.url, tmp_path_factory.mktemp("ollama")) as front:
        yield front


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """This process's Valkey server."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def valkey(valkey_server: ValkeyServer) -> ValkeyServer:
    """The same, running and empty; the test may kill it and start it again."""
    valkey_server.start()
    with valkey_server.client() as client:
        client.flushall()
    return valkey_server
