"""A plugin that lets pytest write down how each test ended; loaded inside of the sandbox."""

import json
from pathlib import Path
from typing import Any

_PLACE = Path("/sandbox/outcomes.json")
_outcomes: dict[str, str] = {}


def pytest_collectreport(report: Any) -> None:
    """A module that could not be collected."""
    if report.failed:
        _outcomes[report.nodeid] = "error"


def pytest_runtest_logreport(report: Any) -> None:
    """A test's phases; the worst is what counts."""
    if report.when == "call" or report.outcome != "passed":
        worse = _outcomes.get(report.nodeid) == "failed"
        _outcomes[report.nodeid] = "failed" if worse else report.outcome


def pytest_sessionfinish() -> None:
    """Write them down."""
    _PLACE.write_text(json.dumps(_outcomes))
