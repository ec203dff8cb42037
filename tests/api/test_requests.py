"""What holds for every request: its id, the envelope of its errors, headers, methods, limits."""

import asyncio
import dataclasses
import re
from collections.abc import Iterator
from typing import Any, cast

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from sutazai.api.app import create_app
from sutazai.api.edge import Edge, Limits
from sutazai.telemetry.instruments import Instruments
from tests.api.server import ADMIN_PASSWORD, PATIENCE, Server, ended, error_of, submit
from tests.api.test_openapi import document

ROOT = "http://sutazai.test"


@pytest.mark.parametrize("given", ["req-123456", "a", "A.b_c:d-9", "x" * 128])
async def test_a_valid_request_id_is_echoed(server: Server, given: str) -> None:
    headers = {"x-request-id": given}
    fine = await server.anonymous.get("/health", headers=headers)
    assert fine.headers["x-request-id"] == given
    wrong = await server.anonymous.get("/nothing", headers=headers)
    assert error_of(wrong, 404, "NOT_FOUND")["request_id"] == given


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"x" * 129,
        b"two words",
        b"<script>alert(1)</script>",
        b"req\tid",
        b"\xff\xfe",
        b"a;b",
        '{"a":"é"}'.encode(),
    ],
)
async def test_any_other_request_id_is_replaced(server: Server, given: bytes) -> None:
    answer = await server.anonymous.get("/nothing", headers={b"x-request-id": given})
    request_id = error_of(answer, 404, "NOT_FOUND")["request_id"]
    assert re.fullmatch(r"req-[a-z0-9]{10,}", request_id)


