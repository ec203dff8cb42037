"""`sutazai review`: by the server of this folder where it can see the files, else here and now.

The rule: a server reviews if it runs on this data directory, has the paths in its workspace, and a
credential for it is at hand. Otherwise the same agent reviews in this process, for the moment, and
leaves nothing behind.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import typer

from sutazai.cli import progress, serving, session
from sutazai.cli.failures import ANSWER_IS_NO, Failure
from sutazai.cli.findings_view import SEVERITIES, nothing_read, print_issues, print_summary
from sutazai.cli.following import follow
from sutazai.cli.output import ReviewFormat, out, print_json
from sutazai.cli.review_formats import annotations, sarif
from sutazai.cli.review_input import Target, target_of

if TYPE_CHECKING:
    from sutazai_client import SutazAIClient

    from sutazai.agents.alone import Alone

NEVER = "never"
_NAME = "review"
_TYPE = "code_review"


class _Reviewed(NamedTuple):
    result: dict[str, Any]
    target: Target
    where: str


def review(
    paths: list[Path],
    *,
    rules: Sequence[str],
    fail_on: str,
    since: str | None,
    output: ReviewFormat,
    embedded: bool,
    quiet: bool,
) -> None:
    """Print what is wrong in these files; exit code 1 from severity `fail_on` upwards."""
    target = target_of(paths)
    with progress.display(quiet=quiet) as display:
        wanted = {} if since is None else {"since": since}
        done = None if embedded else _by_server(target, rules, wanted, display)
        if done is None:
            if since is not None:
                raise Failure(
                    "--since needs a server that remembers: none runs for this folder, or you are "
                    "not logged in to it. Start one with sutazai serve."
                )
            # As a server that was started here names the files: fingerprints hang on the names.
            here = target.within(Path.cwd()) or target
            done = _Reviewed(_here(here, rules, display), here, "in this process")
    _print(done, output)
    if _fails(done.result, fail_on):
        raise typer.Exit(ANSWER_IS_NO)


def _print(done: _Reviewed, output: ReviewFormat) -> None:
    match output:
        case ReviewFormat.JSON:
            print_json(_with_paths(done))
        case ReviewFormat.SARIF:
            print_json(sarif(_with_paths(done), _TYPE))
        case ReviewFormat.GITHUB:
            for line in annotations(_with_paths(done)):
                print(line)
        case ReviewFormat.TABLE:
            console = out()
            path_of = done.target.path_of
            print_issues(console, done.result["issues"], path_of)
            print_summary(console, done.result, path_of, where=done.where)
        case _:
            assert_never(output)


def _fails(result: Mapping[str, Any], fail_on: str) -> bool:
    """Counted by the metrics, because the list of issues may be cut."""
    if fail_on == NEVER:
        return False
    if nothing_read(result):
        return True
    failing = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    return any(result["metrics"]["by_severity"].get(severity) for severity in failing)


def _metadata(target: Target, rules: Sequence[str]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if target.patterns:
        metadata["files"] = list(target.patterns)
    if rules:
        metadata["rules"] = list(rules)
    return metadata


def _by_server(
    target: Target, rules: Sequence[str], wanted: Mapping[str, str], display: progress.Display
) -> _Reviewed | None:
    """The review by the running server; None where there is none that could."""
    held = serving.found()
    there = None if held is None else target.within(held.workspace)
    if held is None or there is None or not session.has_credential(held.url):
        return None
    with session.connect(held.url) as client:
        ended = _submitted(client, {**_metadata(there, rules), **wanted}, display)
        if ended["status"] != "completed":
            error = ended.get("error") or {"message": f"The review was {ended['status']}."}
            raise Failure(error["message"])
        result = client.get_result(ended["task_id"])["result"]
    task_id = ended["task_id"]
    return _Reviewed(result, there, f"by the server at {held.url} as task {task_id}")


def _submitted(
    client: "SutazAIClient", metadata: dict[str, Any], display: progress.Display
) -> dict[str, Any]:
    task = client.create_task(_TYPE, "sutazai review", metadata=metadata)
    try:
        return follow(client, {_NAME: task["task_id"]}, display)[_NAME]
    except KeyboardInterrupt:
        # Nobody is left to read the result.
        client.cancel_task(task["task_id"])
        raise


def _here(target: Target, rules: Sequence[str], display: progress.Display) -> dict[str, Any]:
    from sutazai.agents.contract import AgentError, Assignment
    from sutazai.analysis.pool import AnalysisPool
    from sutazai.builtin_agents.code_input import CodeInput
    from sutazai.builtin_agents.code_reviewer import CodeReviewer
    from sutazai.settings import load

    settings = load()

    async def run() -> dict[str, Any]:
        pool = AnalysisPool(processes=settings.analysis_processes)
        await pool.start()
        try:
            code = CodeInput(
                workspace=str(target.root), excluded=[str(settings.data_dir.absolute())]
            )
            agent = CodeReviewer(pool=pool, code=code)
            assignment = Assignment(
                assignment_id=_NAME,
                task_id=_NAME,
                type=_TYPE,
                description="sutazai review",
                metadata=_metadata(target, rules),
                attempt=1,
                configuration={},
            )
            return await agent.handle(assignment, _context(display))
        finally:
            await pool.close()

    try:
        return asyncio.run(run())
    except AgentError as error:
        raise Failure(error.message) from error


def _context(display: progress.Display) -> "Alone":
    """What the runner of a server would lend to the agent; it leaves nothing behind."""
    from sutazai.agents.alone import Alone

    class Shown(Alone):
        async def progress(self, percent: int, **counters: int) -> None:
            status = "completed" if percent >= 100 else "processing"
            display.show({"status": status, "progress": percent, "metadata": counters}, _NAME)

    return Shown()


def _with_paths(done: _Reviewed) -> dict[str, Any]:
    """The agent's result, with paths as this user writes them."""

    def renamed(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [{**item, "file": done.target.path_of(item["file"])} for item in items]

    result = done.result
    listed = ("issues", "unparsed", "not_analysed", "skipped", "dismissed")
    after = {**result, **{name: renamed(result[name]) for name in listed if name in result}}
    baseline = result.get("baseline")
    if baseline is not None:
        parts = {name: renamed(baseline[name]) for name in ("unchanged", "absent")}
        after["baseline"] = {**baseline, **parts}
    return after
