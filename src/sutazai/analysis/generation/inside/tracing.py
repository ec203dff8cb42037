"""Which lines and which steps from line to line a piece of work takes through one file."""

import sys
import threading
from types import CodeType, FrameType
from typing import Any, Self

Arc = tuple[int, int]


class Tracer:
    """Records arcs of the frames of `filename` while in `with`; an entry or exit is negative."""

    def __init__(self, filename: str) -> None:
        self._filename = filename
        self._previous: Any = None
        self.arcs: set[Arc] = set()

    def __enter__(self) -> Self:
        self._previous = sys.gettrace()
        threading.settrace(self._entered)
        sys.settrace(self._entered)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._previous)
        threading.settrace(None)

    def _entered(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename != self._filename:
            return None
        arcs = self.arcs
        first = -frame.f_code.co_firstlineno
        previous = first

        def stepped(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal previous
            if event == "line":
                line = frame.f_lineno
                arcs.add((previous, line))
                previous = line
            elif event == "return":
                arcs.add((previous, first))
            return stepped

        return stepped


def lines_of(code: CodeType) -> set[int]:
    """Every line that has code, nested functions included."""
    found = {line for _, _, line in code.co_lines() if line}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= lines_of(constant)
    return found
