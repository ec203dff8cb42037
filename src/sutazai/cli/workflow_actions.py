"""What `sutazai workflow …` does, through the client."""

import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sutazai.cli import steps_view
from sutazai.cli.documents import object_of, read_object
from sutazai.cli.failures import ANSWER_IS_NO, Failure
from sutazai.cli.output import Format, age, print_fields, print_json, print_table
from sutazai.cli.session import connect

if TYPE_CHECKING:
    from sutazai_client import SutazAIClient

_FIRST_LOOK, _SLOWER, _LAST_LOOK = 0.2, 1.2, 1.5
_LOOK_OF_NOBODY = 20.0
_UNKNOWN = "not known yet"
_OF_A_DEFINITION = {"name", "description", "steps"}
# What `show --format json` prints beside these, and may therefore come back.
_OF_THE_SERVER = {"workflow_id", "status", "version", "created_at", "updated_at", "created_by"}


def _definition(file: Path) -> dict[str, Any]:
    """The arguments of the client's methods; what a server has printed is taken as well."""
    found = read_object(file)
    unknown = sorted(found.keys() - _OF_A_DEFINITION - _OF_THE_SERVER)
    if unknown:
        raise Failure(
            f"{file} has unknown fields: {', '.join(map(ascii, unknown))}.",
            remarks=["A workflow has a name, steps, and perhaps a description."],
        )
    missing = sorted({"name", "steps"} - found.keys())
    if missing:
        raise Failure(f"{file} lacks {' and '.join(missing)}.")
    if not isinstance(found["steps"], list):
        raise Failure(f"{file}: steps must be a list.")
    return {name: found[name] for name in found.keys() & _OF_A_DEFINITION}


def create(file: Path, *, output: Format, url: str | None) -> None:
    """Keep it; print the id alone, so that a script can take it."""
    definition = _definition(file)
    with connect(url) as client:
        made = client.create_workflow(**definition)
    print_json(made) if output is Format.JSON else print(made["workflow_id"])


def update(workflow_id: str, file: Path, *, output: Format, url: str | None) -> None:
    """Make the next version, and say which it is."""
    definition = _definition(file)
    with connect(url) as client:
        made = client.update_workflow(workflow_id, **definition)
    if output is Format.JSON:
        print_json(made)
    else:
        print(f"{made['workflow_id']} version {made['version']}")


def list_workflows(*, limit: int, output: Format, url: str | None) -> None:
    """Print the newest workflows."""
    with connect(url) as client:
        found = list(islice(client.iter_workflows(), limit))
    if output is Format.JSON:
        print_json(found)
        return
    rows = [
        (
            one["workflow_id"],
            one["version"],
            len(one["steps"]),
            age(one["updated_at"]),
            one["name"],
        )
        for one in found
    ]
    print_table(("ID", "VERSION", "STEPS", "CHANGED", "NAME"), rows)


def show(workflow_id: str, *, output: Format, url: str | None) -> None:
    """Print a workflow and its steps."""
    with connect(url) as client:
        found = client.get_workflow(workflow_id)
    if output is Format.JSON:
        print_json(found)
        return
    names = ("workflow_id", "name", "description", "version", "created_by", "updated_at")
    print_fields([(name, found[name]) for name in names if found[name]])
    print()
    rows = [
        (
            one["step_id"],
            one["type"],
            one.get("agent") or "any",
            one.get("depends_on", []),
            _details(one),
        )
        for one in found["steps"]
    ]
    print_table(("STEP", "TYPE", "AGENT", "AFTER", "MORE"), rows)


def _details(step: Mapping[str, Any]) -> str:
    said = []
    if step.get("when"):
        said.append(f"when {step['when']}")
    if step.get("for_each"):
        said.append(f"for each of {step['for_each']['items']}")
    if step.get("input"):
        said.append("takes " + ", ".join(f"{k} = {v}" for k, v in step["input"].items()))
    if step.get("on_failure", "fail") != "fail":
        said.append(f"on failure {step['on_failure']}")
    return "; ".join(said)


def plan(
    workflow_id: str,
    given: Sequence[str],
    input_file: Path | None,
    *,
    output: Format,
    url: str | None,
) -> None:
    """Print what an execution would do."""
    value = object_of(given, input_file)
    with connect(url) as client:
        found = client.plan_workflow(workflow_id, value)
    if output is Format.JSON:
        print_json(found)
        return
    steps = {one["step_id"]: one for one in found["steps"]}
    ordinary = [name for stage in found["order"] for name in stage]
    rows = [
        (str(number), *_planned(steps[name]))
        for number, stage in enumerate(found["order"], 1)
        for name in stage
    ]
    # What only a failure brings about is in no stage.
    rows += [("-", *_planned(one)) for name, one in steps.items() if name not in ordinary]
    print_table(("STAGE", "STEP", "TYPE", "AGENTS", "CACHED", "USUALLY TAKES"), rows)
    whole = _range(found)
    print(f"\nThe whole usually takes {whole}." if whole != _UNKNOWN else "")


