"""Moments and JSON, as the REST API writes and reads them."""

import json
from typing import Any, NewType

import strawberry
from graphql import GraphQLError, ValueNode, value_from_ast_untyped
from strawberry.types.scalar import ScalarDefinition

from sutazai import clock

Moment = NewType("Moment", int)
"""Microseconds since the epoch; from a caller, see `Written`."""
Written = NewType("Written", str)
"""A moment as a caller wrote it, for the input's model to check."""
Json = NewType("Json", object)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise GraphQLError("DateTime must be a string, such as 2026-08-05T10:00:00Z.")
    return value


def _literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
    """JSON written out in the query, held to the same rules as JSON in a body."""
    try:
        value = value_from_ast_untyped(node, variables)
        # Variables in it that are not set, or not yet, become null.
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, default=lambda _: None)
        return json.loads(text.encode())
    except (ValueError, RecursionError) as error:
        raise GraphQLError(f"JSON out of range: {error}", node) from error


def _date_time() -> ScalarDefinition:
    return strawberry.scalar(
        name="DateTime",
        description="RFC 3339 with its offset from UTC, such as `2026-08-05T10:00:00Z`",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=clock.to_iso,
        parse_value=_text,
    )


def scalars() -> dict[object, ScalarDefinition]:
    """What the schema calls them."""
    date_time = _date_time()
    return {
        Moment: date_time,
        Written: date_time,
        Json: strawberry.scalar(
            name="JSON",
            description="Any JSON; the names in it are those of the REST API, with underscores",
            serialize=lambda value: value,
            parse_value=lambda value: value,
            parse_literal=_literal,
        ),
    }
