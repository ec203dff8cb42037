"""Running operations, and telling what went wrong in the words of the REST API."""

from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

import msgspec
import structlog
from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.execution import ExecutionResult, PreExecutionError
from strawberry.types.graphql import OperationType
from strawberry.utils.str_converters import to_camel_case

from sutazai import clock
from sutazai.api.envelope import printable
from sutazai.api.graphql.context import Context
from sutazai.api.graphql.schema import Schema
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.events.streams import Closed, TooSlow

_CRASHED = "Something went wrong on our side; the server's log has it under this requestId."
_EMPTY = SutazaiError(ErrorCode.BAD_REQUEST, "The query is empty.")
_MOST_ERRORS = 20
_JSON = frozenset({"config", "input", "metadata", "on_failure"})

_logger = structlog.get_logger(__name__)


class Operation(msgspec.Struct, frozen=True):
    """What a client wants run, as it sends it; clients add fields of their own."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = msgspec.field(default=None, name="operationName")


class Answer(NamedTuple):
    """A response's JSON; `executed` is False where the query could not be run at all."""

    body: dict[str, Any]
    executed: bool


async def execute(schema: Schema, operation: Operation, context: Context) -> Answer:
    """Run a query or a mutation."""
    if not operation.query.strip():
        return refused(_EMPTY, context)
    try:
        result = await schema.execute(
            operation.query,
            variable_values=operation.variables,
            context_value=context,
            operation_name=operation.operation_name,
            allowed_operation_types=(OperationType.QUERY, OperationType.MUTATION),
        )
    except CannotGetOperationTypeError as error:
        message = f"{printable(error.as_http_error_reason())}. Name one with operationName."
        return refused(SutazaiError(ErrorCode.BAD_REQUEST, message), context)
    except InvalidOperationTypeError:
        message = "Subscriptions come over a WebSocket at this path (graphql-transport-ws)."
        return refused(SutazaiError(ErrorCode.BAD_REQUEST, message), context)
    return answer_of(result, context)


async def subscribe(
    schema: Schema, operation: Operation, context: Context
) -> AsyncGenerator[Answer, None]:
    """Run a subscription; TooSlow or Closed where the connection is to end with it."""
    if not operation.query.strip():
        yield refused(_EMPTY, context)
        return
    results: Any = await schema.stream(
        operation.query,
        variable_values=operation.variables,
        context_value=context,
        operation_name=operation.operation_name,
        allowed_operation_types=(OperationType.SUBSCRIPTION,),
    )
    try:
        async for result in results:
            for error in result.errors or ():
                original = _original(error)
                if isinstance(original, (TooSlow, Closed)):
                    raise original
                if isinstance(original, InvalidOperationTypeError):
                    message = (
                        "Only subscriptions come this way. Send queries and mutations by POST."
                    )
                    yield refused(SutazaiError(ErrorCode.BAD_REQUEST, message), context)
                    return
            yield answer_of(result, context)
    except (SutazaiError, GraphQLError) as error:  # while parsing
        wrapped = GraphQLError(str(error), original_error=error)
        yield answer_of(PreExecutionError(data=None, errors=[wrapped]), context)
    finally:
        await results.aclose()


def answer_of(result: ExecutionResult | PreExecutionError, context: Context) -> Answer:
    """What is sent of a result."""
    executed = not isinstance(result, PreExecutionError)
    body: dict[str, Any] = {"data": result.data} if executed else {}
    if result.errors:
        body["errors"] = [_shown(one, context) for one in result.errors[:_MOST_ERRORS]]
    return Answer(body, executed)


def refused(error: SutazaiError, context: Context) -> Answer:
    """What is sent of an operation that cannot be run."""
    shown = _entry(error, context)
    return Answer({"errors": [shown]}, executed=False)


def _shown(error: GraphQLError, context: Context) -> dict[str, Any]:
    shown = _entry(_meant(error), context)
    if error.locations:
        shown["locations"] = [{"line": one.line, "column": one.column} for one in error.locations]
    if error.path:
        shown["path"] = error.path
    return shown


def _entry(error: SutazaiError, context: Context) -> dict[str, Any]:
    extensions: dict[str, Any] = {"code": error.code}
    if error.details:
        extensions["details"] = [
            {"field": _argument(one.field), "message": printable(one.message)}
            for one in error.details
        ]
    if error.retry_after is not None:
        extensions["retryAfter"] = max(1, round(error.retry_after))
    extensions["timestamp"] = clock.to_iso(clock.now())
    extensions["requestId"] = context.request_id
    return {"message": error.message, "extensions": extensions}


def _argument(field: str) -> str:
    """A field of the REST API as its argument is called here; names in JSON stay as they are."""
    names = printable(field).split(".")
    for place, name in enumerate(names):
        names[place] = to_camel_case(name)
        if name in _JSON:
            break
    return ".".join(names)


def _original(error: GraphQLError) -> BaseException:
    """What was raised, below the errors that wrap it."""
    found: BaseException = error
    while isinstance(found, GraphQLError) and found.original_error is not None:
        found = found.original_error
    return found


def _meant(error: GraphQLError) -> SutazaiError:
    original = _original(error)
    if isinstance(original, SutazaiError):
        if original.code is ErrorCode.DATABASE_ERROR:
            _logger.error("graphql.database_error", cause=repr(original.__cause__))
        return original
    if isinstance(original, CannotGetOperationTypeError):
        message = f"{printable(original.as_http_error_reason())}. Name one with operationName."
        return SutazaiError(ErrorCode.BAD_REQUEST, message)
    if isinstance(original, GraphQLSyntaxError):
        return SutazaiError(ErrorCode.BAD_REQUEST, printable(original.message))
    if isinstance(original, GraphQLError):
        return SutazaiError(ErrorCode.VALIDATION_ERROR, printable(original.message))
    _logger.error("graphql.crashed", path=error.path, exc_info=original)
    return SutazaiError(ErrorCode.INTERNAL_ERROR, _CRASHED)
