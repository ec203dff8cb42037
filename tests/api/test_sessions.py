"""Logging in and out through HTTP; what can go wrong inside is tested with the identity feature."""

import base64
import json

from tests.api.server import (
    ADMIN_PASSWORD,
    PASSWORD,
    Server,
    client_of,
    error_of,
    log_in,
    new_user,
    wrong_fields,
)


def claims_of(token: str) -> dict[str, object]:
    payload = token.split(".")[1]
    decoded: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return decoded


async def test_logging_in_answers_as_the_specification_says(server: Server) -> None:
    body = {"username": "admin", "password": ADMIN_PASSWORD}
    answer = await server.anonymous.post("/auth/login", json=body)
    assert answer.status_code == 200
    pair = answer.json()
    assert pair.keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (pair["token_type"], pair["expires_in"]) == ("bearer", 3600)
    claims = claims_of(pair["access_token"])
    assert claims.keys() >= {"sub", "username", "roles", "permissions", "iat", "exp", "iss"}
    assert (claims["username"], claims["iss"]) == ("admin", "sutazai")
    assert answer.headers["cache-control"] == "no-store"


async def test_a_wrong_password_and_an_unknown_user_look_the_same(server: Server) -> None:
    messages = set()
    for username in ("admin", "nobody-at-all"):
        body = {"username": username, "password": "wrong password"}
        answer = await server.anonymous.post("/auth/login", json=body)
        messages.add(error_of(answer, 401, "UNAUTHORIZED")["message"])
    assert len(messages) == 1


async def test_a_refresh_token_works_once_and_its_second_use_ends_the_session(
    server: Server,
) -> None:
    client = await new_user(server, "refreshing", "user")
    body = {"username": "refreshing", "password": PASSWORD}
    first = (await client.post("/auth/login", json=body)).json()
    spent = {"refresh_token": first["refresh_token"]}
    second = await server.anonymous.post("/auth/refresh", json=spent)
    assert second.status_code == 200
    newer = client_of(server.application, second.json()["access_token"])
    assert (await newer.get("/auth/me")).status_code == 200
    error_of(await server.anonymous.post("/auth/refresh", json=spent), 401, "UNAUTHORIZED")
    error_of(await newer.get("/auth/me"), 401, "UNAUTHORIZED")


async def test_a_refresh_token_is_no_access_token_nor_the_other_way_round(
    server: Server,
) -> None:
    body = {"username": "the-user", "password": PASSWORD}
    pair = (await server.anonymous.post("/auth/login", json=body)).json()
    refreshing = client_of(server.application, pair["refresh_token"])
    error_of(await refreshing.get("/auth/me"), 401, "UNAUTHORIZED")
    wrong = {"refresh_token": pair["access_token"]}
    error_of(await server.anonymous.post("/auth/refresh", json=wrong), 401, "UNAUTHORIZED")


async def test_logging_out_ends_the_session(server: Server) -> None:
    token = await log_in(server.anonymous, "the-user", PASSWORD)
    client = client_of(server.application, token)
    answer = await client.post("/auth/logout")
    assert (answer.status_code, answer.content) == (204, b"")
    error_of(await client.get("/auth/me"), 401, "UNAUTHORIZED")
    assert (await server.user.get("/auth/me")).status_code == 200


async def test_me_tells_what_one_may_do(server: Server) -> None:
    me = (await server.developer.get("/auth/me")).json()
    assert me.keys() == {
        "user_id",
        "username",
        "roles",
        "tier",
        "enabled",
        "created_at",
        "permissions",
    }
    assert (me["username"], me["roles"], me["tier"]) == ("the-developer", ["developer"], "free")
    assert me["permissions"] == ["read", "write", "execute"]
    assert (await server.admin.get("/auth/me")).json()["permissions"] == ["*"]


async def test_users_are_made_changed_listed_and_deleted(server: Server) -> None:
    body = {"username": "short-lived", "password": PASSWORD, "roles": ["viewer"], "tier": "premium"}
    made = await server.admin.post("/users", json=body)
    assert made.status_code == 201
    user = made.json()
    assert PASSWORD not in made.text
    path = f"/users/{user['user_id']}"
    assert made.headers["location"] == f"/api/v1{path}"
    assert (await server.admin.get(path)).json() == user
    changed = await server.admin.patch(path, json={"tier": "standard"})
    assert changed.json() == user | {"tier": "standard"}
    page = (await server.admin.get("/users", params={"limit": 100})).json()
    assert user["user_id"] in [one["user_id"] for one in page["users"]]
    assert page["total"] == len(page["users"])
    again = {"username": "Short-Lived", "password": PASSWORD}
    error_of(await server.admin.post("/users", json=again), 409, "CONFLICT")
    assert (await server.admin.delete(path)).status_code == 204
    error_of(await server.admin.get(path), 404, "NOT_FOUND")


async def test_a_users_wrong_fields_are_each_named(server: Server) -> None:
    body = {"username": "a", "password": "short", "roles": ["king"], "tier": "gold", "x": 1}
    wrong = wrong_fields(await server.admin.post("/users", json=body))
    assert set(wrong) == {"username", "password", "roles.0", "tier", "x"}
    assert "viewer" in wrong["roles.0"]
    assert "short" not in wrong["password"].replace("shorter", "")


async def test_the_last_administrator_stays(fresh_server: Server) -> None:
    server = fresh_server  # others may have made administrators of their own
    me = (await server.admin.get("/auth/me")).json()
    path = f"/users/{me['user_id']}"
    error_of(await server.admin.delete(path), 409, "CONFLICT")
    error_of(await server.admin.patch(path, json={"enabled": False}), 409, "CONFLICT")
    error_of(await server.admin.patch(path, json={"roles": ["user"]}), 409, "CONFLICT")
