"""One set of resources in every version: bare below `/api/v1`, in an envelope elsewhere."""

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from schemathesis import Case
from starlette.types import Message, Receive, Scope, Send

from sutazai.api.edge import HEADERS, Edge, Limits
from sutazai.api.versions import VERSIONS, Versions, enveloped
from sutazai.telemetry.instruments import Instruments
from tests.api.server import (
    JSON,
    PASSWORD,
    PATIENCE,
    Server,
    ended,
    error_of,
    serving,
    settings_for,
    submit,
)
from tests.api.test_generated_requests import log_in, make_sensible, settings
from tests.api.test_openapi import METHODS, document

ROOT = "http://sutazai.test"
V1 = {"X-API-Version": "1.0"}


def data_of(answer: httpx2.Response, version: str) -> Any:
    """What is in an answer's envelope, which must be of this version and as long as it says."""
    assert answer.headers["x-api-version"] == version
    assert int(answer.headers["content-length"]) == len(answer.content)
    body: JSON = answer.json()
    assert list(body) == ["api_version", "data"]
    assert body["api_version"] == version
    return body["data"]


# --- the same resources


async def test_every_version_serves_the_same_bytes(server: Server) -> None:
    task = await submit(server.user, metadata={"é": [1.0, 1e300, "\u2028"]})
    await ended(server.user, task["task_id"])
    for path in (f"/tasks/{task['task_id']}", f"/tasks/{task['task_id']}/result", "/auth/me"):
        bare = await server.user.get(path)
        assert bare.headers["x-api-version"] == "1.0"
        for place, headers, version in (
            ("/api/v2", {}, "2.0"),
            ("/api/v2", V1, "2.0"),
            ("/api", {}, "2.0"),
            ("/api", {"X-API-Version": "2"}, "2.0"),
            ("/api", {"X-API-Version": " 2.0 "}, "2.0"),
            ("/api", {"X-API-Version": "1"}, "1.0"),
            ("/api", V1, "1.0"),
        ):
            answer = await server.user.get(f"{ROOT}{place}{path}", headers=headers)
            assert answer.status_code == 200
            before = b'{"api_version":"%s","data":' % version.encode()
            assert answer.content == before + bare.content + b"}"
            assert answer.headers["content-type"] == bare.headers["content-type"]
            assert data_of(answer, version) == bare.json()
            assert answer.headers.get("vary") == ("X-API-Version" if place == "/api" else None)


async def test_a_path_with_a_version_is_not_moved_by_the_header(server: Server) -> None:
    plain = await server.user.get("/auth/me")
    for said in ("2.0", "nonsense", ""):
        answer = await server.user.get("/auth/me", headers={"X-API-Version": said})
        assert (answer.content, answer.headers["x-api-version"]) == (plain.content, "1.0")


@pytest.mark.parametrize(("place", "version"), [("/api/v2", "2.0"), ("/api", "2.0")])
async def test_tasks_are_submitted_followed_and_cancelled_in_every_version(
    server: Server, place: str, version: str
) -> None:
    body = {"type": "ping", "description": "versions", "metadata": {"n": 1}}
    made = await server.user.post(f"{ROOT}{place}/tasks", json=body)
    assert made.status_code == 201
    task = data_of(made, version)
    assert made.headers["location"] == f"{place}/tasks/{task['task_id']}"
    read = await server.user.get(ROOT + made.headers["location"], params={"wait": 20})
    assert data_of(read, version)["status"] == "completed"
    result = await server.user.get(f"{ROOT}{made.headers['location']}/result")
    assert data_of(result, version)["result"] == {"n": 1}
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    waiting = await server.user.post(f"{ROOT}{place}/tasks", json=body | {"run_at": later})
    cancelled = await server.user.delete(ROOT + waiting.headers["location"])
    assert data_of(cancelled, version)["status"] == "cancelled"
    page = await server.user.get(f"{ROOT}{place}/tasks", params={"limit": 1})
    assert data_of(page, version)["limit"] == 1


async def test_a_version_asked_for_by_header_has_its_locations_where_the_header_counts(
    server: Server,
) -> None:
    body = {"type": "ping", "description": "versions"}
    made = await server.user.post(f"{ROOT}/api/tasks", json=body, headers=V1)
    assert made.headers["location"] == f"/api/tasks/{data_of(made, '1.0')['task_id']}"
    user = {"username": f"u-{uuid.uuid4().hex[:8]}", "password": PASSWORD}
    account = await server.admin.post(f"{ROOT}/api/v2/users", json=user)
    location = account.headers["location"]
    assert location == f"/api/v2/users/{data_of(account, '2.0')['user_id']}"
    gone = await server.admin.delete(ROOT + location)
    assert (gone.status_code, gone.content) == (204, b"")
    assert gone.headers["x-api-version"] == "2.0"


