"""A plugin for pytest: runs tests in the order of a seed, and writes down how each ended."""

import json
import os
import random
import time
from pathlib import Path

import pytest

_ended: dict[str, str | None] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle what was collected."""
    random.Random(int(os.environ["ORDER_SEED"])).shuffle(items)  # noqa: S311  # not for secrets


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember the first phase of a test that failed, if any."""
    name = report.nodeid.rpartition("::")[2]
    if _ended.get(name) is None:
        _ended[name] = None if report.passed else str(report.longrepr)[-300:]


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Begin no further test when the time is over."""
    if time.monotonic() > float(os.environ["ORDER_UNTIL"]):
        item.session.shouldstop = "no time is left"


def pytest_sessionfinish() -> None:
    """Write the report."""
    Path(os.environ["ORDER_REPORT"]).write_text(json.dumps(_ended), "utf-8")
