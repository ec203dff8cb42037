"""The specification's own client examples, unchanged but for what comes in later versions.

Its address is `http://localhost:10010`, which may be taken on this machine: so they run in a
network namespace of their own where the system lets us make one, and elsewhere on a free port.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NAMESPACE = ["unshare", "--user", "--map-root-user", "--net"]


@pytest.fixture(scope="session")
def place() -> tuple[list[str], int]:
    """What to put before a command, and the port that is free there."""
    try:
        made = subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode
    except FileNotFoundError:
        made = 1
    return (NAMESPACE, 10010) if made == 0 else ([], 0)


def example(name: str, place: tuple[list[str], int]) -> str:
    before, port = place
    command = [*before, sys.executable, "-m", "tests.features.sdk.alone", name, str(port)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_client_of_the_specification_runs(place: tuple[list[str], int]) -> None:
    printed = example("python", place)
    assert printed.startswith("Task completed: ")
    assert "'status': 'completed'" in printed
    assert "'assigned_agent': 'code-reviewer-01'" in printed


def test_the_synchronous_pattern_of_the_specification_runs(place: tuple[list[str], int]) -> None:
    outcome = json.loads(example("synchronous", place))
    assert outcome["status"] == "completed"
    assert [issue["rule"] for issue in outcome["result"]["issues"]] == ["code-injection"]


def test_the_curl_lines_of_the_specification_run(place: tuple[list[str], int]) -> None:
    login, created, shown = map(json.loads, example("curl", place).splitlines())
    assert (login["token_type"], login["expires_in"]) == ("bearer", 3600)
    assert (created["type"], created["priority"]) == ("code_review", 8)
    assert (shown["task_id"], shown["type"]) == (created["task_id"], "code_review")


def test_the_curl_line_of_the_specification_streams(place: tuple[list[str], int]) -> None:
    lines = example("stream", place).splitlines()
    assert lines[:2] == ["retry: 2000", "event: ping"]
    last = json.loads(lines[-1].removeprefix("data: "))
    assert last.keys() == {"event_type", "timestamp", "data"}
    assert lines[-2] == "event: message"


# What runs it is none of our tools: where there is no Node, there is nothing to try it with.
if shutil.which("node"):

    def test_the_typescript_client_of_the_specification_runs(place: tuple[list[str], int]) -> None:
        said, shown = example("typescript", place).splitlines()
        task = json.loads(shown)
        assert said == f"Created task: {task['task_id']}"
        assert (task["type"], task["description"]) == ("code_review", "Review auth module")

    def test_the_javascript_of_the_specification_listens(place: tuple[list[str], int]) -> None:
        lines = example("websocket", place).splitlines()
        assert lines[0] == "Connected to SutazAI WebSocket"
        assert "Received: { type: 'auth.ok' }" in lines
        assert json.loads(lines[-1])["status"] == "completed"