def _planned(step: Mapping[str, Any]) -> tuple[object, ...]:
    cached = {True: "yes", False: "no", None: "-"}[step["cached"]]
    return step["step_id"], step["type"], step["agents"], cached, _range(step)


def _range(found: Mapping[str, Any]) -> str:
    shortest, longest = found["shortest_seconds"], found["longest_seconds"]
    if shortest is None:
        return _UNKNOWN
    return f"{steps_view.duration(shortest)} to {steps_view.duration(longest)}"


def run(
    workflow_id: str,
    given: Sequence[str],
    input_file: Path | None,
    *,
    wait: bool,
    output: Format,
    quiet: bool,
    url: str | None,
) -> None:
    """Execute; print the id alone, or with `wait` how each step went."""
    value = object_of(given, input_file)
    with connect(url) as client:
        begun = client.execute_workflow(workflow_id, value)
        if not wait:
            print_json(begun) if output is Format.JSON else print(begun["execution_id"])
            return
        ended = _follow(client, begun["execution_id"], quiet=quiet)
    _print_end(ended, output)


def wait(execution_id: str, *, output: Format, quiet: bool, url: str | None) -> None:
    """Follow to the end, and print it."""
    with connect(url) as client:
        ended = _follow(client, execution_id, quiet=quiet)
    _print_end(ended, output)


def _follow(client: "SutazAIClient", execution_id: str, *, quiet: bool) -> dict[str, Any]:
    from sutazai_client import FINAL

    look, last = (_LOOK_OF_NOBODY, _LOOK_OF_NOBODY) if quiet else (_FIRST_LOOK, _LAST_LOOK)
    with steps_view.display(quiet=quiet) as display:
        while True:
            begun = time.monotonic()
            execution = client.get_execution(execution_id, wait=look)
            display.show(execution)
            if execution["status"] in FINAL:
                return execution
            # A server that is stopping answers at once: do not ask in a tight loop.
            time.sleep(max(0.0, _FIRST_LOOK - (time.monotonic() - begun)))
            look = min(last, look * _SLOWER)


def _print_end(ended: Mapping[str, Any], output: Format) -> None:
    print_json(ended) if output is Format.JSON else steps_view.print_execution(ended)
    if ended["status"] != "completed":
        raise typer.Exit(ANSWER_IS_NO)


def list_executions(workflow_id: str, *, limit: int, output: Format, url: str | None) -> None:
    """Print the newest executions."""
    with connect(url) as client:
        found = list(islice(client.iter_executions(workflow_id), limit))
    if output is Format.JSON:
        print_json(found)
        return
    rows = [
        (
            one["execution_id"],
            one["status"],
            f"{one['steps_completed']}/{one['steps_total']}",
            one["version"],
            age(one["started_at"]),
        )
        for one in found
    ]
    print_table(("ID", "STATUS", "STEPS", "VERSION", "AGE"), rows)


def show_execution(execution_id: str, *, output: Format, url: str | None) -> None:
    """Print an execution with its steps."""
    with connect(url) as client:
        found = client.get_execution(execution_id)
    print_json(found) if output is Format.JSON else steps_view.print_execution(found)


def change(what: str, execution_id: str, *, url: str | None) -> None:
    """Cancel, retry, pause or resume, and say how it is now."""
    with connect(url) as client:
        after = getattr(client, f"{what}_execution")(execution_id)
    print(f"{after['execution_id']} {after['status']}")


def approve(
    execution_id: str, step_id: str, *, approved: bool, comment: str, url: str | None
) -> None:
    """Approve or refuse, and say how the execution is now."""
    with connect(url) as client:
        after = client.approve_step(execution_id, step_id, approved=approved, comment=comment)
    print(f"{after['execution_id']} {after['status']}")


def post_event(
    event_type: str,
    *,
    correlation_id: str | None,
    approved: bool,
    comment: str,
    data: Sequence[str],
    url: str | None,
) -> None:
    """Post it, and say which steps it has answered."""
    said = object_of(data, None)
    for name, option in (("approved", "--refuse"), ("comment", "--comment")):
        if name in said:
            raise Failure(f"--data {name}: say it with {option}, or leave it out.")
    said["approved"] = approved
    if comment:
        said["comment"] = comment
    with connect(url) as client:
        posted = client.post_event(event_type, said, correlation_id=correlation_id)
    for one in posted["answered"]:
        print(f"{one['execution_id']} {one['step_id']}")


def delete(workflow_id: str, *, url: str | None) -> None:
    """Delete, and say so."""
    with connect(url) as client:
        client.delete_workflow(workflow_id)
    print(f"{workflow_id} deleted")
