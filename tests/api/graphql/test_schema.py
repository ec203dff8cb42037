"""The schema is a promise: it changes on purpose only."""

import subprocess
import sys
from pathlib import Path

from graphql import build_schema

from sutazai.api.graphql.schema import make_schema

FROZEN = Path(__file__).with_name("schema.graphql")


def schema() -> str:
    return make_schema().as_str() + "\n"


def test_the_schema_is_the_frozen_one() -> None:
    """To freeze another on purpose: `python -m tests.api.graphql.test_schema`."""
    assert schema() == FROZEN.read_text("utf-8")


def test_the_schema_is_one_that_other_tools_can_read() -> None:
    built = build_schema(FROZEN.read_text("utf-8"))
    for described in built.type_map.values():
        assert described.name.startswith("__") or described.description, described.name


def test_the_server_starts_without_strawberry() -> None:
    program = (
        "import sys, sutazai.bootstrap\n"
        "print([name for name in sys.modules if name.partition('.')[0] in "
        "('strawberry', 'graphql')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


if __name__ == "__main__":
    FROZEN.write_text(schema(), "utf-8")
