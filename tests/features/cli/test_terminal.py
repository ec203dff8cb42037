"""The command as a process of its own: what a shell does to its streams, signals, folders."""

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest
import typer
from sutazai_client import SutazAIError
from typer.testing import CliRunner

from sutazai.cli.failures import Commands

COMMAND = [sys.executable, "-m", "sutazai"]
PATIENCE = 60


def finished(arguments: Sequence[object], **how: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # type: ignore[call-overload,no-any-return]  # options pass through
        [*COMMAND, *map(str, arguments)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **how},
        timeout=PATIENCE,
        check=False,
    )


def started(arguments: Sequence[str], folder: Path) -> "tuple[subprocess.Popen[str], list[str]]":
    """A server that is up, and what it said until then."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *arguments],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line.strip())
        if line.split()[0] == "Stop":
            break
    return process, said


def ended(process: "subprocess.Popen[str]", number: signal.Signals) -> tuple[int, str]:
    assert process.stderr is not None
    process.send_signal(number)
    limit = threading.Timer(PATIENCE, process.kill)
    limit.start()
    # Not `communicate`: with a timeout it forgets what was read ahead with the lines before.
    with process:
        said = process.stderr.read()
    limit.cancel()
    return process.returncode, said


def test_a_server_says_where_it_is_and_ends_in_good_order(folder: Path) -> None:
    process, said = started([], folder)
    url = said[0].removeprefix("SutazAI is up at ")
    assert httpx2.get(f"{url}/api/v1/health").json()["status"] == "healthy"
    assert f"Log in    sutazai login {url}" in said
    code, rest = ended(process, signal.SIGTERM)
    assert code == 0
    # Shown at the first start, and at no other.
    assert "the user admin has the password" in rest
    process, _ = started([], folder)
    code, rest = ended(process, signal.SIGINT)
    assert code == 0
    assert rest.startswith("Stopping: ")
    assert not (folder / ".sutazai" / "server.json").exists()


def test_a_misspelt_setting_is_told_at_the_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUTAZAI_DATABSE_URL", "postgresql://localhost/tasks")
    process, _ = started([], folder)
    _, rest = ended(process, signal.SIGTERM)
    slip = "SUTAZAI_DATABSE_URL is set, but there is no such setting. Do you mean "
    assert slip + "SUTAZAI_DATABASE_URL?" in rest


def test_a_port_in_use_is_one_clear_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = finished(["serve", "--port", port], cwd=folder)
    assert result.returncode == 2
    assert result.stderr == (
        f"Error: sutazai cannot start: Port {port} on 127.0.0.1 is in use by another program. "
        "Choose one with --port.\n"
    )


def test_a_reader_that_has_gone_is_no_error(folder: Path) -> None:
    for arguments in (["config", "--format", "json"], ["config"], ["doctor"]):
        reading, writing = os.pipe()
        os.close(reading)
        result = finished(arguments, stdout=writing, cwd=folder)
        os.close(writing)
        assert (result.returncode, result.stderr) == (141, "")


def test_a_full_disk_is_told(folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        result = finished(["config", "--format", "json"], stdout=full, cwd=folder)
    assert (result.returncode, result.stderr) == (2, "Error: No space left on device.\n")


def test_no_home_stops_only_what_keeps_a_session(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.py").write_text("a = 1\n")
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert finished(["review", "a.py", "-q"], cwd=folder).returncode == 0
    assert "Not logged in" in finished(["task", "list"], cwd=folder).stderr


def test_a_folder_that_was_removed_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    result = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *COMMAND, "doctor", "--port", "0"],
        cwd=gone,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 2
    assert "current folder is not there any more" in result.stderr
    assert "Traceback" not in result.stderr


def test_progress_is_live_on_a_terminal_and_ctrl_c_ends_it(folder: Path) -> None:
    for number in range(400):
        (folder / f"a{number}.py").write_text("def a(b=[]):\n    return eval(b)\n" * 50)
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "review", "."],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=follower,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm"},
    ) as process:
        os.close(follower)
        seen = b""
        while b"review" not in seen:
            seen += os.read(leader, 4096)
        assert b"\x1b[" in seen
        # To the whole group, as a terminal does.
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.read() == b""
        assert process.wait(PATIENCE) == 130
    while True:
        try:
            more = os.read(leader, 4096)
        except OSError:  # the other end has closed
            break
        if not more:
            break
        seen += more
    os.close(leader)
    assert b"Traceback" not in seen


def test_a_servers_failure_names_what_to_look_for_in_its_log() -> None:
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @app.command()
    def fail(status: int) -> None:
        raise SutazAIError("Something went wrong.", status=status, request_id="req-1")

    @app.command()
    def other() -> None:
        raise AssertionError

    result = CliRunner().invoke(app, ["fail", "500"])
    assert result.stderr == "Error: Something went wrong.\n  Request id: req-1\n"
    result = CliRunner().invoke(app, ["fail", "404"])
    assert result.stderr == "Error: Something went wrong.\n"


def test_a_defect_of_ours_is_a_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise ZeroDivisionError("by \x1b[31mnothing")

    @app.command()
    def other() -> None:
        raise AssertionError

    result = CliRunner().invoke(app, ["fail"])
    assert result.exit_code == 2
    assert result.stderr.startswith(r"Error: ZeroDivisionError: by \x1b[31mnothing")
    assert "SUTAZAI_LOG_LEVEL=DEBUG" in result.stderr
    monkeypatch.setenv("SUTAZAI_LOG_LEVEL", "DEBUG")
    assert isinstance(CliRunner().invoke(app, ["fail"]).exception, ZeroDivisionError)
