"""Work in forked children: each starts from the same state, and none can take the others along."""

import builtins
import io
import json
import math
import os
import random
import selectors
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

Send = Callable[[Any], None]
Work = Callable[[Send], None]


_END = "end"
_LAST = b'"end"\n'
STDIN = "it reads from standard input"


class NoProcessLeft(Exception):
    """The sandbox allows no further process, and none of ours is running."""


@dataclass
class Ended:
    """What a child sent before it ended.

    `complete` unless it died or was ended for its time; `late` if that was the time of everybody,
    so that it says nothing about what the child did.
    """

    messages: list[Any] = field(default_factory=list)
    complete: bool = False
    late: bool = False


@dataclass
class _Child:
    index: int
    process: int
    descriptor: int
    deadline: float
    buffer: bytearray = field(default_factory=bytearray)


def run_forked(
    works: Sequence[Work], *, seconds: float, parallel: int, until: float = math.inf
) -> list[Ended]:
    """Run each work in a child of its own, `parallel` at a time; what they sent, in order.

    A child is killed with what it started `seconds` after its start, and `until` (monotonic) all
    of them: what has not begun by then never does. NoProcessLeft where not one can be started.
    """
    ends = [Ended(late=True) for _ in works]
    waiting = list(range(len(works)))[::-1]
    running: dict[int, _Child] = {}
    with selectors.DefaultSelector() as selector:
        while running or (waiting and time.monotonic() < until):
            while waiting and len(running) < parallel:
                now = time.monotonic()
                child = _start(waiting[-1], works[waiting[-1]], min(now + seconds, until))
                if child is None:
                    break  # one more when another has ended
                ends[waiting.pop()].late = False
                running[child.descriptor] = child
                selector.register(child.descriptor, selectors.EVENT_READ)
            if not running:
                raise NoProcessLeft
            earliest = min(child.deadline for child in running.values())
            for key, _ in selector.select(max(0.0, earliest - time.monotonic())):
                child = running[key.fd]
                chunk = os.read(key.fd, 1 << 16)
                child.buffer += chunk
                # Whatever it left behind may hold the other end of the pipe open.
                if not chunk or child.buffer.endswith(_LAST):
                    selector.unregister(key.fd)
                    _finish(running.pop(key.fd), ends)
            now = time.monotonic()
            for child in [one for one in running.values() if one.deadline <= now]:
                selector.unregister(child.descriptor)
                _finish(running.pop(child.descriptor), ends)
                ends[child.index].late = now >= until and not ends[child.index].complete
    return ends


def _start(index: int, work: Work, deadline: float) -> _Child | None:
    reading, writing = os.pipe()
    try:
        process = os.fork()
    except BlockingIOError:
        os.close(reading)
        os.close(writing)
        return None
    if process:
        os.close(writing)
        return _Child(index, process, reading, deadline)
    status = 1
    try:
        os.close(reading)
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        # Whatever depends on chance shall differ from child to child.
        owner = os.getpid()
        random.seed(owner * 7919 + index)

        def send(message: Any) -> None:
            if os.getpid() != owner:
                os._exit(0)  # what runs here forked: its copy has no say
            data = json.dumps(message).encode() + b"\n"
            while data:
                data = data[os.write(writing, data) :]

        work(send)
        send(_END)
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
        if message == _END:
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

    def __init__(self, seconds: float, wait: float | None = None) -> None:
        self._seconds = seconds
        self._wait = 1 + 8 * seconds if wait is None else wait

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
            (signal.SIGALRM, signal.ITIMER_REAL, self._wait),
        ]


def _ring(_signal: int, _frame: object) -> None:
    raise OutOfTime


class _NoInput(io.TextIOBase):
    """A standard input that fails when it is read, as it does in a test."""

    def read(self, _size: int | None = -1) -> str:
        raise OSError(STDIN)

    def readline(self, _size: int | None = -1) -> str:  # type: ignore[override]  # as in TextIO
        raise OSError(STDIN)

    @property
    def buffer(self) -> Self:
        """Itself: bytes cannot be read either."""
        return self


def has_children() -> bool:
    """Whether a process that was started here still runs, or has ended and nobody asked how."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


class Builtins:
    """Python's own names as they are now, to tell later which of them were replaced."""

    def __init__(self) -> None:
        self._original = dict(vars(builtins))

    def restored(self) -> list[str]:
        """The names that lead elsewhere by now, after they have been put back."""
        # In words that need none of those names.
        known = builtins.__dict__
        changed = []
        for name, value in self._original.items():
            if name not in known or known[name] is not value:
                if name != "_":
                    changed += [name]
                known[name] = value
        return changed


def quiet_streams() -> None:
    """Streams for a child whose descriptors lead nowhere."""
    sys.stdin = _NoInput()
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  # as above
    sys.stderr = sys.stdout
