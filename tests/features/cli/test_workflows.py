"""`sutazai workflow` and `sutazai schedule` against a real server."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sutazai.cli import steps_view
from tests.features.cli.conftest import Run, decoded

YAML = """
name: two steps
description: written by hand
steps:
  - step_id: first
    type: ping
  - step_id: second
    type: ping
    depends_on: [first]
    input: {word: steps.first.output.word}
"""
FAILING = {
    "name": "failing",
    "steps": [{"step_id": "a", "type": "ping", "input": {"x": "input.nowhere"}}],
}
ASKING = {"name": "asking", "steps": [{"step_id": "ask", "type": "approval"}]}
BILLION = "\n".join(
    ["a0: &a0 x", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))]
)


def written(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def created(run: Run, folder: Path, content: Any, name: str = "w.yaml") -> str:
    result = run("workflow", "create", written(folder, name, content))
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


def test_a_workflow_in_yaml_is_kept_shown_planned_and_run(logged_in: Run, folder: Path) -> None:
    workflow_id = created(logged_in, folder, YAML)
    assert workflow_id.startswith("wf-")
    assert workflow_id in logged_in("workflow", "list").stdout
    shown = logged_in("workflow", "show", workflow_id).stdout
    assert "takes word = steps.first.output.word" in " ".join(shown.split())
    planned = logged_in("workflow", "plan", workflow_id).stdout
    assert re.search(r"2 +second +ping +master-coordinator", planned), planned
    result = logged_in("workflow", "run", workflow_id, "--input", "word=hello", "--wait")
    assert result.exit_code == 0, result.stderr
    assert "completed  2 of 2 steps" in result.stdout
    assert "second: completed" in result.stderr
    ended = decoded(
        logged_in(
            "workflow", "run", workflow_id, "--input", "word=[1]", "--wait", "--format", "json"
        )
    )
    assert ended["steps"][1]["output"] == {"word": [1]}
    listed = decoded(logged_in("workflow", "executions", workflow_id, "--format", "json"))
    assert [one["status"] for one in listed] == ["completed"] * 2
    assert ended["execution_id"] in logged_in("workflow", "executions", workflow_id).stdout
    assert "second" in logged_in("workflow", "execution", ended["execution_id"]).stdout


def test_what_show_prints_as_json_can_be_handed_back(logged_in: Run, folder: Path) -> None:
    workflow_id = created(logged_in, folder, YAML)
    printed = logged_in("workflow", "show", workflow_id, "--format", "json").stdout
    again = written(folder, "again.json", printed)
    assert (
        logged_in("workflow", "update", workflow_id, again).stdout == f"{workflow_id} version 2\n"
    )
    assert logged_in("workflow", "delete", workflow_id).exit_code == 0
    assert "no workflow" in logged_in("workflow", "show", workflow_id).stderr


def test_standard_input_serves_as_a_file(logged_in: Run) -> None:
    made = logged_in("workflow", "create", "-", typed=json.dumps(ASKING))
    assert made.stdout.startswith("wf-")


def test_an_execution_is_steered_from_the_command_line(logged_in: Run, folder: Path) -> None:
    workflow_id = created(logged_in, folder, ASKING)
    execution_id = logged_in("workflow", "run", workflow_id).stdout.strip()
    assert execution_id.startswith("exec-")
    shown = " ".join(logged_in("workflow", "execution", execution_id).stdout.split())
    assert "sutazai workflow approve" in shown
    for verb, status in [
        ("pause", "paused"),
        ("resume", "running"),
        ("cancel", "cancelled"),
        ("retry", "running"),
    ]:
        assert logged_in("workflow", verb, execution_id).stdout == f"{execution_id} {status}\n"
    refused = logged_in("workflow", "approve", execution_id, "ask", "--refuse", "--comment", "no")
    assert refused.stdout == f"{execution_id} failed\n"
    waited = logged_in("workflow", "wait", execution_id)
    assert waited.exit_code == 1
    assert "no" in waited.stdout
    logged_in("workflow", "retry", execution_id)
    assert logged_in("workflow", "approve", execution_id, "ask").stdout.endswith("completed\n")
    assert logged_in("workflow", "wait", execution_id, "--quiet").exit_code == 0


def test_an_event_is_posted_from_the_command_line(logged_in: Run, folder: Path) -> None:
    event = {"event_type": "cli.decided", "correlation_id": "input.change"}
    asking = {"name": "a", "steps": [{"step_id": "ask", "type": "approval", "event": event}]}
    workflow_id = created(logged_in, folder, asking)
    execution_id = logged_in("workflow", "run", workflow_id, "--input", "change=C-7").stdout.strip()
    shown = " ".join(logged_in("workflow", "execution", execution_id).stdout.split())
    assert "sutazai workflow post-event cli.decided --correlation-id C-7" in shown
    nobody = logged_in("workflow", "post-event", "cli.decided")
    assert (nobody.exit_code, "No approval step waits" in nobody.stderr) == (2, True)
    # What is refused in one place is not approved by another.
    twice = logged_in(
        "workflow", "post-event", "cli.decided", "--correlation-id", "C-7", "--data", "approved=no"
    )
    assert (twice.exit_code, "--refuse" in twice.stderr) == (2, True)
    said = ("--correlation-id", "C-7", "--refuse", "--comment", "no", "--data", "n=[1]")
    posted = logged_in("workflow", "post-event", "cli.decided", *said)
    assert posted.stdout == f"{execution_id} ask\n"
    ended = logged_in("workflow", "wait", execution_id, "--format", "json")
    output = json.loads(ended.stdout)["steps"][0]["output"]
    assert (output["approved"], output["comment"], output["n"]) == (False, "no", [1])


def test_a_failed_execution_is_exit_code_1(logged_in: Run, folder: Path) -> None:
    workflow_id = created(logged_in, folder, FAILING, "w.json")
    result = logged_in("workflow", "run", workflow_id, "--wait", "--quiet")
    assert result.exit_code == 1
    assert result.stderr == ""
    assert "'input.nowhere'" in result.stdout


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ("{", "w.json", "is not JSON"),
        ("a: [", "w.yaml", "neither JSON nor YAML"),
        ("[1]", "w.json", "does not hold an object"),
        ("just text", "w.yaml", "does not hold an object"),
        ({"steps": []}, "w.json", "lacks name"),
        ({"name": "x", "steps": [], "stpes": 1}, "w.json", "'stpes'"),
        ({"name": "x", "steps": {}}, "w.json", "must be a list"),
        ("name: x\nsteps: [{since: 2026-01-01}]", "w.yaml", "put it in quotes"),
        (f"{BILLION}\nname: x\nsteps: []", "w.yaml", "larger than 10 MiB when read"),
        ("x: !!python/object/apply:os.system [id]", "w.yaml", "neither JSON nor YAML"),
        ({"name": "x", "steps": [{"step_id": "a", "type": "nonsense"}]}, "w.json", "steps.0.type"),
    ],
)
def test_a_file_that_is_wrong_is_one_clear_line(
    logged_in: Run, folder: Path, content: Any, name: str, said: str
) -> None:
    result = logged_in("workflow", "create", written(folder, name, content))
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["workflow", "run", "wf-nobody"], "no workflow"),
        (["workflow", "run", "wf-nobody", "--input", "nothing"], "NAME=VALUE"),
        (["workflow", "create", "nowhere.yaml"], "nowhere.yaml"),
        (["workflow", "execution", "exec-nobody"], "no execution"),
        (["schedule", "show", "sch-nobody"], "no schedule"),
        (["schedule", "create", "x", "--cron", "@daily"], "--task and --workflow"),
        (["schedule", "create", "x", "--task", "ping"], "--cron and --at"),
        (["schedule", "create", "x", "--task", "ping", "--cron", "* *"], "five fields"),
        (
            ["schedule", "create", "x", "--task", "ping", "--cron", "@daily", "--input", "a=1"],
            "--meta",
        ),
    ],
)
def test_a_mistake_is_one_clear_line(logged_in: Run, arguments: list[str], said: str) -> None:
    result = logged_in(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert said in result.stderr


def test_a_schedule_is_kept_listed_paused_and_deleted(logged_in: Run) -> None:
    made = logged_in(
        "schedule", "create", "nightly", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin",
        "--task", "ping", "--metadata", '{"n": 1}',
    )  # fmt: skip
    schedule_id = made.stdout.strip()
    assert schedule_id.startswith("sch-"), made.stderr
    listed = decoded(logged_in("schedule", "list", "--mine", "--format", "json"))
    assert (listed[0]["name"], listed[0]["task"]["metadata"]) == ("nightly", {"n": 1})
    assert schedule_id in logged_in("schedule", "list", "--status", "active").stdout
    assert "paused" in logged_in("schedule", "pause", schedule_id).stdout
    assert "active, next 2" in logged_in("schedule", "resume", schedule_id).stdout
    assert "upcoming" in logged_in("schedule", "show", schedule_id).stdout
    assert "OUTCOME" in logged_in("schedule", "history", schedule_id).stdout
    assert decoded(logged_in("schedule", "history", schedule_id, "--format", "json")) == []
    assert logged_in("schedule", "delete", schedule_id).stdout == f"{schedule_id} deleted\n"


def test_a_workflow_is_scheduled_with_its_input(logged_in: Run, folder: Path) -> None:
    workflow_id = created(logged_in, folder, YAML)
    made = logged_in(
        "schedule", "create", "once", "--at", "2999-01-01T00:00:00Z",
        "--workflow", workflow_id, "--input", "word=hello", "--format", "json",
    )  # fmt: skip
    assert decoded(made)["workflow"] == {"workflow_id": workflow_id, "input": {"word": "hello"}}
    # Ids and times stay whole, so that they can be copied, however narrow the terminal.
    listed = logged_in("schedule", "list").stdout
    whole = rf"^{decoded(made)['schedule_id']} +active +2[0-9-]{{9}} [0-9:]{{5}} +once +once *$"
    assert re.search(whole, listed, re.MULTILINE), listed


def _execution(*statuses: str) -> dict[str, Any]:
    return {
        "execution_id": "exec-1",
        "status": "running",
        "started_at": "2026-01-01T00:00:00Z",
        "steps_completed": 0,
        "steps_total": len(statuses),
        "steps": [
            {
                "step_id": f"step-{number}",
                "type": "ping\x1b[31m",
                "status": status,
                "started_at": None,
                "ended_at": None,
            }
            for number, status in enumerate(statuses)
        ],
    }


def test_of_many_steps_the_live_view_shows_those_that_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=80, height=12)
    monkeypatch.setattr(steps_view, "err", lambda: screen)
    view = steps_view.Live()
    view.show(_execution(*["completed"] * 50, "failed", "running", *["pending"] * 50))
    with screen.capture() as shown:
        screen.print(view._render())
    text = shown.get()
    assert text.count("\n") <= 12
    for wanted in ("step-50", "step-51", "step-49", "and 94 more"):
        assert wanted in text
    assert "ping\x1b" not in text
