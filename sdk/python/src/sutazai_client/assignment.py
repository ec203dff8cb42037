"""What an agent's function is given, and how it says that it cannot do it."""

import threading
from collections.abc import Mapping
from typing import Any


class TaskFailed(Exception):
    """Raised by an agent's function: the task cannot be done, and why; users read the message.

    `code` is one of the server's error codes or one of your own, such as OUT_OF_DISK: at most 32
    capital letters, digits and `_`. Bad input stays bad, so only a `retryable` failure is tried
    again. Any other exception counts as a crash of this attempt, which is tried again.
    """

    def __init__(
        self, message: str, *, code: str = "VALIDATION_ERROR", retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retryable = retryable


class Cancelled(BaseException):
    """Raised by `Assignment.progress` once nobody wants the result any more: stop at once.

    No Exception, so that a function's own `except Exception` does not swallow it.
    """


class Assignment:
    """One attempt at one task.

    `metadata` is what the user sent along, `configuration` what an administrator has set for the
    agent, `attempt` counts from 1. `traceparent` (W3C Trace Context) is what to put one's own spans
    below; None where the task is part of no trace.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.assignment_id: str = given["assignment_id"]
        self.task_id: str = given["task_id"]
        self.type: str = given["type"]
        self.description: str = given["description"]
        self.metadata: dict[str, Any] = given["metadata"]
        self.attempt: int = given["attempt"]
        self.configuration: dict[str, Any] = given.get("configuration") or {}
        self.traceparent: str | None = given.get("traceparent")
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._newest: dict[str, int] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the result any more; for functions that work long in a thread."""
        return self._cancelled.is_set()

    def progress(self, percent: int, **counters: int) -> None:
        """Say how far it is, 0 to 100, with counters such as `lines_processed`.

        Returns at once, from any thread; the agent sends the newest a few times a second. Raises
        Cancelled once nobody wants the result any more.
        """
        if self.cancelled:
            raise Cancelled
        with self._lock:
            said = {name: int(value) for name, value in counters.items()}
            self._newest = {**(self._newest or {}), **said, "progress": int(percent)}

    def take_progress(self) -> dict[str, int] | None:
        """For the agent: what was said since it last asked."""
        with self._lock:
            newest, self._newest = self._newest, None
            return newest

    def cancel(self) -> None:
        """For the agent: nobody wants the result any more."""
        self._cancelled.set()
