"""Talking to `/graphql` in process."""

from typing import Any

import httpx2

from tests.api.server import JSON

URL = "http://sutazai.test/graphql"


async def post(
    client: httpx2.AsyncClient, query: str, *, headers: dict[str, str] | None = None, **more: Any
) -> httpx2.Response:
    """The response to an operation; `more` are the variables."""
    return await client.post(URL, json={"query": query, "variables": more}, headers=headers)


async def ask(client: httpx2.AsyncClient, query: str, **variables: Any) -> JSON:
    """The data of an operation that must go well."""
    answer = await post(client, query, **variables)
    assert answer.status_code == 200, answer.text
    body: JSON = answer.json()
    assert "errors" not in body, body
    data: JSON = body["data"]
    return data


async def errors_of(client: httpx2.AsyncClient, query: str, **variables: Any) -> list[JSON]:
    """The errors of an operation that must not go well, each in the form it must have."""
    answer = await post(client, query, **variables)
    assert answer.status_code == 200, answer.text
    errors: list[JSON] = answer.json()["errors"]
    assert errors
    for error in errors:
        assert error.keys() <= {"message", "locations", "path", "extensions"}
        extensions = error["extensions"]
        assert extensions.keys() - {"details", "retryAfter"} == {"code", "timestamp", "requestId"}
        assert extensions["requestId"] == answer.headers["x-request-id"]
        assert error["message"]
    return errors


async def code_of(client: httpx2.AsyncClient, query: str, **variables: Any) -> str:
    """The code of the one error."""
    errors = await errors_of(client, query, **variables)
    assert len(errors) == 1, errors
    code: str = errors[0]["extensions"]["code"]
    return code


async def fields_of(client: httpx2.AsyncClient, query: str, **variables: Any) -> set[str]:
    """The arguments that the one error, VALIDATION_ERROR, complains of."""
    errors = await errors_of(client, query, **variables)
    assert [error["extensions"]["code"] for error in errors] == ["VALIDATION_ERROR"], errors
    return {detail["field"] for detail in errors[0]["extensions"]["details"]}
