"""Runs examples inside the sandbox: `python example_runner.py`, with nothing but the library.

Reads `examples.json` in the working folder and appends a line to `outcomes.jsonl` for each group,
so that what ended before a crash is known.
"""

import contextlib
import doctest
import importlib
import io
import json
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

_SECONDS = 5.0
_IMPORT_SECONDS = 20.0
_LONGEST = 2_000


class _TooLong(KeyboardInterrupt):
    """The group's time is up; of this kind because doctest catches every other."""


class _Recorder(doctest.DocTestRunner):
    """Keeps what each example printed, and whether that is what it says."""

    def __init__(self) -> None:
        super().__init__(verbose=False)
        self.seen: list[dict[str, Any]] = []

    def report_start(self, out: Any, test: doctest.DocTest, example: doctest.Example) -> None:
        """Say nothing."""

    def report_success(
        self, out: Any, test: doctest.DocTest, example: doctest.Example, got: str
    ) -> None:
        """Keep it."""
        self._keep(example, got, ok=True)

    def report_failure(
        self, out: Any, test: doctest.DocTest, example: doctest.Example, got: str
    ) -> None:
        """Keep it."""
        self._keep(example, got, ok=False)

    def report_unexpected_exception(
        self, out: Any, test: doctest.DocTest, example: doctest.Example, exc_info: Any
    ) -> None:
        """Keep the last line of the traceback."""
        said = traceback.format_exception_only(exc_info[0], exc_info[1])
        self._keep(example, said[-1], ok=False)

    def _keep(self, example: doctest.Example, got: str, *, ok: bool) -> None:
        self.seen.append(
            {
                "source": example.source,
                "want": example.want,
                "got": got[:_LONGEST],
                "ok": ok,
                "line": example.lineno,
            }
        )


def run_group(group: dict[str, Any]) -> dict[str, Any]:
    """The outcome of one group: its examples, or the error that kept them from running."""
    most = _IMPORT_SECONDS
    signal.setitimer(signal.ITIMER_REAL, most)
    try:
        names = _names(group)
        most = _SECONDS
        signal.setitimer(signal.ITIMER_REAL, most)
        return {"id": group["id"], "error": "", "examples": _examples(group, names)}
    except _TooLong:
        return {"id": group["id"], "error": f"took longer than {most:.0f} s", "examples": []}
    except BaseException as error:  # SystemExit and the like end the group, not the run
        said = "".join(traceback.format_exception_only(type(error), error)).strip()
        missing = bool(group["module"]) and group["module"] not in sys.modules
        return {
            "id": group["id"],
            "error": said[-_LONGEST:],
            "examples": [],
            "unimported": missing,
        }
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _names(group: dict[str, Any]) -> dict[str, Any]:
    """What the group's examples see: the names of their module."""
    if group["module"]:
        return dict(vars(importlib.import_module(group["module"])))
    return {"__name__": "__main__"}


def _examples(group: dict[str, Any], names: dict[str, Any]) -> list[dict[str, Any]]:
    source: str = group["text"]
    if group["kind"] == "doctest":
        test = doctest.DocTestParser().get_doctest(source, names, "example", None, 0)
        recorder = _Recorder()
        recorder.run(test, out=lambda _: None, clear_globs=False)
        return recorder.seen
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if group["kind"] == "script":
            exec(compile(source, "example", "exec"), names)  # noqa: S102  # in the sandbox
            got = printed.getvalue()
            ok = True
        else:
            # Twice, so that what depends on chance or on time is no example.
            first = repr(eval(source, dict(names)))  # noqa: S307  # in the sandbox
            got = repr(eval(source, dict(names)))  # noqa: S307  # in the sandbox
            ok = first == got and not printed.getvalue()
    return [{"source": source, "want": "", "got": got[:_LONGEST], "ok": ok, "line": 0}]


def _too_long(_signal: int, _frame: object) -> None:
    raise _TooLong


def main() -> None:
    """Run all groups of `examples.json`."""
    signal.signal(signal.SIGALRM, _too_long)
    folder = Path.cwd()
    work = json.loads((folder / "examples.json").read_text("utf-8"))
    sys.path[:0] = work["paths"]
    sys.argv = ["example"]
    with (folder / "outcomes.jsonl").open("a", encoding="utf-8") as file:
        for group in work["groups"]:
            outcome = run_group(group)
            file.write(json.dumps(outcome) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
