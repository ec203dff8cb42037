"""Request bodies: strict JSON, the same wherever one is read."""

import email.message
from typing import Any

import msgspec
import pydantic_core
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from sutazai.errors import ErrorCode, SutazaiError


async def content_of(request: Request) -> bytes:
    """The whole body; the edge has bounded it."""
    try:
        return await request.body()
    except ClientDisconnect as error:
        message = "The connection was closed before the body was complete."
        raise SutazaiError(ErrorCode.BAD_REQUEST, message) from error


def parse_json(request: Request, content: bytes) -> Any:
    """What a body says: no NaN, no lone surrogates, no bottomless nesting, no numbers out of range.

    BAD_REQUEST for what is not JSON by the standard, 415 for what is compressed or does not claim
    to be JSON; a body that claims nothing is taken as JSON.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, headers={"Accept-Encoding": "identity"})
    declared = request.headers.get("content-type", "application/json")
    if declared != "application/json" and not _is_json(declared):
        raise HTTPException(415)
    try:
        # Each refuses what the other lets pass: nesting over 200 deep, and 1e999 as infinity.
        pydantic_core.from_json(content, allow_inf_nan=False)
        return msgspec.json.decode(content)
    except ValueError as error:
        message = f"The body is not valid JSON: {error}."
        raise SutazaiError(ErrorCode.BAD_REQUEST, message) from error


def _is_json(declared: str) -> bool:
    message = email.message.Message()
    message["content-type"] = declared
    if message.get_content_maintype() != "application":
        return False
    subtype = message.get_content_subtype()
    return subtype == "json" or subtype.endswith("+json")
