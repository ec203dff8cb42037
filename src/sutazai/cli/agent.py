"""`sutazai agent …`: who works on a running server."""

from typing import Annotated

import typer

from sutazai.cli.output import Format

app = typer.Typer(help="Look at the agents of a server, and join your own.", no_args_is_help=True)

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


@app.command()
def register(
    agent_id: Annotated[str, typer.Argument(help="What it is to be called.")],
    capabilities: Annotated[
        list[str], typer.Option("--type", help="A task type that it takes; repeatable.")
    ],
    name: Annotated[str | None, typer.Option(help="For people; else the id.")] = None,
    capacity: Annotated[int, typer.Option(min=1, help="How many tasks at once.")] = 1,
    transport: Annotated[str, typer.Option(help="http or redis.")] = "http",
    output: Output = Format.TABLE,
    url: Url = None,
) -> None:
    """Let an agent of your own join; prints its key, which is shown this once."""
    from sutazai.cli.output import err, print_json
    from sutazai.cli.session import connect

    with connect(url) as client:
        made = client.register_agent(
            agent_id,
            name=name or agent_id,
            type="specialist",
            capabilities=capabilities,
            max_capacity=capacity,
            transport=transport,
        )
    if output is Format.JSON:
        print_json(made)
    elif made["api_key"] is None:
        err().print(f"{agent_id} has joined before. A new key: sutazai agent key {agent_id}")
    else:
        print(made["api_key"])


@app.command()
def key(
    agent_id: Annotated[str, typer.Argument(help="An agent of your own.")], url: Url = None
) -> None:
    """Give an agent of your own a new key and print it; the old one ends."""
    from sutazai.cli.session import connect

    with connect(url) as client:
        print(client.renew_agent_key(agent_id)["api_key"])


@app.command()
def delete(
    agent_id: Annotated[str, typer.Argument(help="An agent of your own.")], url: Url = None
) -> None:
    """Delete an agent of your own; what it is doing goes to others."""
    from sutazai.cli.session import connect

    with connect(url) as client:
        client.delete_agent(agent_id)


@app.command(context_settings={"allow_extra_args": False})
def check(
    task_type: Annotated[str, typer.Option("--type", help="The task type that it takes.")],
    command: Annotated[
        list[str] | None,
        typer.Argument(help="What starts the agent, after --; without, start it yourself."),
    ] = None,
    good: Annotated[str, typer.Option(help="Metadata of a task it can do, as JSON.")] = "{}",
    bad: Annotated[str | None, typer.Option(help="The same, of one it cannot do.")] = None,
    slow: Annotated[str | None, typer.Option(help="The same, of one that takes over 7 s.")] = None,
    agent_id: Annotated[str, typer.Option(help="Its id.")] = "checked-agent",
    capacity: Annotated[int, typer.Option(min=1, help="How many tasks it does at once.")] = 1,
    patience: Annotated[float, typer.Option(min=1, help="Seconds a task may take.")] = 60,
    redis_url: Annotated[
        str | None,
        typer.Option("--redis", help="The Redis that it works through; nobody else's."),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Find out whether an agent of your own behaves; exit code 1 where it does not.

    Starts a server in a temporary folder, and the agent with SUTAZAI_URL, SUTAZAI_AGENT_ID and
    SUTAZAI_AGENT_KEY; gives it tasks, and makes trouble. With --redis it is told REDIS_URL, too.
    """
    from sutazai.cli import agent_check
    from sutazai.cli.agent_stage import Wish
    from sutazai.cli.agent_witness import object_of
    from sutazai.cli.failures import Failure

    try:
        inputs = [
            None if text is None else object_of(text, option)
            for text, option in ((good, "--good"), (bad, "--bad"), (slow, "--slow"))
        ]
    except ValueError as error:
        raise Failure(str(error)) from error
    wish = Wish(
        command=tuple(command or ()),
        agent_id=agent_id,
        task_type=task_type,
        good=inputs[0] or {},
        bad=inputs[1],
        slow=inputs[2],
        capacity=capacity,
        patience=patience,
        redis_url=redis_url,
    )
    agent_check.check(wish, output)
