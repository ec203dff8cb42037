"""What each test is called: a name of its own, since pytest-xdist runs one test of each name.

pytest 9.2 makes a test's id of its function and its parameters. It leaves out what a plugin says of
the test besides, so that schemathesis' tests, one for each operation, were one for all; and it no
longer reads the attribute in which pytest-xdist 3.8 marks a group, so that groups were none.
"""

from collections import Counter

import pytest
from _pytest.nodeid import NodeId

_GROUP = "xdist_group"


def _called(item: pytest.Item) -> str:
    assert item.parent is not None
    groups = {str(mark.args[0]) for mark in item.iter_markers(_GROUP)}
    return "@".join([f"{item.parent.nodeid}::{item.name}", *sorted(groups)])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Call every test by its whole name and its group; two of one name are an error."""
    for item in items:
        if (name := _called(item)) != item.nodeid:
            item._id = NodeId.parse(name)
    for name, count in Counter(item.nodeid for item in items).items():
        if count > 1:
            wrong = f"{count} tests have this name, of which one would run"
            report = pytest.CollectReport(nodeid=name, outcome="failed", longrepr=wrong, result=[])
            config.hook.pytest_collectreport(report=report)
