"""Queries that are meant to hurt, and requests that are none."""

import json
from typing import Any

import pytest
from graphql import get_introspection_query

from sutazai.api.graphql.bounds import MOST_ALIASES, MOST_FIELDS, MOST_LISTED
from sutazai.tasks.service import Tasks
from tests.api.graphql.asking import URL, ask, code_of, errors_of, post
from tests.api.server import Server, error_of, submit

NESTED = "{ tasks { tasks { assignedAgent { health { status } } } } }"


def doubling(depth: int) -> str:
    """Fragments of which each uses the next twice: 2 ** depth fields of a short text."""
    parts = [f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(depth)]
    parts.append(f"fragment F{depth} on Query {{ me {{ userId }} }}")
    return "{ ...F0 } " + " ".join(parts)


BOMBS = {
    "braces": "{" * 5_000,
    "nested fields": "{ a " * 400 + "}" * 400,
    "nested lists": '{ tasks(type: "x", tag: ' + "[" * 900 + "]" * 900 + ") { total } }",
    "nested objects": "mutation { createTask(type: 1, metadata: "
    + "{a: " * 400
    + "1"
    + "}" * 400
    + ") { taskId } }",
    "many tokens": "{ " + "me " * 5_000 + "}",
    "many comments": "#\n" * 5_000 + "{ me { userId } }",
    "long": "{ me { userId } }" + " " * 100_000,
    "long string": '{ task(taskId: "' + "x" * 200_000 + '") { status } }',
    "many fields": "{ me { " + "userId " * (MOST_FIELDS + 1) + "} }",
    "aliases": "{ " + " ".join(f"a{n}: me {{ userId }}" for n in range(MOST_ALIASES + 1)) + " }",
    "aliases in fragments": "{ ...F } fragment F on Query { "
    + " ".join(f"a{n}: me {{ userId }}" for n in range(MOST_ALIASES + 1))
    + " }",
    "one field again and again": "{ " + "me { userId } " * 100 + "}",
    "again and again in fragments": "{ ...F } fragment F on Query { ...G ...G } "
    "fragment G on Query { " + "me { userId } " * 20 + "}",
    "doubling fragments": doubling(60),
    "fragment of itself": "{ ...A } fragment A on Query { ...A }",
    "fragments in a circle": "{ ...A } fragment A on Query { ...B ...B } "
    "fragment B on Query { me { userId } ...A ...A }",
    "unused circle": "{ me { userId } } fragment A on Query { ...B } fragment B on Query { ...A }",
    "long chain": "{ ...F0 } "
    + " ".join(f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(200))
    + " fragment F200 on Query { me { userId } }",
    "introspection": "{ __schema { types { fields { type { fields { type { name } } } } } } }",
    "introspection in fragments": "{ __schema { types { ...T } } } fragment T on __Type "
    "{ fields { type { ...U } } } fragment U on __Type { interfaces { name } fields { name } }",
    "many lists": "{ "
    + " ".join(f"a{n}: tasks(limit: 100) {{ total }}" for n in range(MOST_LISTED // 100 + 1))
    + " }",
    "syntax": "{ me { userId }",
    "nothing": "",
    "blanks": " \n",
    "nothing but blanks in a list": "query ( ) { me { userId } }",
    "lone surrogate": '{ task(taskId: "\\uD800") { status } }',
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_query_that_is_too_much_is_refused(server: Server, name: str) -> None:
    code = (await errors_of(server.admin, BOMBS[name]))[0]["extensions"]["code"]
    assert code == "BAD_REQUEST"
    assert (await ask(server.admin, "{ me { username } }"))["me"] == {"username": "admin"}


async def test_what_is_within_the_bounds_is_answered(server: Server) -> None:
    names = [f"a{n}" for n in range(MOST_ALIASES)]
    asked = " ".join(f"{name}: me {{ userId }}" for name in names)
    assert set(await ask(server.admin, f"{{ {asked} }}")) == set(names)
    assert await ask(server.admin, NESTED)


async def test_tools_can_ask_for_the_schema(server: Server) -> None:
    query = get_introspection_query(specified_by_url=True, input_value_deprecation=True)
    shown = (await ask(server.viewer, query))["__schema"]
    assert shown["subscriptionType"]["name"] == "Subscription"


@pytest.mark.parametrize(
    "query",
    [
        "{ nonsense }",
        "{ me }",
        "{ me { userId { x } } }",
        "{ task { status } }",
        "{ task(taskId: 1) { status } }",
        "{ ...Missing }",
        doubling(30).replace("me { userId }", "...Missing"),
        "query($x: Missing) { me { userId } }",
        "{ me @missing { userId } }",
        "{ tasks(status: nonsense) { total } }",
        "fragment F on Query { me { userId } } { me { userId } }",
        "{ a: me { userId } a: agents { name } }",
        'mutation { createTask(type: "ping", description: "x", metadata: {a: 1e999}) { taskId } }',
    ],
)
async def test_a_query_that_does_not_fit_the_schema_is_told_why(server: Server, query: str) -> None:
    for error in await errors_of(server.admin, query):
        assert error["extensions"]["code"] == "VALIDATION_ERROR", error


async def test_digits_beyond_all_measure_are_refused(server: Server) -> None:
    query = (
        'mutation { createTask(type: "ping", description: "x", metadata: {a: '
        + "9" * 5_000
        + "}) { taskId } }"
    )
    assert await code_of(server.user, query) == "VALIDATION_ERROR"


async def test_not_every_error_of_many_is_told(server: Server) -> None:
    wrong = " ".join(f"f{n}" for n in range(400))
    assert len(await errors_of(server.admin, f"{{ {wrong} }}")) <= 20


async def test_a_long_name_is_not_said_back(server: Server) -> None:
    errors = await errors_of(server.admin, "{ " + "x" * 90_000 + " }")
    assert len(errors[0]["message"]) < 1_000


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("query A { me { userId } } query B { me { userId } }", None),
        ("query A { me { userId } } query B { me { userId } }", "C"),
        ("fragment F on Query { me { userId } }", None),
        ("type Query { a: Int }", None),
    ],
)
async def test_it_must_be_clear_what_to_run(server: Server, query: str, name: str | None) -> None:
    answer = await server.admin.post(URL, json={"query": query, "operationName": name})
    assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    assert "operationName" in answer.json()["errors"][0]["message"]


async def test_a_subscription_by_post_is_told_where_to_go(server: Server) -> None:
    errors = await errors_of(server.admin, "subscription { events { id } }")
    assert errors[0]["extensions"]["code"] == "BAD_REQUEST"
    assert "WebSocket" in errors[0]["message"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b'"{ me { userId } }"',
        b"[]",
        b'[{"query": "{ me { userId } }"}, {"query": "{ me { userId } }"}]',
        b"{}",
        b'{"query": null}',
        b'{"query": 1}',
        b'{"query": "{ me { userId } }", "variables": []}',
        b'{"query": "{ me { userId } }", "variables": "x"}',
        b'{"query": "{ me { userId } }", "operationName": 1}',
        b'{"query": "\\ud800"}',
        b'{"query": "{ me { userId } }", "variables": {"a": NaN}}',
        b'{"query": "{ me { userId } }", "variables": {"a": 1e999}}',
        b'{"query": "{ me { userId } }", "variables": {"a": ' + b"[" * 1_000 + b"]" * 1_000 + b"}}",
        b"\xff",
    ],
    ids=lambda content: str(content[:60]),
)
async def test_what_is_no_request_is_told_in_the_envelope(server: Server, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    error_of(await server.admin.post(URL, content=content, headers=headers), 400, "BAD_REQUEST")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_only_post_is_allowed(server: Server, method: str) -> None:
    answer = await server.admin.request(method, URL, params={"query": "{ me { userId } }"})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    if method != "HEAD":
        error_of(answer, 405, "BAD_REQUEST")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/graphql"},
        {"content-type": ""},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {},
    ],
)
async def test_what_another_sites_page_could_send_is_refused(
    server: Server, headers: dict[str, str]
) -> None:
    request = server.admin.build_request("POST", URL, content=b'{"query": "{ me { userId } }"}')
    request.headers.pop("content-type", None)
    request.headers.update(headers)
    error_of(await server.admin.send(request), 415, "BAD_REQUEST")


