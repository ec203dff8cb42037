"""Input that is meant to hurt: each gets a clear error, and the server goes on."""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.api.server import Server, ended, error_of, submit, wrong_fields

MIB = 1024 * 1024


async def post(server: Server, content: Any, content_type: str | None = None) -> httpx2.Response:
    headers = {"content-type": content_type or "application/json"}
    return await server.user.post("/tasks", content=content, headers=headers)


def with_metadata(metadata: bytes) -> bytes:
    return b'{"type":"ping","description":"x","metadata":' + metadata + b"}"


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"}",
        b"nonsense",
        b"{'type': 'ping'}",
        b'{"type":"ping",}',
        b'{"type":"ping"} trailing',
        b"\xff\xfe",
        b'{"type":"\xff"}',
        b'\xef\xbb\xbf{"type":"ping"}',
        '{"type":"ping"}'.encode("utf-16"),
        with_metadata(b'{"a":"\\ud800"}'),
        with_metadata(b'{"\\udc00\\ud800":1}'),
        with_metadata(b'{"a":"\xed\xa0\x80"}'),
        with_metadata(b'{"a":NaN}'),
        with_metadata(b'{"a":Infinity}'),
        with_metadata(b'{"a":-Infinity}'),
        with_metadata(b'{"a":1e999}'),
        with_metadata(b'{"a":-1e999}'),
        with_metadata(b'{"a":' + b"9" * 5000 + b"}"),
        with_metadata(b'{"a":01}'),
        with_metadata(b'{"a":"raw\x00nul"}'),
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        with_metadata(b'{"a":' * 300 + b"1" + b"}" * 300),
    ],
    ids=lambda content: f"{content[:12]!r} {content[42:60]!r} {content[-12:]!r}",
)
async def test_what_is_not_json_is_a_bad_request(server: Server, content: bytes) -> None:
    error = error_of(await post(server, content), 400, "BAD_REQUEST")
    assert error["message"].startswith("The body is not valid JSON: ")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/auth/login"),
        ("POST", "/auth/refresh"),
        ("POST", "/auth/keys"),
        ("POST", "/users"),
        ("PATCH", "/users/nobody"),
        ("PATCH", "/agents/nobody/config"),
    ],
)
async def test_every_body_is_read_as_strictly(server: Server, method: str, path: str) -> None:
    for content in (
        b"{",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b'{"temperature":NaN}',
        b'{"temperature":1e999}',
        b'{"password":"\\ud800"}',
        b'{"name":"\xff"}',
    ):
        headers = {"content-type": "application/json"}
        answer = await server.admin.request(method, path, content=content, headers=headers)
        error_of(answer, 400, "BAD_REQUEST")
    answer = await server.admin.request(method, path, content=b"{}", headers={"content-type": "x"})
    error_of(answer, 415, "BAD_REQUEST")
    bodies: list[Any] = [[], "text", 5, None, {"unknown": 1}, {"password": [1]}, {"name": 10**400}]
    for wrong in bodies:
        answer = await server.admin.request(method, path, json=wrong)
        assert answer.status_code in (404, 422), (wrong, answer.text)


@pytest.mark.parametrize(
    "metadata",
    [
        {"integers": 2**63, "b": -(2**64), "c": 10**400, "d": 9007199254740993},
        {"floats": 1.7976931348623157e308, "b": 5e-324, "c": -0.0},
        {"nul": "a\0b", "\0": 1},
        {"planes": "é ß ñ 漢字 🎉 𝄞 \U0010ffff \ufffe \u202e \u200b e\u0301", "🎉": "key"},
        {"sql": "'; DROP TABLE tasks; --", "like": "%_\\", "$1": ":name", "?": "%(x)s"},
        {"html": "<script>alert(1)</script>", "template": "{{7*7}} ${x} {0}"},
        {"empty": {"list": [], "object": {}, "text": "", "": None}},
        {str(n): n for n in range(2000)},
        {"nested": json.loads("[" * 150 + "]" * 150)},
    ],
    ids=lambda metadata: next(iter(metadata)),
)
async def test_what_is_json_comes_back_as_it_was(server: Server, metadata: dict[str, Any]) -> None:
    task = await submit(server.user, metadata=metadata)
    seen = await ended(server.user, task["task_id"])
    assert seen["metadata"] == metadata
    answer = await server.user.get(f"/tasks/{task['task_id']}/result")
    assert answer.json()["result"] == metadata
    page = (await server.user.get("/tasks", params={"limit": 1})).json()
    assert page["tasks"][0]["metadata"] == metadata


