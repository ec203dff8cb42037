"""Work in forked children: each starts from the same state, and none can take the others along."""

import json
import os
import random
import selectors
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from _pytest.capture import DontReadFromInput

Send = Callable[[Any], None]
Work = Callable[[Send], None]


@dataclass
class Ended:
    """What a child sent before it ended; `complete` unless it died or was ended for its time."""

    messages: list[Any] = field(default_factory=list)
    complete: bool = False


@dataclass
class _Child:
    index: int
    process: int
    descriptor: int
    deadline: float
    buffer: bytearray = field(default_factory=bytearray)


def run_forked(works: Sequence[Work], *, seconds: float, parallel: int) -> list[Ended]:
    """Run each work in a child of its own, `parallel` at a time; what they sent, in order.

    A child is killed with what it started `seconds` after its start.
    """
    ends = [Ended() for _ in works]
    waiting = list(range(len(works)))[::-1]
    running: dict[int, _Child] = {}
    with selectors.DefaultSelector() as selector:
        while waiting or running:
            while waiting and len(running) < parallel:
                index = waiting.pop()
                child = _start(index, works[index], seconds)
                running[child.descriptor] = child
                selector.register(child.descriptor, selectors.EVENT_READ)
            earliest = min(child.deadline for child in running.values())
            for key, _ in selector.select(max(0.0, earliest - time.monotonic())):
                child = running[key.fd]
                chunk = os.read(key.fd, 1 << 16)
                child.buffer += chunk
                if not chunk:
                    selector.unregister(key.fd)
                    _finish(running.pop(key.fd), ends)
            now = time.monotonic()
            for child in [one for one in running.values() if one.deadline <= now]:
                selector.unregister(child.descriptor)
                _finish(running.pop(child.descriptor), ends)
    return ends


def _start(index: int, work: Work, seconds: float) -> _Child:
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return _Child(index, process, reading, time.monotonic() + seconds)
    status = 1
    try:
        os.close(reading)
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        # Whatever depends on chance shall differ from child to child.
        random.seed(os.getpid() * 7919 + index)

        def send(message: Any) -> None:
            data = json.dumps(message).encode() + b"\n"
            while data:
                data = data[os.write(writing, data) :]

        work(send)
        send("end")
        status = 0
    except BaseException:  # noqa: S110  # the parent sees that the end is missing
        pass
    finally:
        os._exit(status)


def _finish(child: _Child, ends: list[Ended]) -> None:
    for kill in (os.killpg, os.kill):
        try:
            kill(child.process, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    os.waitpid(child.process, 0)
    os.close(child.descriptor)
    lines = bytes(child.buffer).split(b"\n")
    end = ends[child.index]
    for line in lines[:-1]:
        message = _decoded(line)
        if message == "end":
            end.complete = True
        elif message is not None:
            end.messages.append(message)


def _decoded(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


class OutOfTime(BaseException):
    """Raised in the middle of a check that takes too long; no `except Exception` stops it."""


class Alarm:
    """A limit of processor time for what runs inside of `with`, and of the time it may wait."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        # Again and again, for whoever swallows the first one.
        for number, timer, seconds in self._timers():
            signal.signal(number, _ring)
            signal.setitimer(timer, seconds, 0.05)

    def __exit__(self, *_: object) -> None:
        for _number, timer, _seconds in self._timers():
            signal.setitimer(timer, 0)

    def _timers(self) -> list[tuple[int, int, float]]:
        return [
            (signal.SIGPROF, signal.ITIMER_PROF, self._seconds),
            (signal.SIGALRM, signal.ITIMER_REAL, 1 + 8 * self._seconds),
        ]


def _ring(_signal: int, _frame: object) -> None:
    raise OutOfTime


def quiet_streams() -> None:
    """Streams for a child whose descriptors lead nowhere."""
    # Reading from it fails, as it does in a test.
    sys.stdin = DontReadFromInput()
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  # as above
    sys.stderr = sys.stdout
