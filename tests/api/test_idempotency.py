import asyncio
import uuid

import pytest

from tests.api.server import PASSWORD, Server, client_of, error_of, new_user, wrong_fields

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


async def test_what_one_user_was_answered_is_never_shown_to_another(server: Server) -> None:
    headers = {"idempotency-key": new_key()}
    body = {"name": "of the one"}
    mine = await server.user.post("/auth/keys", json=body, headers=headers)
    theirs = await server.viewer.post("/auth/keys", json=body, headers=headers)
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["api_key"] != theirs.json()["api_key"]
    assert mine.json()["user_id"] != theirs.json()["user_id"]
    nobody = await server.anonymous.post("/auth/keys", json=body, headers=headers)
    error_of(nobody, 401, "UNAUTHORIZED")


async def test_who_may_no_longer_do_it_gets_no_replay(server: Server) -> None:
    client = await new_user(server, "falling", "user")
    user_id = (await client.get("/auth/me")).json()["user_id"]
    headers = {"idempotency-key": new_key()}
    assert (await client.post("/tasks", json=PING, headers=headers)).status_code == 201
    await server.admin.patch(f"/users/{user_id}", json={"roles": ["viewer"]})
    error_of(await client.post("/tasks", json=PING, headers=headers), 403, "FORBIDDEN")


async def test_a_user_is_made_once_and_the_second_answer_is_the_first(server: Server) -> None:
    headers = {"idempotency-key": new_key()}
    body = {"username": "made-once", "password": PASSWORD}
    first = await server.admin.post("/users", json=body, headers=headers)
    again = await server.admin.post("/users", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"]
    other = await server.admin.post("/users", json=body | {"tier": "premium"}, headers=headers)
    assert "Idempotency-Key" in wrong_fields(other)
    assert body["password"] not in other.text


async def test_a_refresh_that_was_answered_into_the_void_is_answered_again(
    server: Server,
) -> None:
    body = {"username": "the-user", "password": PASSWORD}
    pair = (await server.anonymous.post("/auth/login", json=body)).json()
    spent = {"refresh_token": pair["refresh_token"]}
    headers = {"idempotency-key": new_key()}
    first = await server.anonymous.post("/auth/refresh", json=spent, headers=headers)
    again = await server.anonymous.post("/auth/refresh", json=spent, headers=headers)
    assert first.json() == again.json()
    good = client_of(server.application, first.json()["access_token"])
    assert (await good.get("/auth/me")).status_code == 200
    # Without the key, or under another, it is a reuse.
    other = {"idempotency-key": new_key()}
    stolen = await server.anonymous.post("/auth/refresh", json=spent, headers=other)
    error_of(stolen, 401, "UNAUTHORIZED")
    error_of(await good.get("/auth/me"), 401, "UNAUTHORIZED")


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
