"""The specification's pipeline over a real package, with a server that is killed in the middle."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.process import ServerProcess

PIPELINE = Path(__file__).parents[2] / "examples" / "workflows" / "code_review_pipeline.json"
_PATIENCE = 240.0
_AGENTS = {"1": "code-reviewer-01", "2": "test-generator-01", "3": "doc-generator-01"}

Found = dict[str, Any]


def _package(folder: Path) -> None:
    """A small package that others use, in the workspace."""
    spec = find_spec("jmespath")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    [source] = spec.submodule_search_locations
    shutil.copytree(source, folder / "jmespath", ignore=shutil.ignore_patterns("__pycache__"))


def _until(client: httpx2.Client, path: str, fine: Callable[[Found], bool]) -> Found:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        shown: Found = client.get(path).json()
        if fine(shown):
            return shown
        time.sleep(0.1)  # nothing tells another process
    raise AssertionError(f"it did not come to that: {shown}")


def _steps(execution: Found) -> dict[str, Found]:
    return {step["step_id"]: step for step in execution["steps"]}


def _completions(client: httpx2.Client) -> Counter[str]:
    """How often each task was told to have completed."""
    told: Counter[str] = Counter()
    after = 0
    while True:
        page = client.get("/events", params={"after": after, "limit": 1000}).json()
        for event in page["events"]:
            if event["event_type"] == "task.completed":
                told[event["data"]["task_id"]] += 1
        if not page["events"]:
            return told
        after = page["next_after"]


def test_the_pipeline_feeds_each_step_from_those_before_though_its_server_is_killed(
    data_dir: Path, database_url: str | None
) -> None:
    _package(data_dir.parent)
    with (
        ServerProcess(data_dir, database_url=database_url, lease_seconds=5) as server,
        server.client() as client,
    ):
        body = json.loads(PIPELINE.read_text("utf-8"))
        workflow_id = client.post("/workflows", json=body).json()["workflow_id"]
        files = ["jmespath/lexer.py", "jmespath/compat.py"]
        given = {"files": files, "seconds": 30, "max_tests": 2}
        answer = client.post(f"/workflows/{workflow_id}/execute", json={"input": given})
        assert answer.status_code == 202, answer.text
        path = f"/executions/{answer.json()['execution_id']}"
        middle = _until(client, path, lambda shown: _steps(shown)["2"]["task_id"] is not None)
        second = f"/tasks/{_steps(middle)['2']['task_id']}"
        _until(client, second, lambda shown: shown["status"] == "processing")
        server.kill()
        server.start_again()
        ended = _until(client, path, lambda shown: shown["status"] != "running")
        assert ended["status"] == "completed", ended
        _each_step_was_done_by_its_agent(client, ended, middle)
        _each_step_was_fed(client, ended)


def _each_step_was_done_by_its_agent(client: httpx2.Client, ended: Found, middle: Found) -> None:
    # What was finished when the server died is kept, and nothing is done twice.
    assert _steps(ended)["1"] == _steps(middle)["1"]
    for step_id, step in _steps(ended).items():
        task = client.get(f"/tasks/{step['task_id']}").json()
        assert (task["status"], task["assigned_agent"]) == ("completed", _AGENTS[step_id])
        assert task["attempt"] == (2 if step_id == "2" else 1)
    assert _completions(client) == dict.fromkeys([step["task_id"] for step in ended["steps"]], 1)


def _each_step_was_fed(client: httpx2.Client, ended: Found) -> None:
    steps = _steps(ended)
    found = [issue["file"] for issue in steps["1"]["output"]["issues"]]
    assert found
    assert client.get(f"/tasks/{steps['2']['task_id']}").json()["metadata"]["files"] == found
    tests = steps["2"]["output"]["tests"]
    assert tests
    assert {one["source_file"] for one in tests} <= set(found)
    fed = client.get(f"/tasks/{steps['3']['task_id']}").json()["metadata"]["files"]
    assert fed == [*found, *(one["source_file"] for one in tests)]
    # What was found and tested is documented; that in which nothing was found is not.
    assert found == ["/jmespath/lexer.py"] * len(found)
    pages = {Path(page).name for page in steps["3"]["output"]["files"]}
    assert pages - {"index.md"} == {"jmespath.lexer.md"}