async def test_a_body_over_the_limit_is_refused(server: Server) -> None:
    content = json.dumps({"query": "{ me { userId } }", "x": "x" * (10 * 1024 * 1024)}).encode()
    headers = {"content-type": "application/json"}
    error_of(await server.admin.post(URL, content=content, headers=headers), 413, "BAD_REQUEST")


async def test_there_is_nothing_below_the_path(server: Server) -> None:
    for path in (f"{URL}/", f"{URL}/x", f"{URL}x"):
        error_of(await server.admin.post(path, json={}), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("query", "status"), [("{ me { username } }", 200), ("{ nonsense }", 400), ("{", 400)]
)
async def test_modern_clients_learn_by_the_status_what_was_not_run(
    server: Server, query: str, status: int
) -> None:
    accept = "application/graphql-response+json, application/json;q=0.9"
    answer = await post(server.admin, query, headers={"accept": accept})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/graphql-response+json"
    assert ("data" in answer.json()) == (status == 200)


async def test_text_comes_back_as_it_was(server: Server) -> None:
    text = "é ß 漢字 🎉 \U0010ffff \u202e ' \" \\ <script> ${x} \n\t"
    written = json.dumps(text, ensure_ascii=False)
    made = await ask(
        server.user,
        f'mutation {{ createTask(type: "ping", description: {written}, '
        f"metadata: {{a: {written}}}) {{ description metadata }} }}",
    )
    assert made["createTask"] == {"description": text, "metadata": {"a": text}}
    nul = 'mutation { createTask(type: "ping", description: "a\\u0000") { taskId } }'
    assert await code_of(server.user, nul) == "VALIDATION_ERROR"


async def test_what_goes_wrong_inside_is_not_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_args: Any, **_more: Any) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(Tasks, "list_tasks", crash)
    errors = await errors_of(server.user, "{ tasks { total } }")
    assert errors[0]["extensions"]["code"] == "INTERNAL_ERROR"
    assert "secret" not in json.dumps(errors)


async def test_results_are_bounded_however_often_they_are_asked_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = (await submit(server.user))["task_id"]
    await server.user.get(f"/tasks/{task_id}", params={"wait": 20})
    query = f'{{ task(taskId: "{task_id}") {{ a: result b: result }} }}'
    size = len(json.dumps((await ask(server.user, query))["task"]["a"]))
    monkeypatch.setattr("sutazai.api.graphql.context.MOST_RESULT_BYTES", size)
    assert await code_of(server.user, query) == "BAD_REQUEST"
    monkeypatch.setattr("sutazai.tasks.service.MOST_RESULT_BYTES", 10)
    for error in await errors_of(server.user, query):
        assert error["extensions"]["code"] == "BAD_REQUEST"
