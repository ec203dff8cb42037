"""`sutazai demo`: the whole product at work for a minute, on real code, leaving nothing behind."""

import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text
from sutazai_client import SutazAIClient

import sutazai
from sutazai.cli import progress
from sutazai.cli.demo_pipeline import run_pipeline
from sutazai.cli.embedded import embedded_server
from sutazai.cli.failures import ANSWER_IS_NO, Failure
from sutazai.cli.findings_view import print_in_order, print_issues, print_summary
from sutazai.cli.following import follow
from sutazai.cli.output import out, printable
from sutazai.cli.quotes import untrue
from sutazai.cli.review_input import shown_path
from sutazai.settings import Settings
from sutazai.telemetry.logs import configure_logging

_SHOWN = 4
_PINGS = 10
_REVIEW = "code_review"
_REVIEWER = "code-reviewer-01"


# For one task; a slow model answers little by then, and a demo is to end.
_MODEL_SECONDS = 45.0


class _Job(NamedTuple):
    """One task of the demo: what it is called, and what it is given; `model` if one is asked."""

    name: str
    type: str
    folder: str
    model: bool = False


class _Done(NamedTuple):
    """A task that has ended, its result, and how long it took from the claim on (seconds)."""

    job: _Job
    result: dict[str, Any]
    seconds: float


def demo(*, everything: bool) -> None:
    """Print what the agents find in this project; exit code 1 if a finding is not true."""
    configure_logging("ERROR")
    console = out()
    root, jobs = _plan()
    console.print(
        Text.assemble(
            ("SutazAI demo", "bold green"),
            ": a server in a temporary folder, its agents, and real code.",
        ),
        soft_wrap=True,
    )
    password = secrets.token_urlsafe(16)
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="sutazai-demo-") as folder,
        embedded_server(_settings(Path(folder), root, password)) as url,
        SutazAIClient(url) as client,
    ):
        _tick(console, f"server up at {url} in {time.monotonic() - begun:.1f} s")
        client.login("admin", password)
        _ping(console, client)
        _tell_of_model(console, client.health())
        if (root / "examples" / "ledger").is_dir():
            run_pipeline(console, client)
        done = _run(client, jobs)
        for one in done:
            if one.job.type == _REVIEW:
                _show(console, one, root, everything=everything)
        last = jobs[-1]
        again = _run(client, [last._replace(name=f"{last.name} again", model=False)])
        figures = client.get_agent(_REVIEWER)
    wrong = [place for one in done for place in untrue(root, one.result["issues"])]
    _conclude(console, [*done, *again], figures, wrong)
    if wrong:
        raise typer.Exit(ANSWER_IS_NO)


def _plan() -> tuple[Path, list[_Job]]:
    """This project's tree where we run from it; of an installed package, the package itself."""
    package = Path(sutazai.__file__).resolve().parent
    root = package.parents[1]
    if not (root / "examples" / "shop").is_dir():
        return package.parent, [_Job("review of sutazai itself", _REVIEW, package.name, model=True)]
    return root, [
        _Job("security of examples/shop", "security_analysis", "examples/shop"),
        _Job("review of examples/shop", _REVIEW, "examples/shop", model=True),
        _Job("review of src", _REVIEW, "src"),
    ]


def _settings(folder: Path, root: Path, password: str) -> Settings:
    """Of its own: neither the environment nor a `.env` may lead the demo to somebody's data."""
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "data_dir": folder / "data",
        "workspace": root,
        "agents": True,
        "database_url": None,
        "jwt_secret": None,
        "admin_password": SecretStr(password),
        "trusted_proxies": (),
        "cors_origins": (),
        "rate_limits": False,
        "redis_url": None,
    }
    given = Settings(**values)
    if "llm_task_seconds" in given.model_fields_set:
        return given
    return Settings(**values, llm_task_seconds=_MODEL_SECONDS)


def _tell_of_model(console: Console, health: Mapping[str, Any]) -> None:
    """Which words below are a language model's, or that there are none."""
    match health["services"]["ollama"]:
        case "healthy":
            _tick(
                console, "a language model is there: what it says is marked ◆ or named as its own"
            )
            return
        case "unhealthy":
            told = "The language model does not answer: SUTAZAI_LLM_URL says where it is."
        case _:
            told = "No language model is there; docs/models.md says how to add one."
    console.print(Text(f"· {told} All of this works without.", "dim"), soft_wrap=True)


