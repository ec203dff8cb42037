"""A shorter way to the busiest endpoints, with the same signatures, documents and answers.

FastAPI's stack of middleware, exit stacks and dependency solving costs more than accepting a task
does (measure with `python -m benchmarks.throughput`). A lean route is declared like any other and
stands in the OpenAPI document; it only binds its few kinds of parameters itself.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, get_type_hints

from fastapi import Request, params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.types import Receive, Scope, Send

from sutazai.api.bodies import content_of, parse_json
from sutazai.api.envelope import error_answer

Resolver = Callable[[Request], Awaitable[Any]]


class LeanRoute(APIRoute):
    """A route whose parameters are a JSON body, headers, the query, the request, and dependencies.

    TypeError, when the module is imported, for an endpoint that takes anything else.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._call = _bound(endpoint)
        self.app = self.serve

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, errors included."""
        request = Request(scope, receive)
        try:
            response = await self._call(request)
        except Exception as error:
            response = await error_answer(request, error)
        await response(scope, receive, send)


def _bound(function: Callable[..., Awaitable[Any]]) -> Resolver:
    """The function as one of the request alone."""
    hints = get_type_hints(function, include_extras=True)
    resolvers = {
        name: _resolver(function, name, hints[name], parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
    }

    async def call(request: Request) -> Any:
        return await function(**{name: await one(request) for name, one in resolvers.items()})

    return call


def _resolver(function: Callable[..., Any], name: str, hint: Any, default: Any) -> Resolver:
    notes = [default, *getattr(hint, "__metadata__", ())]
    for note in notes:
        if isinstance(note, params.Depends) and note.dependency is not None:
            return _bound(note.dependency)
        if isinstance(note, params.Header) and note.alias:
            return _header(note.alias, default)
        if isinstance(note, params.Query):
            return _query(name, TypeAdapter(hint), default)
    if hint is Request:
        return _request
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return _body(hint)
    raise TypeError(f"{function.__name__}: a lean route cannot bind the parameter {name!r}")


async def _request(request: Request) -> Request:
    return request


def _header(alias: str, default: Any) -> Resolver:
    async def get(request: Request) -> Any:
        return request.headers.get(alias, default)

    return get


def _query(name: str, adapter: TypeAdapter[Any], default: Any) -> Resolver:
    async def get(request: Request) -> Any:
        if not request.scope["query_string"]:
            return default
        values = request.query_params.getlist(name)
        if not values:
            return default
        if len(values) > 1:
            twice = {"type": "value_error", "loc": ("query", name), "msg": "must be given once"}
            raise RequestValidationError([twice])
        try:
            return adapter.validate_python(values[0])
        except ValidationError as error:
            raise _invalid("query", name, error) from error

    return get


def _invalid(place: str, name: str, error: ValidationError) -> RequestValidationError:
    problems = error.errors(include_url=False, include_input=False)
    loc = (place, name) if name else (place,)
    return RequestValidationError(
        [{**problem, "loc": (*loc, *problem["loc"])} for problem in problems]
    )


def _body(model: type[BaseModel]) -> Resolver:
    async def read(request: Request) -> BaseModel:
        content = await content_of(request)
        if not content:
            missing = {"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}
            raise RequestValidationError([missing])
        value = parse_json(request, content)
        try:
            return model.model_validate(value)
        except ValidationError as error:
            problems = _invalid("body", "", error).errors()
            raise RequestValidationError(problems, body=value) from error

    return read
