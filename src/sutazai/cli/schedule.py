"""`sutazai schedule …`: have tasks and workflows begin by themselves."""

from pathlib import Path
from typing import Annotated

import typer

from sutazai.cli.output import Format

app = typer.Typer(help="Have tasks and workflows begin at set times.", no_args_is_help=True)

ScheduleId = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule's id.")]
Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]
Output = Annotated[Format, typer.Option("--format", help="How to print it.")]
Url = Annotated[str | None, typer.Option(help="The server; else SUTAZAI_URL, or the login's.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What you call it.")],
    cron: Annotated[str | None, typer.Option(help="Such as '30 2 * * mon-fri', or @daily.")] = None,
    at: Annotated[
        str | None, typer.Option(help="Once: a date and time with its offset from UTC.")
    ] = None,
    timezone: Annotated[
        str, typer.Option(help="Whose clock the cron expression is read by.")
    ] = "UTC",
    task: Annotated[str | None, typer.Option(help="The type of a task to submit.")] = None,
    description: Annotated[str, typer.Option(help="The task's description.")] = "",
    metadata: Annotated[str | None, typer.Option(help="A JSON object for the task.")] = None,
    priority: Annotated[int, typer.Option(min=1, max=10, help="Of the task.")] = 5,
    workflow: Annotated[str | None, typer.Option(help="The id of a workflow to execute.")] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME=VALUE for the workflow; repeatable."),
    ] = None,
    input_file: Annotated[
        Path | None, typer.Option(help="A JSON or YAML object with the workflow's input.")
    ] = None,
    misfire: Annotated[
        str, typer.Option(help="If no server was there: run_once or skip.")
    ] = "run_once",
    paused: Annotated[bool, typer.Option("--paused", help="Do not begin yet.")] = False,
    output: Output = Format.TABLE,
    url: Url = None,
) -> None:
    """Submit a task or execute a workflow at set times; prints the schedule's id."""
    from sutazai.cli import schedule_actions

    schedule_actions.create(
        {
            "name": name,
            "cron": cron,
            "at": at,
            "timezone": timezone,
            "misfire": misfire,
            "paused": paused,
        },
        task=task,
        task_fields={"description": description, "metadata": metadata, "priority": priority},
        workflow=workflow,
        given=given or [],
        input_file=input_file,
        output=output,
        url=url,
    )


@app.command("list")
def list_schedules(
    status: Annotated[str | None, typer.Option(help="active, paused or completed.")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only one's own.")] = False,
    limit: Limit = 20,
    output: Output = Format.TABLE,
    url: Url = None,
) -> None:
    """List schedules, newest first."""
    from sutazai.cli import schedule_actions

    schedule_actions.list_schedules(status, mine=mine, limit=limit, output=output, url=url)


@app.command()
def show(schedule_id: ScheduleId, output: Output = Format.TABLE, url: Url = None) -> None:
    """Show a schedule with its next due times."""
    from sutazai.cli import schedule_actions

    schedule_actions.show(schedule_id, output=output, url=url)


@app.command()
def history(
    schedule_id: ScheduleId, limit: Limit = 20, output: Output = Format.TABLE, url: Url = None
) -> None:
    """Show what became of the due times, newest first."""
    from sutazai.cli import schedule_actions

    schedule_actions.history(schedule_id, limit=limit, output=output, url=url)


@app.command()
def pause(schedule_id: ScheduleId, url: Url = None) -> None:
    """Begin nothing for now; what is due meanwhile is not made up for."""
    from sutazai.cli import schedule_actions

    schedule_actions.pause(schedule_id, paused=True, url=url)


@app.command()
def resume(schedule_id: ScheduleId, url: Url = None) -> None:
    """Go on with the next due time."""
    from sutazai.cli import schedule_actions

    schedule_actions.pause(schedule_id, paused=False, url=url)


@app.command()
def delete(schedule_id: ScheduleId, url: Url = None) -> None:
    """Take a schedule and its history away; what it has begun goes on."""
    from sutazai.cli import schedule_actions

    schedule_actions.delete(schedule_id, url=url)
