"""`sutazai task`, `agent` and `events` against a real server."""

import json

import pytest

from tests.features.cli.conftest import Run, decoded

NEVER = "01a20b4f-0000-7000-8000-000000000000"


def test_a_submitted_task_prints_its_id_alone(logged_in: Run) -> None:
    task_id = logged_in("task", "submit", "ping", "from a script").stdout.strip()
    assert decoded(logged_in("task", "wait", task_id, "--format", "json"))["status"] == "completed"
    shown = logged_in("task", "show", task_id)
    assert "from a script" in shown.stdout
    assert task_id in logged_in("task", "list", "--type", "ping").stdout


def test_waiting_prints_the_result(logged_in: Run) -> None:
    result = logged_in("task", "submit", "ping", "--metadata", '{"a": [1]}', "--wait", "--quiet")
    assert json.loads(result.stdout) == {"a": [1]}
    assert result.stderr == ""


def test_a_review_is_printed_for_people(logged_in: Run) -> None:
    result = logged_in("task", "submit", "code_review", "--file", "/src/auth.py", "--wait")
    assert result.exit_code == 0
    assert "/src/auth.py\n" in result.stdout
    assert "code-injection" in result.stdout
    assert "│ return eval(text)  # defect" in result.stdout
    assert "code_review: completed" in result.stderr


@pytest.mark.parametrize(
    ("task_type", "more"),
    [
        ("dependency_audit", "vulnerabilities"),
        ("performance_analysis", "profile"),
        ("refactoring", "tests"),
        ("security_analysis", "code-injection"),
        ("type_check", "options"),
    ],
)
def test_every_report_is_printed_for_people(logged_in: Run, task_type: str, more: str) -> None:
    task = ("task", "submit", task_type, "--file", "/src/auth.py", "--wait", "-q")
    result = logged_in(*task)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "by the server" in result.stdout
    assert more in result.stdout


def test_a_failed_task_is_exit_code_1(logged_in: Run) -> None:
    result = logged_in("task", "submit", "code_review", "--file", "/nowhere.py", "--wait", "-q")
    assert result.exit_code == 1
    assert "VALIDATION_ERROR" in result.stderr
    assert "nowhere.py" in result.stderr


def test_a_queue_is_listed_by_status_and_tag(logged_in: Run) -> None:
    for number in range(3):
        logged_in("task", "submit", "ping", str(number), "--tag", "listed", "--wait", "-q")
    listed = decoded(logged_in("task", "list", "--tag", "listed", "--limit", 2, "--format", "json"))
    assert [task["description"] for task in listed] == ["2", "1"]
    assert decoded(logged_in("task", "list", "--tag", "not one", "--format", "json")) == []


def test_a_finished_task_cannot_be_cancelled(logged_in: Run) -> None:
    task_id = logged_in("task", "submit", "ping").stdout.strip()
    logged_in("task", "wait", task_id)
    result = logged_in("task", "cancel", task_id)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["task", "show", NEVER], "no task"),
        (["task", "submit", "no_such_type"], "code_review"),
        (["task", "submit", "ping", "--metadata", "{"], "not JSON"),
        (["task", "submit", "ping", "--metadata", "[]"], "JSON object"),
        (["task", "list", "--status", "no such"], "status"),
        (["agent", "show", "nobody"], "no agent"),
    ],
)
def test_a_mistake_is_one_clear_line(logged_in: Run, arguments: list[str], said: str) -> None:
    result = logged_in(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_agents_are_shown_with_their_figures(logged_in: Run) -> None:
    assert "code_review, security_analysis" in logged_in("agent", "list").stdout
    shown = logged_in("agent", "show", "master-coordinator")
    assert "tasks_completed" in shown.stdout
    found = decoded(logged_in("agent", "show", "master-coordinator", "--format", "json"))
    assert found["max_capacity"] == 100


def test_events_come_one_a_line_from_a_cursor_on(logged_in: Run) -> None:
    before = [
        json.loads(line)
        for line in logged_in("events", "--format", "json").stdout.split("\n")
        if line
    ]
    logged_in("task", "submit", "ping", "--wait", "-q")
    after = logged_in("events", "--after", before[-1]["id"])
    assert "task.created" in after.stdout
    assert "task.completed" in after.stdout
    assert f"{before[-1]['id']} " not in after.stdout.split("\n")[0]


def test_a_finding_is_dismissed_with_a_reason_and_restored(logged_in: Run) -> None:
    body = '{"file": "/src/auth.py", "project": "of the command line"}'
    submit = ("task", "submit", "code_review", "--metadata", body, "--format", "json")
    task_id = decoded(logged_in(*submit))["task_id"]
    logged_in("task", "wait", task_id)
    [found] = decoded(logged_in("finding", "list", task_id, "--format", "json"))
    assert "code-injection /src/auth.py:2" in logged_in("finding", "list", task_id).stdout
    mark = found["fingerprint"]
    done = logged_in("finding", "dismiss", task_id, mark, "--reason", "a constant")
    assert done.exit_code == 0, done.stderr
    assert "everybody's reviews" in done.stdout
    assert decoded(logged_in("finding", "list", task_id, "--open", "--format", "json")) == []
    again = logged_in(*submit[:-2], "--wait", "-q")
    assert "1 finding dismissed before" in again.stdout
    assert logged_in("finding", "restore", task_id, mark).exit_code == 0
    assert logged_in("finding", "restore", task_id, mark).exit_code == 2