async def test_text_of_every_plane_comes_back_as_it_was(server: Server) -> None:
    text = "".join(chr(plane * 0x10000 + 0x61) for plane in range(17)) + "'\"\\%_;--\u202e\r\n\t"
    task = await submit(server.user, description=text, tags=["🎉", "'; --", "a b"])
    seen = await ended(server.user, task["task_id"])
    assert (seen["description"], seen["tags"]) == (text, ["🎉", "'; --", "a b"])
    found = (await server.user.get("/tasks", params={"tag": "'; --", "limit": 1})).json()
    assert found["tasks"][0]["task_id"] == task["task_id"]


@pytest.mark.parametrize("field", ["type", "description", "agent", "tags"])
async def test_nul_characters_are_refused_where_text_is_stored(server: Server, field: str) -> None:
    value: Any = ["a\0b"] if field == "tags" else "a\0b"
    body = {"type": "ping", "description": "x"} | {field: value}
    wrong = wrong_fields(await server.user.post("/tasks", json=body))
    assert list(wrong) == ["tags.0" if field == "tags" else field]


async def test_of_a_key_that_comes_twice_the_last_counts(server: Server) -> None:
    answer = await post(server, b'{"type":"nonsense","type":"ping","description":"x"}')
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "json",
        ";",
    ],
)
async def test_what_does_not_claim_to_be_json_is_refused_clearly(
    server: Server, content_type: str
) -> None:
    answer = await post(server, b'{"type":"ping","description":"x"}', content_type)
    assert "application/json" in error_of(answer, 415, "BAD_REQUEST")["message"]


@pytest.mark.parametrize("path", ["/tasks", "/auth/login", "/auth/keys"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "\xff"])
async def test_a_compressed_body_is_refused_without_unpacking_it(
    server: Server, path: str, encoding: str
) -> None:
    bomb = gzip.compress(b" " * (50 * MIB))
    headers = {b"content-type": b"application/json", b"content-encoding": encoding.encode("latin1")}
    answer = await server.user.post(path, content=bomb, headers=headers)
    assert "not compressed" in error_of(answer, 415, "BAD_REQUEST")["message"]
    assert answer.headers["accept-encoding"] == "identity"


async def test_gzip_that_does_not_say_so_is_not_json(server: Server) -> None:
    content = gzip.compress(b'{"type":"ping","description":"x"}')
    error_of(await post(server, content), 400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"]
)
async def test_json_may_be_declared_in_other_words(server: Server, content_type: str) -> None:
    answer = await post(server, b'{"type":"ping","description":"x"}', content_type)
    assert answer.status_code == 201


async def test_a_body_that_declares_nothing_is_taken_as_json(server: Server) -> None:
    content = b'{"type":"ping","description":"x"}'
    assert (await server.user.post("/tasks", content=content)).status_code == 201
    content = b'{"name":"undeclared"}'
    assert (await server.user.post("/auth/keys", content=content)).status_code == 201


async def in_chunks(total: int) -> AsyncIterator[bytes]:
    for _ in range(total // MIB):
        yield b" " * MIB


@pytest.mark.parametrize("path", ["/tasks", "/auth/login", "/auth/keys"])
async def test_a_body_over_10_mib_is_refused_with_and_without_its_length(
    server: Server, path: str
) -> None:
    headers = {"content-type": "application/json"}
    for content in (b" " * (11 * MIB), in_chunks(11 * MIB)):
        answer = await server.user.post(path, content=content, headers=headers)
        assert "10 MiB" in error_of(answer, 413, "BAD_REQUEST")["message"]


async def test_a_body_just_under_10_mib_is_taken(server: Server) -> None:
    text = "é" * ((10 * MIB - 200) // 2)
    body = {"type": "ping", "description": "x", "metadata": {"text": text}}
    content = json.dumps(body, ensure_ascii=False).encode()
    assert 10 * MIB - 300 < len(content) <= 10 * MIB
    answer = await post(server, content)
    assert answer.status_code == 201
    task_id = answer.json()["task_id"]
    assert (await ended(server.user, task_id))["metadata"] == {"text": text}


async def test_a_very_long_query_is_refused_not_crashed_on(server: Server) -> None:
    answer = await server.user.get("/tasks", params={"tag": "x" * 60_000})
    assert list(wrong_fields(answer)) == ["tag"]
    answer = await server.user.get("/tasks", params={"unknown": "x" * 60_000})
    assert answer.status_code == 200


async def test_the_server_is_well_after_all_this(server: Server) -> None:
    health = (await server.anonymous.get("/health")).json()
    assert health["status"] == "healthy", health
    task = await submit(server.user)
    assert (await ended(server.user, task["task_id"]))["status"] == "completed"
