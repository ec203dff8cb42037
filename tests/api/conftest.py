"""`server`: the whole application on SQLite and on PostgreSQL, one for all tests of a process."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.api.agents import Chief, Obedient, Twin
from tests.api.process import started
from tests.api.server import Server, on_a_socket, serving, settings_for


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def server_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str | None]:
    """A data directory and the URL of its database, None for SQLite in it."""
    data_dir = tmp_path_factory.mktemp("data")
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), data_dir / "sutazai.db")
        return data_dir, None
    postgres = request.getfixturevalue("postgres")
    name = postgres.create(template=request.getfixturevalue("postgres_template"))
    return data_dir, postgres.url(name)


@pytest.fixture(scope="session")
def hosted(server_database: tuple[Path, str | None]) -> Obedient:
    """The agent of the type `obey` that `server` hosts."""
    return Obedient()


@pytest.fixture(scope="session")
def chief() -> Chief:
    """The agent of the types `chief…` that `server` hosts."""
    return Chief()


@pytest.fixture
def obedient(hosted: Obedient) -> Iterator[Obedient]:
    """The same, with nothing behind it; whatever still waits for its gate is let go afterwards."""
    hosted.forget()
    yield hosted
    hosted.gate.set()


@pytest.fixture(scope="session")
async def server(
    server_database: tuple[Path, str | None],
    hosted: Obedient,
    chief: Chief,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Server]:
    """A running application that tests share: each makes what it needs under names of its own."""
    data_dir, url = server_database
    workspace = tmp_path_factory.mktemp("workspace")
    settings = settings_for(data_dir, url, workspace)
    async with serving(settings, extra_agents=[hosted, Twin(), chief]) as server:
        yield server


@pytest.fixture(scope="session")
async def port(server: Server) -> AsyncIterator[int]:
    """Where `server` listens on a real socket, for what goes on longer than an answer."""
    async with on_a_socket(server.application) as port:
        yield port


@pytest.fixture
async def fresh_server(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> AsyncIterator[Server]:
    """An application of one test alone, with an admin and a user, for what counts everything."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    settings = settings_for(data_dir, database_url, workspace)
    async with serving(settings, roles=["user"]) as server:
        yield server


@pytest.fixture(scope="session")
def live_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of `live`."""
    return tmp_path_factory.mktemp("live-workspace")


@pytest.fixture(scope="session")
def live(live_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server started as users start it, for what only a real socket shows."""
    data_dir = tmp_path_factory.mktemp("live-data")
    with started(data_dir, live_workspace) as url:
        yield url


@pytest.fixture(scope="session")
def battered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same, for generated requests, which change whatever they can."""
    workspace = tmp_path_factory.mktemp("battered-workspace")
    with started(tmp_path_factory.mktemp("battered-data"), workspace) as url:
        yield url
