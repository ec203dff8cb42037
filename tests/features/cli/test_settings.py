"""`sutazai config` and `sutazai doctor`: what is in force, and what is wrong with it."""

import socket
from pathlib import Path

import pytest

from tests.features.cli.conftest import Run, decoded
from tests.features.sdk.embedding import Served


def test_each_setting_tells_its_source_and_no_secret(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "a secret of more than 32 bytes, for tests"
    (folder / ".env").write_text(f"SUTAZAI_JWT_SECRET={secret}\nSUTAZAI_PORT=7\n")
    monkeypatch.setenv("SUTAZAI_PORT", "8")
    shown = run("config", "--format", "json")
    rows = {row["name"]: (row["value"], row["source"]) for row in decoded(shown)}
    assert rows["SUTAZAI_PORT"] == ("8", "environment")
    assert rows["SUTAZAI_JWT_SECRET"] == ("**********", ".env")
    assert rows["SUTAZAI_AGENTS"] == ("true", "default")
    assert secret not in shown.stdout + run("config").stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"SUTAZAI_PORT=\xff\xfe", "Save it as UTF-8"),
        (b"SUTAZAI_PORT=many", "SUTAZAI_PORT"),
        (b"SUTAZAI_WORKSPACE=a\0b", "NUL"),
        (b"SUTAZAI_DATABASE_URL=postgresql://u:p@ss:word@h:x/d", "percent-encoded"),
        (b"SUTAZAI_JWT_SECRET=short", "32 bytes"),
    ],
)
@pytest.mark.parametrize("command", ["config", "serve", "review", "user"])
def test_a_damaged_file_of_settings_is_one_clear_line(
    run: Run, folder: Path, command: str, content: bytes, said: str
) -> None:
    (folder / ".env").write_bytes(content)
    (folder / "a.py").write_text("a = 1\n")
    arguments = {"review": ["a.py"], "user": ["list"]}.get(command, [])
    result = run(command, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr.splitlines()[-1]
    assert "p@ss" not in result.stderr
    examined = run("doctor")
    assert examined.exit_code == 1
    assert f"{said}" in examined.stdout


def test_all_is_well_in_an_empty_folder(run: Run, folder: Path) -> None:
    result = run("doctor", "--port", "0")
    assert result.exit_code == 0
    assert {line[0] for line in result.stdout.splitlines()} <= {"✓", "!", " "}
    assert "Data directory" in result.stdout
    assert "✓ Sandbox: code that is not ours can be isolated" in result.stdout
    assert sorted(folder.iterdir()) == []


def test_what_is_broken_has_its_remedy(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file where the folder should be stops root as well, whom permissions do not.
    (folder / "file").write_text("")
    monkeypatch.setenv("SUTAZAI_WROKSPACE", "typo")
    with socket.create_server(("127.0.0.1", 0)) as other:
        arguments = ("--data-dir", folder / "file", "--workspace", folder / "nowhere")
        result = run("doctor", "--port", other.getsockname()[1], *arguments)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    remedies = {
        lines[i].split()[1]: lines[i + 1] for i, line in enumerate(lines) if line[0] in "✗!"
    }
    assert "another with --data-dir" in remedies["Data"]
    assert "another port with --port" in remedies["Port"]
    assert "--workspace" in remedies["Workspace"]
    assert "Do you mean SUTAZAI_WORKSPACE?" in remedies["SUTAZAI_WROKSPACE"]


def test_a_running_server_is_found(run: Run, server: Served) -> None:
    port = server.url.rsplit(":", 1)[1]
    result = run("doctor", "--port", port, "--data-dir", server.data_dir)
    assert f"A server answers at {server.url}: healthy" in result.stdout
    assert "a server is using it" in result.stdout