async def test_an_idempotency_key_counts_once_over_all_versions(server: Server) -> None:
    body = {"type": "ping", "description": "once"}
    headers = {"idempotency-key": str(uuid.uuid4())}
    first = await server.user.post("/tasks", json=body, headers=headers)
    for place in ("/api/v2", "/api"):
        again = await server.user.post(f"{ROOT}{place}/tasks", json=body, headers=headers)
        assert data_of(again, "2.0") == first.json()
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["location"] == f"{place}/tasks/{first.json()['task_id']}"


async def test_errors_are_the_same_in_every_version(server: Server) -> None:
    for place in ("/api/v1", "/api/v2", "/api"):
        base = ROOT + place
        error = error_of(await server.user.get(f"{base}/nothing"), 404, "NOT_FOUND")
        assert f"{place}/nothing" in error["message"]
        error_of(await server.user.get(f"{base}/tasks/{uuid.uuid4()}"), 404, "NOT_FOUND")
        error_of(await server.anonymous.get(f"{base}/tasks"), 401, "UNAUTHORIZED")
        error_of(await server.user.get(f"{base}/users"), 403, "FORBIDDEN")
        answer = await server.user.post(f"{base}/tasks", content=b"{")
        error_of(answer, 400, "BAD_REQUEST")
        answer = await server.user.post(f"{base}/tasks", json={"type": "ping"})
        error_of(answer, 422, "VALIDATION_ERROR")
        answer = await server.user.put(f"{base}/tasks", json={})
        error_of(answer, 405, "BAD_REQUEST")
        assert answer.headers["allow"] == "GET, HEAD, POST"
        assert answer.headers["x-api-version"] == ("1.0" if place == "/api/v1" else "2.0")


def test_head_is_as_long_as_get_in_every_version(live: str) -> None:
    headers = {"authorization": f"Bearer {log_in(live)}"}
    for place in ("/api/v1", "/api/v2", "/api"):
        url = f"{live}{place}/agents/master-coordinator/nothing"
        found = httpx2.head(url, headers=headers, trust_env=False)
        assert (found.status_code, found.content) == (404, b"")
        url = f"{live}{place}/auth/me"
        read = httpx2.get(url, headers=headers, trust_env=False)
        seen = httpx2.head(url, headers=headers, trust_env=False)
        assert seen.content == b""
        assert seen.headers["content-length"] == read.headers["content-length"]
        assert seen.headers["x-api-version"] == read.headers["x-api-version"]


# --- what is not a version


@pytest.mark.parametrize(
    "path",
    [
        "/api/v3/tasks",
        "/api/v0/tasks",
        "/api/v1.0/tasks",
        "/api/V2/tasks",
        "/api/v2%5ctasks",
        "/api/v2;x=1/tasks",
        "/api/v22",
        "/api/v1beta1/tasks",
        "/api/v1%00/tasks",
        "/api/v2%0d%0ax-evil:1/tasks",
        "/api/v2é/tasks",
        "/api/v" + "9" * 5000 + "/tasks",
    ],
    ids=lambda path: path[:20],
)
async def test_an_unknown_version_in_the_path_is_told_the_known_ones(
    server: Server, path: str
) -> None:
    answer = await server.user.get(ROOT + path)
    message = error_of(answer, 400, "BAD_REQUEST")["message"]
    assert "1.0 and 2.0" in message
    assert "/api/v1 or /api/v2" in message
    assert len(message) < 300
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize(
    "said",
    [
        b"3",
        b"3.0",
        b"1.1",
        b"v2",
        b"",
        b"2.00",
        b"02",
        b"-1",
        b"1e0",
        b"*",
        b"newest",
        b"1.0, 1.0",
        b"\xff\xfe",
        b"9" * 8000,
    ],
    ids=lambda said: repr(said[:10]),
)
async def test_an_unknown_version_in_the_header_is_told_the_known_ones(
    server: Server, said: bytes
) -> None:
    answer = await server.user.get(f"{ROOT}/api/tasks", headers={b"x-api-version": said})
    message = error_of(answer, 400, "BAD_REQUEST")["message"]
    assert "1.0 and 2.0" in message
    assert len(message) < 300


