import asyncio
import uuid

import pytest

from tests.api.server import PASSWORD, Server, error_of, wrong_fields

PING = {"type": "ping", "description": "once"}


def new_key() -> str:
    return str(uuid.uuid4())


async def test_the_same_key_and_body_bring_the_same_answer(server: Server) -> None:
    headers = {"idempotency-key": new_key()}
    first = await server.user.post("/tasks", json=PING, headers=headers)
    again = await server.user.post("/tasks", json=PING, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


async def test_the_key_may_be_quoted_as_the_draft_says(server: Server) -> None:
    key = new_key()
    bare = await server.user.post("/tasks", json=PING, headers={"idempotency-key": key})
    quoted = await server.user.post("/tasks", json=PING, headers={"idempotency-key": f'"{key}"'})
    assert quoted.json() == bare.json()


async def test_another_body_under_the_key_is_refused(server: Server) -> None:
    headers = {"idempotency-key": new_key()}
    await server.user.post("/tasks", json=PING, headers=headers)
    other = await server.user.post("/tasks", json=PING | {"priority": 6}, headers=headers)
    assert "Idempotency-Key" in wrong_fields(other)


async def test_a_key_belongs_to_its_user_and_its_operation(server: Server) -> None:
    headers = {"idempotency-key": new_key()}
    answers = [
        await server.user.post("/tasks", json=PING, headers=headers),
        await server.developer.post("/tasks", json=PING, headers=headers),
    ]
    assert len({answer.json()["task_id"] for answer in answers}) == 2
    made = await server.user.post("/auth/keys", json={"name": "other"}, headers=headers)
    assert made.status_code == 201


async def test_what_was_refused_is_not_kept(server: Server) -> None:
    headers = {"idempotency-key": new_key()}
    wrong = await server.user.post("/tasks", json=PING | {"type": "nonsense"}, headers=headers)
    error_of(wrong, 422, "VALIDATION_ERROR")
    assert (await server.user.post("/tasks", json=PING, headers=headers)).status_code == 201


async def test_many_at_once_make_one_task(server: Server) -> None:
    headers = {"idempotency-key": new_key()}
    answers = await asyncio.gather(
        *(server.user.post("/tasks", json=PING, headers=headers) for _ in range(10))
    )
    made = {answer.json()["task_id"] for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    for answer in answers:
        if answer.status_code != 201:
            error_of(answer, 409, "CONFLICT")
            assert answer.headers["retry-after"]


@pytest.mark.parametrize("key", [b"", b"two words", b'"open', b"x" * 256, b"\xff", b'""', b"a\tb"])
async def test_a_malformed_key_is_refused(server: Server, key: bytes) -> None:
    answer = await server.user.post("/tasks", json=PING, headers={b"idempotency-key": key})
    assert list(wrong_fields(answer)) == ["Idempotency-Key"]


async def test_secrets_are_replayed_too(server: Server) -> None:
    headers = {"idempotency-key": new_key()}
    body = {"name": "the same"}
    first = await server.user.post("/auth/keys", json=body, headers=headers)
    again = await server.user.post("/auth/keys", json=body, headers=headers)
    assert first.json()["api_key"] == again.json()["api_key"]
    headers = {"idempotency-key": new_key()}
    body = {"username": "the-user", "password": PASSWORD}
    first = await server.anonymous.post("/auth/login", json=body, headers=headers)
    again = await server.anonymous.post("/auth/login", json=body, headers=headers)
    assert first.json() == again.json()
    wrong = body | {"password": "not the password"}
    refused = await server.anonymous.post("/auth/login", json=wrong, headers=headers)
    error_of(refused, 401, "UNAUTHORIZED")
