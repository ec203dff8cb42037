"""Logging in and out, and what is kept in between."""

import json
import stat
from pathlib import Path

import pytest
from sutazai_client import SutazAIClient

from tests.features.cli.conftest import Run, decoded
from tests.features.sdk.embedding import PASSWORD, Served


def stored(folder: Path) -> Path:
    return folder.parent / "config" / "sutazai" / "session.json"


def test_a_login_is_kept_for_the_commands_that_follow(logged_in: Run, folder: Path) -> None:
    assert stat.S_IMODE(stored(folder).stat().st_mode) == 0o600
    assert stat.S_IMODE(stored(folder).parent.stat().st_mode) == 0o700
    assert PASSWORD not in stored(folder).read_text()
    assert decoded(logged_in("agent", "list", "--format", "json"))["total"] > 2


def test_a_logout_ends_the_session_here_and_there(
    logged_in: Run, folder: Path, server: Served
) -> None:
    token = json.loads(stored(folder).read_text())["access_token"]
    result = logged_in("logout")
    assert f"Logged out of {server.url}" in result.stdout
    assert not stored(folder).exists()
    assert "Not logged in" in logged_in("task", "list").stderr
    with SutazAIClient(server.url, token=token) as late, pytest.raises(Exception, match="ended"):
        late.me()


def test_a_lapsed_token_is_renewed_and_the_next_one_kept(logged_in: Run, folder: Path) -> None:
    held = json.loads(stored(folder).read_text())
    stored(folder).write_text(json.dumps({**held, "expires_at": 1.0}))
    assert logged_in("task", "list").exit_code == 0
    renewed = json.loads(stored(folder).read_text())
    assert renewed["refresh_token"] != held["refresh_token"]
    assert logged_in("task", "list").exit_code == 0


def test_a_wrong_password_is_told_and_nothing_kept(run: Run, folder: Path, server: Served) -> None:
    result = run("login", server.url, "--username", "admin", "--password-stdin", typed="wrong\n")
    assert result.exit_code == 2
    assert "password is wrong" in result.stderr
    assert not stored(folder).exists()


def test_a_session_goes_to_its_own_server_and_to_no_other(
    logged_in: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUTAZAI_URL", "http://localhost:1")
    result = logged_in("task", "list")
    assert result.exit_code == 2
    assert "Not logged in at http://localhost:1" in result.stderr


def test_the_environment_names_server_and_key(
    logged_in: Run, run: Run, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SutazAIClient(server.url) as client:
        client.login("admin", PASSWORD)
        key = client.create_api_key("environment")["api_key"]
    logged_in("logout")
    monkeypatch.setenv("SUTAZAI_URL", server.url)
    monkeypatch.setenv("SUTAZAI_API_KEY", key)
    assert run("task", "list").exit_code == 0
    monkeypatch.setenv("SUTAZAI_API_KEY", "sk-sutazai-wrong")
    assert "API key is not valid" in run("task", "list").stderr


def test_a_home_that_cannot_be_written_to_is_a_clear_error(
    run: Run, folder: Path, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file where the folder should be stops root as well, whom permissions do not.
    (folder / "home").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "home"))
    result = run("login", server.url, "--username", "admin", "--password-stdin", typed=PASSWORD)
    assert result.exit_code == 2
    assert "Set XDG_CONFIG_HOME" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_server_that_is_not_there_is_told_before_a_password_is_asked(run: Run) -> None:
    result = run("login", "http://localhost:1")
    assert result.exit_code == 2
    assert "sutazai serve" in result.stderr
    assert "http://host:port" in run("login", "nonsense").stderr
