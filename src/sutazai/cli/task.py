"""`sutazai task …`: submit, follow, list and cancel tasks of a running server."""

from typing import Annotated

import typer

from sutazai.cli.output import Format

app = typer.Typer(help="Submit and follow tasks on a running server.", no_args_is_help=True)

TaskId = Annotated[str, typer.Argument(help="The task's id.")]
Output = Annotated[Format, typer.Option("--format", help="How to print it.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Url = Annotated[str | None, typer.Option(help="The server; else SUTAZAI_URL, or the login's.")]


@app.command()
def submit(
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="Such as code_review.")],
    description: Annotated[str, typer.Argument(help="What it is for.")] = "",
    file: Annotated[
        list[str] | None, typer.Option(help="A path or glob in the server's workspace; repeatable.")
    ] = None,
    metadata: Annotated[str | None, typer.Option(help="A JSON object with the input.")] = None,
    priority: Annotated[int, typer.Option(min=1, max=10, help="10 goes first.")] = 5,
    agent: Annotated[str | None, typer.Option(help="The one agent that is to do it.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="To find it by; repeatable.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait, and print the result.")] = False,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
    url: Url = None,
) -> None:
    """Submit a task; prints its id, or with --wait its result (exit code 1 if it failed)."""
    from sutazai.cli import task_actions

    task_actions.submit(
        task_type,
        description,
        files=file or [],
        metadata=metadata,
        fields={
            "priority": priority,
            "tags": tag or [],
            **({"agent": agent} if agent else {}),
        },
        wait=wait,
        output=output,
        quiet=quiet,
        url=url,
    )


@app.command("list")
def list_tasks(
    status: Annotated[str | None, typer.Option(help="Such as queued or failed.")] = None,
    task_type: Annotated[str | None, typer.Option("--type", help="Such as code_review.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only tasks with this tag.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    output: Output = Format.TABLE,
    url: Url = None,
) -> None:
    """List tasks, newest first."""
    from sutazai.cli import task_actions

    filters = {"status": status, "type": task_type, "tag": tag}
    task_actions.list_tasks(filters, limit=limit, output=output, url=url)


@app.command()
def show(task_id: TaskId, output: Output = Format.TABLE, url: Url = None) -> None:
    """Show how a task is."""
    from sutazai.cli import task_actions

    task_actions.show(task_id, output=output, url=url)


@app.command()
def result(task_id: TaskId, output: Output = Format.TABLE, url: Url = None) -> None:
    """Print what came of a task; exit code 1 if it failed."""
    from sutazai.cli import task_actions

    task_actions.result(task_id, output=output, url=url)


@app.command()
def wait(
    task_id: TaskId,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait at most.")] = 300,
    output: Output = Format.TABLE,
    url: Url = None,
) -> None:
    """Wait until a task has ended; exit code 1 if it failed or was cancelled."""
    from sutazai.cli import task_actions

    task_actions.wait(task_id, timeout=timeout, output=output, url=url)


@app.command()
def cancel(task_id: TaskId, url: Url = None) -> None:
    """End a task that is waiting or running."""
    from sutazai.cli import task_actions

    task_actions.cancel(task_id, url=url)
