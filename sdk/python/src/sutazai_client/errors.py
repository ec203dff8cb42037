"""What can go wrong, by what the caller may do about it."""

from collections.abc import Mapping, Sequence
from typing import Any


class SutazAIError(Exception):
    """Any failure that the client reports; its text says what happened.

    `code` is the server's stable code (`VALIDATION_ERROR`, …); `status` the HTTP status, 0 where no
    answer came; `details` one `{field, message}` a wrong field; `retry_after` is in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        details: Sequence[Mapping[str, str]] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.details = tuple(dict(detail) for detail in details)
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        told = "; ".join(f"{one.get('field')}: {one.get('message')}" for one in self.details)
        return f"{self.message} ({told})" if told else self.message


class ConnectionFailed(SutazAIError):
    """No answer came: the server is not there, or the connection broke."""


class BadRequest(SutazAIError):
    """400 or 413: the request itself cannot be read."""


class Unauthorized(SutazAIError):
    """401: no token or key, or one that is no longer valid. Log in again."""


class Forbidden(SutazAIError):
    """403: the roles of this user do not allow it."""


class NotFound(SutazAIError):
    """404: there is no such thing, or this user may not know of it."""


class Conflict(SutazAIError):
    """409: it does not go with the current state, such as a result asked for too early."""


class Invalid(SutazAIError):
    """422: a field is wrong; `details` says which."""


class RateLimited(SutazAIError):
    """429: too much at once; `retry_after` says for how long to wait."""


class ServerFailed(SutazAIError):
    """5xx: the server could not do it now."""


class WaitTimeout(SutazAIError, TimeoutError):
    """The task was not done in the time given; it goes on, and can be waited for again."""


_BY_STATUS: dict[int, type[SutazAIError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: BadRequest,
    422: Invalid,
    429: RateLimited,
}


def from_answer(status: int, body: Any, headers: Mapping[str, str]) -> SutazAIError:
    """The error that an answer of status 400 or above means.

    `body` is the decoded JSON, None where there was none: a proxy's page, say.
    """
    said = body.get("error") if isinstance(body, dict) else None
    if not isinstance(said, dict):
        said = {"message": f"The server answered {status} without saying why."}
    kind = _BY_STATUS.get(status, ServerFailed if status >= 500 else SutazAIError)
    return kind(
        str(said.get("message", "")),
        code=str(said.get("code", "")),
        status=status,
        details=said.get("details") or (),
        request_id=said.get("request_id") or headers.get("x-request-id"),
        retry_after=seconds(headers.get("retry-after")),
    )


def seconds(header: str | None) -> float | None:
    """`Retry-After` where it is a number of seconds; our server sends no dates."""
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:
        return None
