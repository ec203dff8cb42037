"""One shape for every error: the specification's envelope."""

import re
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from sutazai import clock
from sutazai.errors import Detail, ErrorCode, SutazaiError

_logger = structlog.get_logger(__name__)

STATUS: dict[ErrorCode, int] = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.CONFLICT: 409,
    ErrorCode.VALIDATION_ERROR: 422,
    ErrorCode.RATE_LIMIT_EXCEEDED: 429,
    ErrorCode.INTERNAL_ERROR: 500,
    ErrorCode.SERVICE_UNAVAILABLE: 503,
    ErrorCode.AGENT_OFFLINE: 503,
    ErrorCode.DATABASE_ERROR: 503,
    ErrorCode.TASK_TIMEOUT: 504,
}
_CODE_OF_STATUS = {
    400: ErrorCode.BAD_REQUEST,
    401: ErrorCode.UNAUTHORIZED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    409: ErrorCode.CONFLICT,
    422: ErrorCode.VALIDATION_ERROR,
    429: ErrorCode.RATE_LIMIT_EXCEEDED,
    503: ErrorCode.SERVICE_UNAVAILABLE,
}
_MESSAGES = {
    404: "There is nothing at {path}. The API's paths begin with /api/v1 or /api/v2; see /docs.",
    405: "{method} is not allowed at {path}; allowed: {allow}.",
    413: "The body is larger than 10 MiB. Send less, or name files of the workspace instead.",
    415: "The body must be JSON, not compressed, sent with 'Content-Type: application/json'.",
}
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_MOST_SHOWN = 500
_NOT_ENCODABLE = re.compile("[\ud800-\udfff]")


def error_response(error: SutazaiError, request_id: str, *, status: int | None = None) -> Response:
    """The envelope of an error; `status` where it is not the usual one of the code."""
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.details:
        body["details"] = [
            {"field": detail.field, "message": detail.message} for detail in error.details
        ]
    body["timestamp"] = clock.to_iso(clock.now())
    body["request_id"] = request_id
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    if error.code is ErrorCode.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return Response(
        msgspec.json.encode({"error": body}),
        status_code=status or STATUS[error.code],
        headers=headers,
        media_type="application/json",
    )


def too_large(request_id: str) -> Response:
    """The answer to a body over the limit."""
    error = SutazaiError(ErrorCode.BAD_REQUEST, _MESSAGES[413])
    return error_response(error, request_id, status=413)


async def error_answer(request: Request, error: Exception) -> Response:
    """What an error becomes, for code outside of FastAPI's own handling."""
    if isinstance(error, SutazaiError):
        return await _on_sutazai_error(request, error)
    if isinstance(error, HTTPException):
        return await _on_http_exception(request, error)
    if isinstance(error, RequestValidationError):
        return await _on_invalid_request(request, error)
    _logger.error("request.crashed", path=request.url.path, exc_info=error)
    return await _on_crash(request, error)


def handle_errors(app: FastAPI | Starlette) -> None:
    """Give an application the envelope for everything that can go wrong in it."""
    app.add_exception_handler(SutazaiError, _on_sutazai_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(Exception, _on_crash)


def _id_of(request: Request) -> str:
    request_id: str = request.state.request_id
    return request_id


async def _on_sutazai_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SutazaiError)
    if error.code is ErrorCode.DATABASE_ERROR:
        _logger.error("request.database_error", cause=repr(error.__cause__))
    return error_response(error, _id_of(request))


async def _on_crash(request: Request, _error: Exception) -> Response:
    message = "Something went wrong on our side; the server's log has it under this request_id."
    return error_response(SutazaiError(ErrorCode.INTERNAL_ERROR, message), _id_of(request))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, headers = error.status_code, dict(error.headers or {})
    if status == 405:
        headers["Allow"] = _allowed(request)
    template = _MESSAGES.get(status)
    if template is None:
        message = str(error.detail) or HTTPStatus(status).phrase
    else:
        message = template.format(
            path=printable(request.url.path),
            method=printable(request.method),
            allow=headers.get("Allow", ""),
        )
    code = _CODE_OF_STATUS.get(status)
    if code is None:
        code = ErrorCode.BAD_REQUEST if status < 500 else ErrorCode.INTERNAL_ERROR
    response = error_response(SutazaiError(code, message), _id_of(request), status=status)
    response.headers.update(headers)
    return response


def _allowed(request: Request) -> str:
    """What Allow must list: Starlette knows one route's methods, but a path may have several."""
    routes = request.app.router.routes
    found = []
    for method in _METHODS:
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in routes):
            found += ["GET", "HEAD"] if method == "GET" else [method]
    return ", ".join(found)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = []
    for problem in error.errors():
        loc = problem["loc"]
        parts = _place(problem, error.body) if loc[0] == "body" and error.body else loc[1:]
        place = [str(part) for part in parts] or [str(loc[0])]
        text = problem["msg"].removeprefix("Value error, ")
        details.append(Detail(printable(".".join(place)), printable(text)))
    wrong = SutazaiError(ErrorCode.VALIDATION_ERROR, "Invalid input data", details=details)
    return error_response(wrong, _id_of(request))


def _place(problem: dict[str, Any], value: Any) -> list[int | str]:
    """Where in the body a problem is, without the names that Pydantic has for parts of a union."""
    place: list[int | str] = []
    parts = problem["loc"][1:]
    for number, part in enumerate(parts, start=1):
        is_key = isinstance(value, dict) and part in value
        if is_key or (isinstance(value, list) and isinstance(part, int) and part < len(value)):
            value = value[part]
        elif number < len(parts) or problem["type"] != "missing":
            continue
        place.append(part)
    return place


def printable(text: str) -> str:
    """Text from outside as a message may show it: encodable, and not endless."""
    return _NOT_ENCODABLE.sub("?", text)[:_MOST_SHOWN]