def _ping(console: Console, client: SutazAIClient) -> None:
    took = []
    for number in range(_PINGS):
        begun = time.monotonic()
        task = client.create_task("ping", "Is anybody there?", metadata={"number": number})
        answer = client.get_result(task["task_id"], wait=20)
        took.append((time.monotonic() - begun) * 1000)
        if answer["result"] != {"number": number}:
            raise Failure(f"A ping came back as {answer['result']!r}.")
    middle = statistics.median(took)
    _tick(console, f"{_PINGS} pings went through queue, agent and database: {middle:.0f} ms each")


def _run(client: SutazAIClient, jobs: Sequence[_Job]) -> list[_Done]:
    tasks = {
        job.name: client.create_task(
            job.type,
            f"Demo: {job.name}",
            metadata={"files": [f"/{job.folder}"], "model": job.model},
        )["task_id"]
        for job in jobs
    }
    with progress.display() as display:
        ended = follow(client, tasks, display)
    done = []
    for job in jobs:
        if ended[job.name]["status"] != "completed":
            raise Failure(f"The {job.name} was not completed: {ended[job.name].get('error')}")
        result = client.get_result(tasks[job.name])["result"]
        done.append(_Done(job, result, result["metrics"]["time_taken"]))
    return done


def _show(console: Console, done: _Done, root: Path, *, everything: bool) -> None:
    """The worst in full, the rest counted."""
    issues = done.result["issues"]
    shown = issues if everything else _first(issues)
    reviewed = shown_path(root, done.job.folder)

    def path_of(file: str) -> str:
        return str(shown_path(root, file))

    console.print()
    console.print(Rule(Text(done.job.name, "bold"), align="left", style="dim"))
    if everything:
        print_issues(console, issues, path_of)
    else:
        print_in_order(console, shown, path_of)
    if len(issues) > len(shown):
        command = f"{_command()} review {reviewed}"
        console.print(
            Text.assemble(
                f"… and {len(issues) - len(shown)} more. All of them: ", (command, "bold")
            ),
            soft_wrap=True,
        )
    print_summary(console, done.result, path_of, where=f"by {_REVIEWER}")


def _first(issues: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The worst, and one that the model found by itself, if it did."""
    own = (one for one in issues[_SHOWN:] if one.get("by") == "model")
    return [*issues[:_SHOWN], *islice(own, 1)]


def _conclude(
    console: Console, done: Sequence[_Done], figures: Mapping[str, Any], wrong: Sequence[str]
) -> None:
    console.print()
    console.print(Rule(Text("what was done", "bold"), align="left", style="dim"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("TASK")
    for heading in ("FILES", "CACHED", "LINES", "FINDINGS", "SECONDS"):
        table.add_column(heading, justify="right")
    for one in done:
        metrics = one.result["metrics"]
        names = ("files_analyzed", "files_cached", "lines_analyzed", "issues_found")
        cells = [f"{metrics[name]:,}" for name in names]
        table.add_row(Text(printable(one.job.name)), *cells, f"{one.seconds:.2f}")
    console.print(table)
    console.print(Text(_agent_line(figures), "dim"), soft_wrap=True)
    checked = [issue for one in done for issue in one.result["issues"]]
    own = sum(issue.get("by") == "model" for issue in checked)
    if wrong:
        console.print(Text(f"✗ {len(wrong)} findings do not quote the line they name:", "bold red"))
        for place in wrong:
            console.print(Text(f"  {printable(place)}"), soft_wrap=True)
    else:
        told = f"{len(checked)} findings" + (f" ({own} of them the model's)" if own else "")
        _tick(console, f"each of the {told} quotes the line it names: files read anew")
    _next(console)


def _agent_line(figures: Mapping[str, Any]) -> str:
    metrics, resources = figures["metrics"], figures["resources"]
    return (
        f"{figures['agent_id']}: {metrics['tasks_completed']} tasks, "
        f"{metrics['average_duration'] or 0:.2f} s on average, "
        f"{(metrics['success_rate'] or 0) * 100:.0f} % completed, "
        f"{(metrics['cache_hit_rate'] or 0) * 100:.0f} % cached, "
        f"{resources['memory_usage']:.0f} MiB"
    )


def _next(console: Console) -> None:
    command = _command()
    console.print()
    console.print(Text("What next", "bold"))
    for what, why in (
        (f"{command} review PATH", "review your own code"),
        ("make run", "start the server and leave it up"),
        ("README.md, docs/", "how to go on"),
    ):
        console.print(Text.assemble(f"  {what:<30} ", (why, "dim")), soft_wrap=True)


def _command() -> str:
    """How this program is called from where the user stands."""
    if shutil.which("sutazai"):
        return "sutazai"
    return str(shown_path(Path(sys.argv[0]).resolve().parent, Path(sys.argv[0]).name))


def _tick(console: Console, text: str) -> None:
    console.print(Text.assemble(("✓ ", "green"), text), soft_wrap=True)
