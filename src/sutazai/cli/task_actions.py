"""What `sutazai task …` does, through the client."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import typer

from sutazai.cli import progress
from sutazai.cli.documents import parsed_object
from sutazai.cli.failures import ANSWER_IS_NO, tell_failure
from sutazai.cli.following import follow
from sutazai.cli.output import (
    Format,
    age,
    out,
    print_fields,
    print_json,
    print_table,
    printable,
)
from sutazai.cli.session import connect

if TYPE_CHECKING:
    from sutazai_client import SutazAIClient

_MOST_PER_PAGE = 100


def submit(
    task_type: str,
    description: str,
    *,
    files: Sequence[str],
    metadata: str | None,
    fields: Mapping[str, Any],
    wait: bool,
    output: Format,
    quiet: bool,
    url: str | None,
) -> None:
    """Submit; print the id alone, so that a script can take it, or with `wait` the result."""
    given = parsed_object(metadata, "--metadata")
    if files:
        given["files"] = list(files)
    with connect(url) as client:
        task = client.create_task(
            task_type, description or f"sutazai task submit {task_type}", metadata=given, **fields
        )
        if not wait:
            print_json(task) if output is Format.JSON else print(task["task_id"])
            return
        with progress.display(quiet=quiet) as display:
            ended = follow(client, {task_type: task["task_id"]}, display)[task_type]
        _print_outcome(client, ended, output)


def list_tasks(filters: Mapping[str, Any], *, limit: int, output: Format, url: str | None) -> None:
    """Print the newest tasks that match."""
    with connect(url) as client:
        found = client.iter_tasks(**filters, limit=min(limit, _MOST_PER_PAGE))
        tasks = list(islice(found, limit))
    if output is Format.JSON:
        print_json(tasks)
        return
    rows = [
        (
            task["task_id"],
            task["status"],
            f"{task['progress']} %",
            task["type"],
            age(task["created_at"]),
        )
        for task in tasks
    ]
    print_table(("ID", "STATUS", "DONE", "TYPE", "AGE"), rows)


def show(task_id: str, *, output: Format, url: str | None) -> None:
    """Print every field of a task."""
    with connect(url) as client:
        _print_task(client.get_task(task_id), output)


def _print_task(task: Mapping[str, Any], output: Format) -> None:
    if output is Format.JSON:
        print_json(task)
    else:
        print_fields([(name, value) for name, value in task.items() if value not in (None, [], {})])


def result(task_id: str, *, output: Format, url: str | None) -> None:
    """Print a task's result."""
    with connect(url) as client:
        _print_result(client.get_result(task_id), output)


def wait(task_id: str, *, timeout: float, output: Format, url: str | None) -> None:
    """Wait for the end, and print the task."""
    with connect(url) as client:
        task = client.wait_for_task(task_id, timeout=timeout)
    _print_task(task, output)
    if task["status"] != "completed":
        raise typer.Exit(ANSWER_IS_NO)


def cancel(task_id: str, *, url: str | None) -> None:
    """Cancel, and say so."""
    with connect(url) as client:
        task = client.cancel_task(task_id)
    print(f"{task['task_id']} {task['status']}")


def _print_outcome(client: "SutazAIClient", ended: Mapping[str, Any], output: Format) -> None:
    if ended["status"] == "cancelled":
        _print_task(ended, output)
        raise typer.Exit(ANSWER_IS_NO)
    _print_result(client.get_result(ended["task_id"]), output)


def _print_result(outcome: Mapping[str, Any], output: Format) -> None:
    result = outcome["result"]
    if output is Format.JSON:
        print_json(outcome)
    elif outcome["status"] == "failed":
        error = outcome["error"]
        tell_failure(f"The task failed with {error['code']}: {error['message']}")
    elif isinstance(result, dict) and {"issues", "metrics", "skipped", "unparsed"} <= result.keys():
        _print_report(result)
    else:
        print_json(result)
    if outcome["status"] != "completed":
        raise typer.Exit(ANSWER_IS_NO)


_SHOWN = frozenset(
    [
        "analysers",
        "baseline",
        "dismissed",
        "issues",
        "issues_truncated",
        "metrics",
        "model",
        "not_analysed",
        "repository",
        "skipped",
        "skipped_total",
        "summary",
        "suppressed",
        "unparsed",
    ]
)
"""Of a result with findings, what is shown, or says nothing to a person."""


def _print_report(result: Mapping[str, Any]) -> None:
    """The findings, what the agent says of them, and which parts only the JSON has."""
    from sutazai.cli.findings_view import print_issues, print_summary

    console = out()

    def path_of(file: str) -> str:
        return file

    print_issues(console, result["issues"], path_of)
    print_summary(console, result, path_of, where="by the server")
    if more := [name for name, value in result.items() if value and name not in _SHOWN]:
        console.print(printable(result["summary"]), markup=False, soft_wrap=True)
        said = f"Also in the result, with --format json: {', '.join(more)}"
        console.print(printable(said), style="dim", markup=False, soft_wrap=True)