async def test_the_request_id_reaches_the_events(server: Server) -> None:
    body = {"type": "ping", "description": "x"}
    headers = {"x-request-id": "req-from-a-test"}
    answer = await server.user.post("/tasks", json=body, headers=headers)
    await ended(server.user, answer.json()["task_id"])
    found, after = [], 0
    while True:
        page = (await server.admin.get("/events", params={"after": after, "limit": 1000})).json()
        found += [one for one in page["events"] if one["request_id"] == "req-from-a-test"]
        if page["next_after"] == after:
            break
        after = page["next_after"]
    assert {one["data"]["task_id"] for one in found} == {answer.json()["task_id"]}
    assert len(found) >= 4


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/nothing",
        "/api/v1/tasks/",
        "/api/v1/",
        "/api/v1",
        "/api/v2/nothing",
        "/api/v1/tasks/../../etc/passwd",
        "/api/v1/tasks/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/docs/nothing.js",
        "/docs/../secrets",
        "/nothing",
        "//",
        "/%00",
        "/%ff%fe",
        "/" + "x" * 60_000,
    ],
)
async def test_unknown_paths_are_not_found_in_the_envelope(server: Server, path: str) -> None:
    error_of(await server.anonymous.get(ROOT + path), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/tasks", "GET, HEAD, POST"),
        ("PATCH", "/api/v1/tasks/some-id", "GET, HEAD, DELETE"),
        ("POST", "/api/v1/users/some-id", "GET, HEAD, PATCH, DELETE"),
        ("DELETE", "/api/v1/auth/login", "POST"),
        ("POST", "/api/v1/health", "GET, HEAD"),
        ("NONSENSE", "/api/v1/health", "GET, HEAD"),
        ("OPTIONS", "/api/v1/auth/keys", "GET, HEAD, POST"),
        ("POST", "/docs", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_every_right_one(
    server: Server, method: str, path: str, allowed: str
) -> None:
    answer = await server.anonymous.request(method, ROOT + path)
    assert allowed in error_of(answer, 405, "BAD_REQUEST")["message"]
    assert answer.headers["allow"] == allowed


async def test_head_answers_as_get_without_a_body(server: Server) -> None:
    for path in ("/health", "/tasks", "/openapi.json", f"{ROOT}/docs"):
        answer = await server.user.head(path)
        assert (answer.status_code, answer.content) == (200, b""), path
        assert int(answer.headers["content-length"]) > 0


async def test_head_of_a_stream_ends(server: Server) -> None:
    async with asyncio.timeout(PATIENCE):
        answer = await server.user.head("/events/stream")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("path", ["/health", "/nothing", "/tasks", "/auth/login", "/events/stream"])
def test_head_leaves_a_connection_usable(live: str, path: str) -> None:
    """Over a real socket: a body after HEAD would be taken for the next answer."""
    body = {"username": "admin", "password": ADMIN_PASSWORD}
    with httpx2.Client(base_url=f"{live}/api/v1", timeout=PATIENCE, trust_env=False) as client:
        token = client.post("/auth/login", json=body).json()["access_token"]
        client.headers["authorization"] = f"Bearer {token}"
        for _ in range(3):
            assert client.head(path).content == b""
            assert client.get("/health").json()["status"] == "healthy"


def test_a_body_that_is_too_large_is_told_so_over_a_socket(live: str) -> None:
    def in_chunks() -> Iterator[bytes]:
        for _ in range(11):
            yield b" " * (1 << 20)

    with httpx2.Client(base_url=f"{live}/api/v1", timeout=PATIENCE, trust_env=False) as client:
        for content in (b" " * (11 << 20), in_chunks()):
            answer = client.post("/auth/login", content=content)
            error_of(answer, 413, "BAD_REQUEST")
            assert client.get("/health").json()["status"] == "healthy"


async def test_allow_names_the_methods_of_the_document_for_every_path(server: Server) -> None:
    order = ["get", "post", "put", "patch", "delete"]
    for path, operations in document()["paths"].items():
        allowed: list[str] = []
        for method in order:
            if method in operations:
                allowed += ["GET", "HEAD"] if method == "get" else [method.upper()]
        for method in ("NONSENSE", "OPTIONS", *{"PUT", "DELETE"}.difference(allowed)):
            answer = await server.admin.request(method, re.sub(r"{\w+}", "some-id", path))
            error_of(answer, 405, "BAD_REQUEST")
            assert answer.headers["allow"] == ", ".join(allowed), path


async def test_every_answer_carries_the_headers_of_safety(server: Server) -> None:
    answers = [
        await server.user.get("/tasks"),
        await server.anonymous.get("/tasks"),
        await server.anonymous.get("/nothing"),
        await server.anonymous.get(f"{ROOT}/docs"),
        await server.user.post("/tasks", content=b"x" * (11 << 20)),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy


async def test_the_documentation_needs_no_network(server: Server) -> None:
    page = await server.anonymous.get(f"{ROOT}/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "'unsafe-inline'" not in page.headers["content-security-policy"].split("style-src")[0]
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(linked) >= 4
    for path in linked:
        assert path.startswith(("/docs/", "/docs?"))
        asset = await server.anonymous.get(ROOT + path)
        assert (asset.status_code, len(asset.content) > 0) == (200, True)
    assert "<script>" not in page.text
    start = await server.anonymous.get(f"{ROOT}/docs/start.js")
    assert '"/api/v1/openapi.json"' in start.text
    home = await server.anonymous.get(f"{ROOT}/")
    assert home.headers["location"] == "/docs"


async def test_pages_of_other_origins_call_the_api_only_where_that_is_set(server: Server) -> None:
    origin = {"origin": "https://dashboard.example"}
    closed = await server.anonymous.get("/health", headers=origin)
    assert not [name for name in closed.headers if name.startswith("access-control")]
    app = create_app(server.application.services, cors_origins=("https://dashboard.example",))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=ROOT) as client:
        asked = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,idempotency-key",
        }
        allowed = await client.options("/api/v1/tasks", headers=origin | asked)
        assert allowed.status_code == 200
        too_much = {"content": b"x" * (11 << 20)}
        answers = [
            allowed,
            await client.get("/api/v1/health", headers=origin),
            await client.get("/api/v1/tasks", headers=origin),
            await client.get("/api/v1/nothing", headers=origin),
            await client.post("/api/v1/tasks", headers=origin, content=too_much["content"]),
        ]
        for answer in answers:
            assert answer.headers["access-control-allow-origin"] == "https://dashboard.example"
        exposed = answers[-1].headers["access-control-expose-headers"]
        assert {"X-Request-ID", "Retry-After", "Location"} <= set(exposed.split(", "))
        other = await client.get("/api/v1/health", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        for wrong in ({"origin": "https://evil.example"}, {"access-control-request-method": "X"}):
            refused = await client.options("/api/v1/tasks", headers=origin | asked | wrong)
            error = error_of(refused, 400, "BAD_REQUEST")
            assert "SUTAZAI_CORS_ORIGINS" in error["message"]
            allowed_origin = refused.headers.get("access-control-allow-origin")
            assert allowed_origin == (None if "origin" in wrong else origin["origin"])


async def test_a_crash_shows_nothing_of_the_inside(server: Server) -> None:
    broken = dataclasses.replace(server.application.services, tasks=cast(Any, "not a service"))
    transport = httpx2.ASGITransport(create_app(broken), raise_app_exceptions=False)
    async with httpx2.AsyncClient(
        transport=transport, base_url=f"{ROOT}/api/v1", headers=server.user.headers
    ) as client:
        for answer in (
            await client.get("/tasks"),
            await client.post("/tasks", json={"type": "ping", "description": "x"}),
        ):
            error = error_of(answer, 500, "INTERNAL_ERROR")
            assert "str" not in error["message"]
            assert "attribute" not in answer.text


async def test_a_request_that_takes_too_long_is_given_up() -> None:
    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    app = Edge(Limits(never, seconds=0.01), instruments=Instruments(version="0"))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=ROOT) as client:
        answer = await client.get("/")
    error_of(answer, 503, "SERVICE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"


async def test_an_answer_under_way_is_not_given_a_second_beginning() -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        await receive()

    sent: list[Message] = []

    async def keep(message: Message) -> None:
        sent.append(message)

    async def silent() -> Message:
        raise TimeoutError

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(TimeoutError):
        await Edge(Limits(half), instruments=Instruments(version="0"))(scope, silent, keep)
    assert [message["type"] for message in sent] == ["http.response.start"]


async def test_the_server_is_well_after_all_this(server: Server) -> None:
    task = await submit(server.user)
    assert (await ended(server.user, task["task_id"]))["status"] == "completed"
