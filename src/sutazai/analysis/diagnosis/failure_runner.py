"""Runs what fails, inside the sandbox, and writes down the values in the frames of the failure.

`python failure_runner.py`, with nothing but the library and pytest; reads `command.json`, writes
`failure.json`, both in the working folder.
"""

import contextlib
import io
import json
import os
import reprlib
import runpy
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

_MOST_FRAMES = 40
_MOST_NAMES = 40
_LONGEST = 300
_LONGEST_TEXT = 200_000


class _Repr(reprlib.Repr):
    """Short, and proof against values whose `repr` fails."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 120
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = 8

    def repr1(self, x: Any, level: int) -> str:
        """As always, but never an exception."""
        try:
            return super().repr1(x, level)
        except BaseException as error:  # whatever a foreign `__repr__` raises
            return f"<{type(x).__name__}: repr raised {type(error).__name__}>"


class Recorder:
    """Keeps the last failure, with its frames outermost first."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.seen: dict[str, Any] | None = None
        self.passed = 0
        self.skipped = 0

    def take(self, error: BaseException, trace: TracebackType | None) -> None:
        """Write down an exception and the values in its frames."""
        trace = self._from_source(trace)
        error = error.with_traceback(trace)
        frames = []
        short = _Repr()
        while trace is not None:
            code = trace.tb_frame.f_code
            values = {
                name: short.repr(value)[:_LONGEST]
                for name, value in list(trace.tb_frame.f_locals.items())[:_MOST_NAMES]
                if not name.startswith("__")
            }
            inside = code.co_filename.startswith(self.source)
            frames.append(
                {
                    "file": code.co_filename,
                    "line": trace.tb_lineno,
                    "function": code.co_name,
                    "values": values if inside else {},
                }
            )
            trace = trace.tb_next
        text = "".join(traceback.format_exception(error))
        self.seen = {"text": text[-_LONGEST_TEXT:], "frames": frames[-_MOST_FRAMES:]}

    def _from_source(self, trace: TracebackType | None) -> TracebackType | None:
        """A traceback without the frames of what started the program; whole where all are."""
        first = trace
        while first is not None and not first.tb_frame.f_code.co_filename.startswith(self.source):
            first = first.tb_next
        return first if first is not None else trace

    def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
        """Pytest's hook for what a test raised; the first failure is kept."""
        if self.seen is None and call.excinfo is not None:
            self.take(call.excinfo.value, call.excinfo.tb)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Pytest's hook for how each part of a test ended."""
        self.passed += report.when == "call" and report.passed
        self.skipped += report.skipped


def run(command: list[str], recorder: Recorder) -> int:
    """Run `pytest …`, `python -m module …` or `python script …` in this process."""
    first, *rest = command
    if first == "pytest":
        import pytest

        quiet = ["-p", "no:cacheprovider", "-x", "-q", *rest]
        return int(pytest.main(quiet, plugins=[recorder]))
    if rest[0] != "-m" and not Path(rest[0]).is_file():
        sys.stderr.write(f"There is no file {rest[0]}.")
        return 2
    try:
        if rest[0] == "-m":
            sys.argv = rest[1:]
            runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
        else:
            # In full, so that its frames are known by where they are.
            sys.argv = [str(Path(rest[0]).absolute()), *rest[1:]]
            sys.path.insert(0, str(Path(sys.argv[0]).parent))
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:  # all of it is what is looked for
        recorder.take(error, error.__traceback__)
        return 1
    return 0


def main() -> None:
    """Run the command of `command.json`."""
    folder = Path.cwd()
    work = json.loads((folder / "command.json").read_text("utf-8"))
    source = str(Path(work["source"]).absolute())
    recorder = Recorder(source)
    sys.path[:0] = [source, f"{source}/src"]
    os.chdir(source)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run(work["command"], recorder)
    seen = recorder.seen or {"text": "", "frames": []}
    answer = {
        **seen,
        "exit_code": code,
        "output": printed.getvalue()[-_LONGEST_TEXT:],
        "passed": recorder.passed,
        "skipped": recorder.skipped,
    }
    (folder / "failure.json").write_text(json.dumps(answer), "utf-8")


if __name__ == "__main__":
    main()
