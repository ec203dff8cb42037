"""The demo's workflow: four agents at the examples, each step told as it goes."""

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text
from sutazai_client import FINAL, SutazAIClient

from sutazai.cli import steps_view
from sutazai.cli.failures import Failure
from sutazai.cli.model_view import contribution
from sutazai.cli.output import printable

# Two agents, one after the other, may have asked a slow model for two minutes each.
_SECONDS = 600
_LOOK = 0.2
_LINES = 24
_APPLICATIONS = ["/examples/shop", "/examples/ledger"]
_CODE = "/examples/ledger/ledger/money.py"
_STEPS: list[dict[str, Any]] = [
    {
        "step_id": "review",
        "type": "code_review",
        "agent": "code-reviewer-01",
        "description": "What is wrong with the code",
        "config": {"files": _APPLICATIONS},
    },
    {
        "step_id": "security",
        "type": "security_analysis",
        "agent": "security-analyst-01",
        "description": "What an attacker could do, across files",
        "config": {"files": _APPLICATIONS},
    },
    {
        "step_id": "tests",
        "type": "test_generation",
        "agent": "test-generator-01",
        "description": "Tests that pass, and fail on mutants",
        "depends_on": ["review"],
        "config": {"files": [_CODE]},
    },
    {
        "step_id": "documentation",
        "type": "documentation",
        "agent": "doc-generator-01",
        "description": "A page on what was just tested",
        "depends_on": ["tests"],
        "config": {"files": [_CODE]},
    },
]


def run_pipeline(console: Console, client: SutazAIClient) -> None:
    """Execute the workflow and tell what came of each step. Raises Failure where it failed."""
    workflow = client.create_workflow("Review, test and document the examples", _STEPS)
    execution = client.execute_workflow(workflow["workflow_id"])
    ended = _followed(client, execution["execution_id"])
    if ended["status"] != "completed":
        raise Failure(f"The demo's workflow ended as {ended['status']}: {ended.get('error')}")
    console.print()
    title = Text("the examples, in a workflow of four agents", "bold")
    console.print(Rule(title, align="left", style="dim"))
    results: dict[str, Mapping[str, Any]] = {}
    agents = {step["step_id"]: step["agent"] for step in _STEPS}
    for step in ended["steps"]:
        result = client.get_result(step["task_id"])["result"]
        results[step["step_id"]] = result
        line = Text.assemble(
            ("✓ ", "green"),
            f"{agents[step['step_id']]:<21} ",
            printable(_said(result)),
            (_by_model(result), "dim"),
        )
        console.print(line, soft_wrap=True)
    _excerpt(console, results["tests"])


def _followed(client: SutazAIClient, execution_id: str) -> dict[str, Any]:
    until = time.monotonic() + _SECONDS
    with steps_view.display() as display:
        while True:
            execution: dict[str, Any] = client.get_execution(execution_id)
            display.show(execution)
            if execution["status"] in FINAL:
                return execution
            if time.monotonic() > until:
                raise Failure(f"The demo's workflow did not end within {_SECONDS} s.")
            time.sleep(_LOOK)


def _said(result: Mapping[str, Any]) -> str:
    return str(result.get("summary", "")).splitlines()[0]


def _by_model(result: Mapping[str, Any]) -> str:
    """What a language model contributed, which is said wherever one was asked."""
    model = result.get("model")
    if not model:
        return ""
    return f"  (model {contribution(model)})"


def _excerpt(console: Console, result: Mapping[str, Any]) -> None:
    """The beginning of the tests that were written."""
    for one in result.get("tests") or ():
        text = one.get("content") or ""
        lines = str(text).splitlines()
        if not lines:
            continue
        console.print()
        console.print(Text(f"{printable(str(one.get('file')))} begins so:", "dim"))
        shown = "\n".join(printable(line) for line in lines[:_LINES])
        console.print(Syntax(shown, "python", background_color="default"))
        return
