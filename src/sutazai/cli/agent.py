"""`sutazai agent …`: who works on a running server."""

from typing import Annotated

import typer

from sutazai.cli.output import Format

app = typer.Typer(help="Look at the agents of a running server.", no_args_is_help=True)

Output = Annotated[Format, typer.Option("--format", help="How to print it.")]
Url = Annotated[str | None, typer.Option(help="The server; else SUTAZAI_URL, or the login's.")]


@app.command("list")
def list_agents(output: Output = Format.TABLE, url: Url = None) -> None:
    """List the agents with their load."""
    from sutazai.cli.output import print_json, print_table
    from sutazai.cli.session import connect

    with connect(url) as client:
        found = client.list_agents()
    if output is Format.JSON:
        print_json(found)
        return
    rows = [
        (
            one["agent_id"],
            one["status"],
            f"{one['current_load']}/{one['max_capacity']}",
            ", ".join(one["capabilities"]),
        )
        for one in found["agents"]
    ]
    print_table(("ID", "STATUS", "LOAD", "CAPABILITIES"), rows)


@app.command()
def show(
    agent_id: Annotated[str, typer.Argument(help="Such as code-reviewer-01.")],
    output: Output = Format.TABLE,
    url: Url = None,
) -> None:
    """Show an agent with its configuration and figures."""
    from sutazai.cli.output import print_fields, print_json
    from sutazai.cli.session import connect

    with connect(url) as client:
        found = client.get_agent(agent_id)
    if output is Format.JSON:
        print_json(found)
        return
    groups = ("health", "configuration", "metrics", "resources")
    pairs = [(name, value) for name, value in found.items() if name not in groups]
    pairs += [(name, value) for group in groups for name, value in found[group].items()]
    print_fields(pairs)