@pytest.mark.parametrize("second", ["2.0", "1.0"])
async def test_a_version_that_comes_twice_is_refused(server: Server, second: str) -> None:
    headers = [("x-api-version", "1.0"), ("X-API-Version", second)]
    answer = await server.user.get(f"{ROOT}/api/tasks", headers=headers)
    error_of(answer, 400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api//",
        "/api/v1",
        "/api/v2",
        "/api/v2/",
        "/api/v2/v1/tasks",
        "/api/v1/v2/tasks",
        "/api//v1/tasks",
        "/api/api/v1/tasks",
        "/api/%2e%2e/v1/tasks",
        "/api/v2/%2e%2e/v1/tasks",
        "/api/v2/..%2fv1/tasks",
        "/api/v2//tasks",
        "/api/vtasks",
        "/apiv2/tasks",
        "/API/v2/tasks",
    ],
)
async def test_a_path_that_only_looks_like_one_leads_nowhere(server: Server, path: str) -> None:
    error_of(await server.user.get(ROOT + path), 404, "NOT_FOUND")


async def test_an_encoded_slash_asks_for_the_same_rights(server: Server) -> None:
    answer = await server.anonymous.get(f"{ROOT}/api%2fv2%2fusers")
    error_of(answer, 401, "UNAUTHORIZED")


# --- what passes through


