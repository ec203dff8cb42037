"""Every failure a caller can meet, as a value with a stable code and a remedy in its message."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class ErrorCode(StrEnum):
    """The specification's codes; clients branch on these, never on messages."""

    BAD_REQUEST = "BAD_REQUEST"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    VALIDATION_ERROR = "VALIDATION_ERROR"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    AGENT_OFFLINE = "AGENT_OFFLINE"
    TASK_TIMEOUT = "TASK_TIMEOUT"
    DATABASE_ERROR = "DATABASE_ERROR"


REFUSALS = frozenset(
    {
        ErrorCode.BAD_REQUEST,
        ErrorCode.UNAUTHORIZED,
        ErrorCode.FORBIDDEN,
        ErrorCode.NOT_FOUND,
        ErrorCode.CONFLICT,
        ErrorCode.VALIDATION_ERROR,
        ErrorCode.RATE_LIMIT_EXCEEDED,
    }
)
"""What was asked for cannot be had; the other codes say that somebody failed to do it."""


class Detail(NamedTuple):
    """What is wrong with one field of the input."""

    field: str
    message: str


class SutazaiError(Exception):
    """An expected failure: what happened and what to do, safe to show to the caller.

    `retry_after` is in seconds and only set where trying again later can help.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        details: Sequence[Detail] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.retry_after = retry_after


def not_found(noun: str, identifier: str) -> SutazaiError:
    """The error for a missing resource; also used where the caller may not know that it exists."""
    return SutazaiError(ErrorCode.NOT_FOUND, f"There is no {noun} with the id {identifier!r}.")


def invalid(field: str, message: str) -> SutazaiError:
    """The error for a single wrong field."""
    return SutazaiError(
        ErrorCode.VALIDATION_ERROR, "Invalid input data", details=[Detail(field, message)]
    )
