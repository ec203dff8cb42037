"""`sutazai finding …`: what tasks found, and what nobody wants to see again."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from sutazai.cli.output import Format

app = typer.Typer(help="List, dismiss and restore what tasks found.", no_args_is_help=True)

TaskId = Annotated[str, typer.Argument(help="The task that found it.")]
Fingerprint = Annotated[str, typer.Argument(help="As `sutazai finding list` shows it.")]
Output = Annotated[Format, typer.Option("--format", help="How to print it.")]
Url = Annotated[str | None, typer.Option(help="The server; else SUTAZAI_URL, or the login's.")]


@app.command("list")
def list_findings(
    task_id: TaskId,
    dismissed: Annotated[
        bool | None, typer.Option("--dismissed/--open", help="Only these, or only the others.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many at most.")] = 100,
    output: Output = Format.TABLE,
    url: Url = None,
) -> None:
    """List what a task found, worst first."""
    from sutazai.cli.output import err, print_json, print_table
    from sutazai.cli.session import connect

    with connect(url) as client:
        page = client.list_findings(task_id, dismissed=dismissed, limit=limit)
    if output is Format.JSON:
        print_json(page["findings"])
        return
    rows = [(one["fingerprint"], one["severity"], _said(one)) for one in page["findings"]]
    print_table(("FINGERPRINT", "SEVERITY", "FINDING"), rows)
    if page["total"] > len(rows):
        err().print(f"{len(rows)} of {page['total']}; --limit shows more.")


def _said(finding: Mapping[str, Any]) -> str:
    said = f"{finding['rule']} {finding['file']}:{finding['line']}"
    dismissed = finding["dismissed"]
    return said if dismissed is None else f"{said} (dismissed: {dismissed['reason']})"


@app.command()
def dismiss(
    task_id: TaskId,
    fingerprint: Fingerprint,
    reason: Annotated[str, typer.Option(help="For whoever asks later.", prompt="Why")],
    url: Url = None,
) -> None:
    """Leave a finding out of later reviews of the same project."""
    from sutazai.cli.session import connect

    with connect(url) as client:
        made = client.dismiss_finding(task_id, fingerprint, reason)
    whose = "everybody's reviews" if made["for_everybody"] else "your reviews"
    print(f"Dismissed in {whose} of this project.")


@app.command()
def restore(task_id: TaskId, fingerprint: Fingerprint, url: Url = None) -> None:
    """Take a dismissal back."""
    from sutazai.cli.session import connect

    with connect(url) as client:
        client.restore_finding(task_id, fingerprint)
    print("Restored.")
