"""The commands, by name; what each needs is imported when it is asked for."""

import gc
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sutazai.cli import agent, finding, schedule, task, user, workflow
from sutazai.cli.failures import Commands
from sutazai.cli.output import Format, ReviewFormat

app = typer.Typer(
    cls=Commands,
    help="Self-hosted AI task automation: agents that review code, as durable tasks.",
    epilog="Exit codes: 0 done, 1 the answer is no (findings, a failed task), 2 could not be done.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(task.app, name="task", rich_help_panel="Use")
app.add_typer(finding.app, name="finding", rich_help_panel="Use")
app.add_typer(workflow.app, name="workflow", rich_help_panel="Use")
app.add_typer(schedule.app, name="schedule", rich_help_panel="Use")
app.add_typer(agent.app, name="agent", rich_help_panel="Use")
app.add_typer(user.app, name="user", rich_help_panel="Operate")

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")]
DataDir = Annotated[Path | None, typer.Option(help="Where the state lives.")]
Workspace = Annotated[Path | None, typer.Option(help="The directory whose code agents may read.")]
NoAgents = Annotated[bool, typer.Option("--no-agents", help="Serve the API only.")]
Output = Annotated[Format, typer.Option("--format", help="How to print it.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Url = Annotated[str | None, typer.Option(help="The server; else SUTAZAI_URL, or the login's.")]


class FailOn(StrEnum):
    """From which severity on a review fails."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"
    NEVER = "never"


@app.command(rich_help_panel="Use")
def review(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders to review.")],
    rules: Annotated[
        str | None,
        typer.Option(help="Only these types, such as security,performance,bug."),
    ] = None,
    fail_on: Annotated[
        FailOn, typer.Option(help="Exit with 1 from this severity on.")
    ] = FailOn.HIGH,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only what a task of this id, or a review of this commit, had not found."
        ),
    ] = None,
    output: Annotated[
        ReviewFormat, typer.Option("--format", help="How to print it.")
    ] = ReviewFormat.TABLE,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Do not use a running server.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Review code, with or without a running server.

    The server of this folder's data directory reviews, if it runs, sees the paths in its
    workspace, and you are logged in to it. Otherwise the agent runs here for the moment and
    leaves nothing behind.
    """
    from sutazai.cli.review import review as run

    named = [name.strip() for name in (rules or "").split(",") if name.strip()]
    run(
        paths,
        rules=named,
        fail_on=fail_on.value,
        since=since,
        output=output,
        embedded=embedded,
        quiet=quiet,
    )


@app.command(rich_help_panel="Use")
def login(
    url: Annotated[str | None, typer.Argument(help="The server's address.")] = None,
    username: Annotated[str | None, typer.Option(help="Asked for unless given.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Start a session on a server, for the commands that follow."""
    from sutazai.cli.login import login as run

    run(url, username=username, password_stdin=password_stdin)


@app.command(rich_help_panel="Use")
def logout() -> None:
    """End the stored session, here and on its server."""
    from sutazai.cli.login import logout as run

    run()


@app.command(rich_help_panel="Use")
def events(
    after: Annotated[int, typer.Option(help="Only events with a higher id.", min=0)] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    output: Output = Format.TABLE,
    url: Url = None,
) -> None:
    """Print the event log; with --format json one object a line."""
    from sutazai.cli.events import events as run

    run(after=after, follow=follow, output=output, url=url)


@app.command(rich_help_panel="Operate")
def serve(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    workspace: Workspace = None,
    no_agents: NoAgents = False,
) -> None:
    """Start the server and leave it up until Ctrl-C."""
    # Until the server is up nearly all that is made stays: looking through it took a seventh of the
    # time of importing, and frees nothing.
    gc.disable()
    from sutazai.cli.serve import serve as run

    run(
        host=host,
        port=port,
        data_dir=data_dir,
        workspace=workspace,
        agents=False if no_agents else None,
    )


@app.command(rich_help_panel="Operate")
def demo(
    everything: Annotated[bool, typer.Option("--all", help="Print every finding.")] = False,
) -> None:
    """Start a server, have its agents review real code, show it, stop."""
    from sutazai.cli.demo import demo as run

    run(everything=everything)


@app.command(rich_help_panel="Operate")
def doctor(
    host: Host = None, port: Port = None, data_dir: DataDir = None, workspace: Workspace = None
) -> None:
    """Check that everything is as the server needs it; exit code 1 if not."""
    from sutazai.cli.doctor import doctor as run

    run(host=host, port=port, data_dir=data_dir, workspace=workspace)


@app.command(rich_help_panel="Operate")
def config(output: Output = Format.TABLE) -> None:
    """Print the settings in force and where each comes from; secrets are masked."""
    from sutazai.cli.config import config as run

    run(output)
