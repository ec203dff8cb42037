"""What the log shows of a crash on a terminal and off one."""

import json
import subprocess
import sys

import pytest

_PROGRAM = """
import io, sys
import structlog
from sutazai.telemetry.logs import configure_logging

class Stream(io.StringIO):
    def isatty(self):
        return sys.argv[1] == "terminal"

stream = Stream()
configure_logging("INFO", stream=stream)
structlog.contextvars.bind_contextvars(request_id="req-1")

def log_in(typed):
    raise RuntimeError("it broke")

try:
    log_in("correct horse battery")
except RuntimeError:
    structlog.get_logger().exception("it.broke", password="correct horse battery")
print(stream.getvalue())
"""


@pytest.mark.parametrize("where", ["terminal", "file"])
def test_a_crash_is_logged_with_its_trace_but_not_with_its_variables(where: str) -> None:
    # A process of its own: logging is set up for a whole one.
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, where], capture_output=True, text=True, check=True
    )
    assert "RuntimeError: it broke" in done.stdout
    assert "log_in" in done.stdout
    assert "req-1" in done.stdout
    assert "correct horse" not in done.stdout.replace('log_in("correct horse battery")', "")
    if where == "file":
        assert json.loads(done.stdout)["password"] == "***"
