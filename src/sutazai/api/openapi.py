"""The OpenAPI document's parts that FastAPI does not write by itself."""

from typing import Any

from fastapi import FastAPI

from sutazai.api.schemas import errors

_OPEN = frozenset({"login", "refreshToken", "getHealth"})
_LOCATED = frozenset(
    {"createTask", "createUser", "createWorkflow", "executeWorkflow", "registerAgent"}
)
_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token of POST /auth/login, or an API key.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
# FastAPI's own shapes of errors, which are never sent.
_FASTAPIS_OWN = ("HTTPValidationError", "ValidationError")
_ERROR_SHAPES = ("/Error", "/HTTPValidationError")


_ERRORS = errors(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503, 504)


def _header(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}}


_HEADERS = {
    "X-Request-ID": _header("The request's own id, or the one it was given"),
    "X-API-Version": _header("The version that answered", examples=["1.0"]),
    "RateLimit": _header(
        "How the caller stands: by policy, what remains (r) and seconds until there is more (t)",
        examples=['"requests";r=99;t=60'],
    ),
    "RateLimit-Policy": _header(
        "What the caller may do: by policy, how often (q) in how many seconds (w)",
        examples=['"requests";q=100;w=60'],
    ),
    "Location": _header("Where the new resource is", format="uri-reference"),
    "Idempotency-Replayed": _header("This is the answer of the first time", const="true"),
    "Retry-After": _header("Seconds until it is worth trying again, where waiting can help"),
    "WWW-Authenticate": _header("How to say who one is", const="Bearer"),
}
_ALWAYS = ("X-Request-ID", "X-API-Version", "RateLimit", "RateLimit-Policy")
_HEADERS_OF_ERRORS = {
    401: ("WWW-Authenticate",),
    409: ("Retry-After",),
    429: ("Retry-After",),
    503: ("Retry-After",),
    504: ("Retry-After",),
}


def describe(app: FastAPI) -> None:
    """Complete the application's document: who may call what, every error, every header."""
    generate = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            components = document["components"]
            components["securitySchemes"] = _SCHEMES
            components["headers"] = _HEADERS
            components["responses"] = {f"Error{status}": _error(int(status)) for status in _ERRORS}
            for path in document["paths"].values():
                for operation in path.values():
                    _complete(operation)
            for path in document["webhooks"].values():
                for operation in path.values():
                    # FastAPI's own, of what a receiver would answer to a wrong body.
                    operation["responses"].pop("422", None)
            for name in _FASTAPIS_OWN:
                components["schemas"].pop(name, None)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # FastAPI's documented way


def _error(status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "description": _ERRORS[status]["description"],
        "headers": _headers(*_HEADERS_OF_ERRORS.get(status, ())),
        "content": content,
    }


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*_ALWAYS, *names)}


def _complete(operation: dict[str, Any]) -> None:
    name = operation["operationId"]
    failing = {500, 503}
    if name != "getHealth":
        failing |= {429}
    if name not in _OPEN:
        operation["security"] = [{"bearer": []}, {"apiKey": []}]
        failing |= {401}
    if "requestBody" in operation:
        failing |= {400, 413, 415}
    repeatable = any(
        parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ())
    )
    responses: dict[str, Any] = {}
    for status, response in operation["responses"].items():
        shapes = [one.get("schema", {}) for one in response.get("content", {}).values()]
        if status >= "400" and any(one.get("$ref", "").endswith(_ERROR_SHAPES) for one in shapes):
            failing |= {int(status)}
            continue
        more = ["Idempotency-Replayed"] if repeatable else []
        more += ["Location"] if name in _LOCATED else []
        responses[status] = {**response, "headers": _headers(*more)}
    for code in failing:
        responses.setdefault(str(code), {"$ref": f"#/components/responses/Error{code}"})
    operation["responses"] = dict(sorted(responses.items()))
