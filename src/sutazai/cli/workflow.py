"""`sutazai workflow …`: define, plan, run and follow workflows of a running server."""

from pathlib import Path
from typing import Annotated

import typer

from sutazai.cli.output import Format

app = typer.Typer(help="Define and run workflows on a running server.", no_args_is_help=True)

WorkflowId = Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow's id.")]
ExecutionId = Annotated[str, typer.Argument(metavar="EXECUTION", help="The execution's id.")]
File = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="JSON or YAML with name and steps; - reads from stdin."),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", help="NAME=VALUE, the value as JSON or text; repeatable."),
]
InputFile = Annotated[
    Path | None, typer.Option(help="A JSON or YAML object with the input; - reads from stdin.")
]
Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]
Output = Annotated[Format, typer.Option("--format", help="How to print it.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Url = Annotated[str | None, typer.Option(help="The server; else SUTAZAI_URL, or the login's.")]


@app.command()
def create(file: File, output: Output = Format.TABLE, url: Url = None) -> None:
    """Keep a workflow; prints its id."""
    from sutazai.cli import workflow_actions

    workflow_actions.create(file, output=output, url=url)


@app.command()
def update(
    workflow_id: WorkflowId, file: File, output: Output = Format.TABLE, url: Url = None
) -> None:
    """Make a workflow's next version; executions keep theirs."""
    from sutazai.cli import workflow_actions

    workflow_actions.update(workflow_id, file, output=output, url=url)


@app.command("list")
def list_workflows(limit: Limit = 20, output: Output = Format.TABLE, url: Url = None) -> None:
    """List workflows, newest first."""
    from sutazai.cli import workflow_actions

    workflow_actions.list_workflows(limit=limit, output=output, url=url)


@app.command()
def show(workflow_id: WorkflowId, output: Output = Format.TABLE, url: Url = None) -> None:
    """Show a workflow with its steps; with --format json as create and update take it."""
    from sutazai.cli import workflow_actions

    workflow_actions.show(workflow_id, output=output, url=url)


@app.command()
def plan(
    workflow_id: WorkflowId,
    given: Inputs = None,
    input_file: InputFile = None,
    output: Output = Format.TABLE,
    url: Url = None,
) -> None:
    """Say what an execution would do, and execute nothing."""
    from sutazai.cli import workflow_actions

    workflow_actions.plan(workflow_id, given or [], input_file, output=output, url=url)


@app.command()
def run(
    workflow_id: WorkflowId,
    given: Inputs = None,
    input_file: InputFile = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the steps to the end.")] = False,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
    url: Url = None,
) -> None:
    """Execute a workflow; prints the execution's id, or with --wait how each step went.

    Exit code 1 if it failed or was cancelled.
    """
    from sutazai.cli import workflow_actions

    workflow_actions.run(
        workflow_id,
        given or [],
        input_file,
        wait=wait,
        output=output,
        quiet=quiet,
        url=url,
    )


@app.command()
def executions(
    workflow_id: WorkflowId, limit: Limit = 20, output: Output = Format.TABLE, url: Url = None
) -> None:
    """List a workflow's executions, newest first."""
    from sutazai.cli import workflow_actions

    workflow_actions.list_executions(workflow_id, limit=limit, output=output, url=url)


@app.command()
def execution(execution_id: ExecutionId, output: Output = Format.TABLE, url: Url = None) -> None:
    """Show where an execution and each of its steps stand."""
    from sutazai.cli import workflow_actions

    workflow_actions.show_execution(execution_id, output=output, url=url)


@app.command()
def wait(
    execution_id: ExecutionId, output: Output = Format.TABLE, quiet: Quiet = False, url: Url = None
) -> None:
    """Follow an execution to its end; exit code 1 if it failed or was cancelled."""
    from sutazai.cli import workflow_actions

    workflow_actions.wait(execution_id, output=output, quiet=quiet, url=url)


@app.command()
def cancel(execution_id: ExecutionId, url: Url = None) -> None:
    """End an execution and its tasks."""
    from sutazai.cli import workflow_actions

    workflow_actions.change("cancel", execution_id, url=url)


@app.command()
def retry(execution_id: ExecutionId, url: Url = None) -> None:
    """Do again what failed; what is finished is kept."""
    from sutazai.cli import workflow_actions

    workflow_actions.change("retry", execution_id, url=url)


@app.command()
def pause(execution_id: ExecutionId, url: Url = None) -> None:
    """Begin no more steps; what runs goes on."""
    from sutazai.cli import workflow_actions

    workflow_actions.change("pause", execution_id, url=url)


@app.command()
def resume(execution_id: ExecutionId, url: Url = None) -> None:
    """Go on with a paused execution."""
    from sutazai.cli import workflow_actions

    workflow_actions.change("resume", execution_id, url=url)


@app.command()
def approve(
    execution_id: ExecutionId,
    step_id: Annotated[str, typer.Argument(metavar="STEP", help="The step that waits.")],
    refuse: Annotated[bool, typer.Option("--refuse", help="Let it fail instead.")] = False,
    comment: Annotated[str, typer.Option(help="Kept with the step.")] = "",
    url: Url = None,
) -> None:
    """Let a step that waits for a person go on."""
    from sutazai.cli import workflow_actions

    workflow_actions.approve(execution_id, step_id, approved=not refuse, comment=comment, url=url)


@app.command("post-event")
def post_event(
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="The event waited for.")],
    correlation_id: Annotated[
        str | None, typer.Option("--correlation-id", help="Which of them, as the steps have it.")
    ] = None,
    refuse: Annotated[bool, typer.Option("--refuse", help="Let the steps fail instead.")] = False,
    comment: Annotated[str, typer.Option(help="Kept with the steps.")] = "",
    data: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE, the value as JSON or text, for the output; repeatable."),
    ] = None,
    url: Url = None,
) -> None:
    """Answer all steps that wait for an event."""
    from sutazai.cli import workflow_actions

    workflow_actions.post_event(
        event_type,
        correlation_id=correlation_id,
        approved=not refuse,
        comment=comment,
        data=data or [],
        url=url,
    )


@app.command()
def delete(workflow_id: WorkflowId, url: Url = None) -> None:
    """Take a workflow away; its executions go on and can be read."""
    from sutazai.cli import workflow_actions

    workflow_actions.delete(workflow_id, url=url)