async def passed(messages: list[Message]) -> list[Message]:
    """What becomes, in version 2, of an answer that consists of these messages."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async def receive() -> Message:
        raise AssertionError("nothing reads here")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "GET", "path": "/api/v2/x", "headers": []}
    scope["state"] = {HEADERS: []}
    # The document is not asked for.
    versions = Versions(app, describe=dict, deprecated={})
    await versions.told(versions)(scope, receive, send)
    return sent


def start(media_type: str | None, status: int = 200, *more: tuple[bytes, bytes]) -> Message:
    kind = [] if media_type is None else [(b"content-type", media_type.encode())]
    return {"type": "http.response.start", "status": status, "headers": [*kind, *more]}


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


def bodies(sent: list[Message]) -> list[bytes]:
    return [message["body"] for message in sent if message["type"] == "http.response.body"]


@pytest.mark.parametrize(
    "first",
    [
        start("text/event-stream"),
        start("application/x-ndjson"),
        start("application/vnd.aai.asyncapi+json"),
        start("text/plain"),
        start(None),
        start("application/json", 206, (b"content-range", b"bytes 0-1/9")),
        start("application/json", 200, (b"content-encoding", b"gzip")),
        start("application/json", 200, (b"content-disposition", b"attachment")),
    ],
    ids=lambda message: str(message["headers"]),
)
async def test_what_is_no_resource_in_json_passes_as_it_is_and_at_once(first: Message) -> None:
    sent = await passed([first, part(b"data: 1\n\n", more=True), part(b"{}")])
    assert bodies(sent) == [b"data: 1\n\n", b"{}"]
    assert sent[0] == first


async def test_json_in_parts_is_enveloped_as_one() -> None:
    parts = [part(b"", more=True), part(b'{"a":', more=True), part(b"1}", more=True), part(b"")]
    sent = await passed([start("application/json; charset=utf-8"), *parts])
    assert json.loads(b"".join(bodies(sent))) == {"api_version": "2.0", "data": {"a": 1}}


async def test_an_empty_body_stays_empty() -> None:
    length = (b"content-length", b"0")
    sent = await passed([start("application/json", 200, length), part(b"")])
    assert bodies(sent) == [b""]
    assert length in sent[0]["headers"]


async def test_only_a_failure_is_an_error_whatever_data_begins_with() -> None:
    wrong = b'{"error":{}}'
    assert bodies(await passed([start("application/json", 500), part(wrong)])) == [wrong]
    sent = await passed([start("application/json"), part(wrong)])
    assert bodies(sent) == [b'{"api_version":"2.0","data":' + wrong + b"}"]
    sent = await passed([start("application/json", 503), part(b'{"status":"unhealthy"}')])
    assert json.loads(bodies(sent)[0])["data"] == {"status": "unhealthy"}


async def test_a_file_handed_to_the_server_by_its_path_passes() -> None:
    file: Message = {"type": "http.response.pathsend", "path": "/nowhere"}
    sent = await passed([start("application/json"), file])
    assert [message["type"] for message in sent] == ["http.response.start", file["type"]]


def test_the_event_stream_is_the_same_in_every_version(live: str) -> None:
    headers = {"authorization": f"Bearer {log_in(live)}"}
    said = []
    for place in ("/api/v1", "/api/v2", "/api"):
        url = f"{live}{place}/events/stream?last_event_id=0"
        with httpx2.stream(
            "GET", url, headers=headers, timeout=PATIENCE, trust_env=False
        ) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["x-api-version"] == ("1.0" if place == "/api/v1" else "2.0")
            lines = answer.iter_lines()
            said.append([next(line for line in lines if line.startswith("data:"))])
    assert said[0] == said[1] == said[2]


# --- documents


async def test_each_version_serves_its_own_document_bare(server: Server) -> None:
    for path, headers, expected in (
        ("/api/v2/openapi.json", {}, enveloped(document())),
        ("/api/openapi.json", {}, enveloped(document())),
        ("/api/openapi.json", V1, document()),
        ("/api/v1/openapi.json", {}, document()),
    ):
        answer = await server.anonymous.get(ROOT + path, headers=headers)
        assert answer.json() == expected
    refused = await server.anonymous.post(f"{ROOT}/api/v2/openapi.json")
    error_of(refused, 405, "BAD_REQUEST")


def test_the_newest_document_is_version_1s_with_its_answers_in_the_envelope() -> None:
    one, two = document(), enveloped(document())
    assert [server["url"] for server in two["servers"]] == ["/api/v2"]
    seen = 0
    for path, operations in one["paths"].items():
        for method in METHODS & set(operations):
            for status, response in operations[method]["responses"].items():
                json_of_1 = response.get("content", {}).get("application/json")
                if json_of_1 is None:
                    continue
                content = two["paths"][path][method]["responses"][status]["content"]
                schema = content["application/json"]["schema"]
                assert schema["required"] == ["api_version", "data"]
                assert schema["properties"]["api_version"] == {"type": "string", "const": "2.0"}
                assert schema["properties"].pop("data") == json_of_1["schema"]
                content["application/json"]["schema"] = json_of_1["schema"]
                seen += 1
    assert seen > 15
    # And nothing else differs.
    assert two | {"servers": one["servers"]} == one


def test_the_newest_document_is_valid_openapi() -> None:
    schemathesis.openapi.from_dict(enveloped(document())).validate()


@pytest.fixture(scope="module")
def token(battered: str) -> str:
    return log_in(battered)


newest = schemathesis.openapi.from_dict(enveloped(document()))


# The brake holds logging in back, logging out ends the token, and a stream does not end.
@newest.exclude(operation_id=["login", "logout", "streamEvents"]).parametrize()
@settings(examples=4)
def test_version_2_keeps_to_its_document(case: Case[Any], battered: str, token: str) -> None:
    make_sensible(case)
    case.call_and_validate(
        base_url=f"{battered}/api/v2", headers={"Authorization": f"Bearer {token}"}
    )


async def test_the_page_of_documents_offers_every_version(server: Server) -> None:
    page = (await server.anonymous.get(f"{ROOT}/docs")).text
    begin = (await server.anonymous.get(f"{ROOT}/docs/start.js")).text
    for path, version in VERSIONS.items():
        assert f'href="/docs?version={version}"' in page
        assert f'["{version}", "{path}/openapi.json"]' in begin


async def test_what_the_limits_answer_says_the_version_too(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    settings = settings_for(
        data_dir, database_url, tmp_path, rate_limits=True, rate_limit_requests=1
    )
    async with serving(settings, roles=[]) as server:
        # The admin has logged in, which was this address's only request.
        refused = await server.anonymous.get("/tasks")
        error_of(refused, 429, "RATE_LIMIT_EXCEEDED")
        assert refused.headers["x-api-version"] == "1.0"
        large = await server.admin.post("http://sutazai.test/api/tasks", content=b"x" * 11_000_000)
        assert large.status_code == 413
        assert large.headers["x-api-version"] == "2.0"
        assert large.headers["vary"] == "X-API-Version"
        assert large.headers.get_list("x-api-version") == ["2.0"]


async def test_what_takes_too_long_says_the_version_too() -> None:
    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    versions = Versions(hang, describe=dict, deprecated={})
    app = Edge(versions.told(Limits(versions, seconds=0.01)), instruments=Instruments(version="1"))
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://sutazai.test"
    ) as client:
        answer = await client.get("/api/v1/x")
    error_of(answer, 503, "SERVICE_UNAVAILABLE")
    assert answer.headers["x-api-version"] == "1.0"
