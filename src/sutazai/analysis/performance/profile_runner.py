"""Runs a Python program under the profiler: a program of its own, inside of the sandbox.

`profile.json` beside it says what to run; `profiled.json` says where the time went.
"""

import cProfile
import json
import os
import pkgutil  # which runpy would import while it is measured
import pstats
import resource
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

_KEPT = 300
_OURS = (__file__, runpy.__file__, pkgutil.__file__)


class _OutOfTime(BaseException):
    """Raised in the program when its time is over, so that the profile so far can be told."""


def main() -> None:
    """Run, and write down what was measured."""
    place = Path.cwd()
    wanted = json.loads(Path("profile.json").read_text())
    sys.argv = wanted["argv"]
    os.chdir(wanted["folder"])
    # In front of our own folder, as the interpreter would have it.
    sys.path[:1] = wanted["paths"]
    profiler = cProfile.Profile()
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, wanted["seconds"])
    started = time.perf_counter()
    ended = {"how": "normally", "exit_code": 0, "error": ""}
    try:
        profiler.enable()
        if wanted["module"]:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
    except _OutOfTime:
        ended["how"] = "out of time"
    except SystemExit as exit_:
        ended["exit_code"] = exit_.code if isinstance(exit_.code, int) else int(bool(exit_.code))
    except BaseException as error:
        ended.update(how="exception", exit_code=1, error=_told(error))
    finally:
        profiler.disable()
        signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = time.perf_counter() - started
    result = {**ended, "seconds": seconds, **_figures(profiler)}
    (place / "profiled.json").write_text(json.dumps(result))


def _stop(*_: object) -> None:
    raise _OutOfTime


def _told(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error))[-2000:]


def _figures(profiler: cProfile.Profile) -> dict[str, Any]:
    rows = []
    # The interpreter's own notes have no types.
    stats: Any = pstats.Stats(profiler)
    for (file, line, function), (primitive, calls, own, total, _) in stats.stats.items():
        if file in _OURS or "runpy" in file or "_lsprof.Profiler" in function:
            continue
        rows.append([file, line, function, calls, primitive, own, total])
    by_own = sorted(rows, key=lambda row: -row[5])[:_KEPT]
    by_total = sorted(rows, key=lambda row: -row[6])[:_KEPT]
    return {
        "functions": by_own + [row for row in by_total if row not in by_own],
        "calls": sum(row[3] for row in rows),
        "profiled_seconds": sum(row[5] for row in rows),
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    main()
