"""`make bench`: everything, or the parts named as arguments."""

import sys
from collections.abc import Callable

from benchmarks import (
    backlog,
    events,
    fanout,
    idle,
    limits,
    models,
    outside,
    review,
    testgen,
    throughput,
    workflows,
)

_PARTS: dict[str, Callable[[], object]] = {
    "throughput": throughput.main,
    "events": events.main,
    "fanout": fanout.main,
    "limits": limits.main,
    "idle": idle.main,
    "backlog": backlog.main,
    "review": review.main,
    "workflows": workflows.main,
    "models": models.main,
    "outside": outside.main,
    "testgen": testgen.main,
}


def main() -> None:
    if unknown := set(sys.argv[1:]) - set(_PARTS):
        sys.exit(f"There is no part {', '.join(sorted(unknown))}. The parts: {', '.join(_PARTS)}")
    for name in sys.argv[1:] or _PARTS:
        print(f"== {name}", flush=True)
        _PARTS[name]()


if __name__ == "__main__":
    main()
