"""The specification's own client examples, unchanged.

Its address is `http://localhost:10010`, which may be taken on this machine: so they run in a
network namespace of their own where the system lets us make one, and elsewhere on a free port.
"""

import json
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


def test_the_curl_lines_of_the_specification_run(place: tuple[list[str], int]) -> None:
    login, created, shown = map(json.loads, example("curl", place).splitlines())
    assert (login["token_type"], login["expires_in"]) == ("bearer", 3600)
    assert (created["type"], created["priority"]) == ("code_review", 8)
    assert (shown["task_id"], shown["type"]) == (created["task_id"], "code_review")
