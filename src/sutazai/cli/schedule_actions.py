"""What `sutazai schedule …` does, through the client."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sutazai.cli.documents import object_of, parsed_object
from sutazai.cli.failures import Failure
from sutazai.cli.output import Format, print_fields, print_json, print_table
from sutazai.cli.session import connect

_MOST_PER_PAGE = 100


def create(
    fields: Mapping[str, Any],
    *,
    task: str | None,
    task_fields: Mapping[str, Any],
    workflow: str | None,
    given: Sequence[str],
    input_file: Path | None,
    output: Format,
    url: str | None,
) -> None:
    """Keep it; print the id alone, so that a script can take it."""
    if (task is None) == (workflow is None):
        raise Failure("Say what is to begin: give one of --task and --workflow.")
    if (fields["cron"] is None) == (fields["at"] is None):
        raise Failure("Say when: give one of --cron and --at.")
    body = {name: value for name, value in fields.items() if value is not None}
    if task is not None:
        if given or input_file:
            raise Failure("--input goes with --workflow; a task has --metadata.")
        body["task"] = {
            **task_fields,
            "type": task,
            "description": task_fields["description"] or f"scheduled: {fields['name']}",
            "metadata": parsed_object(task_fields["metadata"], "--metadata"),
        }
    else:
        if task_fields["metadata"]:
            raise Failure("--metadata goes with --task; a workflow has --input.")
        body["workflow"] = {"workflow_id": workflow, "input": object_of(given, input_file)}
    with connect(url) as client:
        made = client.create_schedule(**body)
    print_json(made) if output is Format.JSON else print(made["schedule_id"])


def list_schedules(
    status: str | None, *, mine: bool, limit: int, output: Format, url: str | None
) -> None:
    """Print the newest schedules."""
    filters = {"status": status, "owner": "me" if mine else None}
    with connect(url) as client:
        found = client.iter_schedules(**filters, limit=min(limit, _MOST_PER_PAGE))
        schedules = list(islice(found, limit))
    if output is Format.JSON:
        print_json(schedules)
        return
    rows = [
        (
            one["schedule_id"],
            one["status"],
            _minute(one["next_run_at"]),
            _when(one),
            one["name"],
        )
        for one in schedules
    ]
    # What it begins is left to `show`: two ids on a line would not both stay whole.
    print_table(("ID", "STATUS", "NEXT", "WHEN", "NAME"), rows)


def _when(schedule: Mapping[str, Any]) -> str:
    if schedule["cron"] is None:
        return "once"
    zone = schedule["timezone"]
    return f"{schedule['cron']}" if zone == "UTC" else f"{schedule['cron']} ({zone})"


def _minute(moment: str | None) -> str:
    """In the time of whoever reads it, as short as a list wants it."""
    return _local(moment)[: len("2026-11-26 05:30")]


def _local(moment: str | None) -> str:
    """In the time of whoever reads it, with its offset from UTC."""
    if moment is None:
        return "-"
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def show(schedule_id: str, *, output: Format, url: str | None) -> None:
    """Print every field of a schedule."""
    with connect(url) as client:
        found = client.get_schedule(schedule_id)
    if output is Format.JSON:
        print_json(found)
        return
    shown = {**found, "upcoming": [_local(one) for one in found["upcoming"]]}
    print_fields([(name, value) for name, value in shown.items() if value not in (None, [], {})])


def history(schedule_id: str, *, limit: int, output: Format, url: str | None) -> None:
    """Print what became of the due times."""
    found: list[dict[str, Any]] = []
    cursor = None
    with connect(url) as client:
        while True:
            page = client.schedule_history(
                schedule_id, limit=min(limit, _MOST_PER_PAGE), cursor=cursor
            )
            found += page["history"]
            cursor = page["next_cursor"]
            if cursor is None or len(found) >= limit:
                break
    found = found[:limit]
    if output is Format.JSON:
        print_json(found)
        return
    rows = [
        (
            _local(one["due_at"]),
            one["outcome"],
            one["missed"] or "-",
            one["task_id"] or one["execution_id"] or one["reason"],
        )
        for one in found
    ]
    print_table(("DUE", "OUTCOME", "MISSED", "WHAT CAME OF IT"), rows)


def pause(schedule_id: str, *, paused: bool, url: str | None) -> None:
    """Pause or resume, and say how it is now."""
    with connect(url) as client:
        after = client.update_schedule(schedule_id, paused=paused)
    following = "" if after["next_run_at"] is None else f", next {_local(after['next_run_at'])}"
    print(f"{after['schedule_id']} {after['status']}{following}")


def delete(schedule_id: str, *, url: str | None) -> None:
    """Delete, and say so."""
    with connect(url) as client:
        client.delete_schedule(schedule_id)
    print(f"{schedule_id} deleted")
