"""The command line in this process, with a home and a folder of its own."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sutazai.cli.main import app
from tests.features.sdk.embedding import PASSWORD, Served, served

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that the tests share."""
    with served(tmp_path_factory.mktemp("cli")) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user stands; nothing of this machine's settings or sessions is seen from there."""
    for name in ("SUTAZAI_URL", "SUTAZAI_TOKEN", "SUTAZAI_API_KEY", "SUTAZAI_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("SUTAZAI_ANALYSIS_PROCESSES", "1")
    place = tmp_path / "folder"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def run(folder: Path) -> Run:
    """Runs a command; the result has stdout, stderr and exit_code."""

    def invoke(*arguments: object, typed: str | None = None) -> Result:
        return CliRunner().invoke(app, [str(one) for one in arguments], input=typed)

    return invoke


@pytest.fixture
def logged_in(run: Run, server: Served) -> Run:
    """The same, after a login as the admin."""
    result = run("login", server.url, "--username", "admin", "--password-stdin", typed=PASSWORD)
    assert result.exit_code == 0, result.stderr
    return run


def decoded(result: Result) -> Any:
    """What a command printed as JSON."""
    assert result.exit_code in (0, 1), result.stderr
    return json.loads(result.stdout)
