"""Who may do what: every operation with every role, without a token, and with a bad one."""

import httpx2
import pytest

from tests.api.server import ROLES, Server, client_of, ended, error_of, new_user, submit

ALL = frozenset(ROLES)
WRITERS = frozenset({"admin", "developer"})
ADMINS = frozenset({"admin"})
NOBODYS_TASK = "01a20af4-87b8-77fe-ac03-3a69b1fb45d4"

# What a role that may not do it must not learn either: whether the thing exists.
TABLE = [
    ("GET", "/tasks", ALL),
    ("POST", "/tasks", frozenset({"admin", "developer", "user"})),
    ("GET", f"/tasks/{NOBODYS_TASK}", ALL),
    ("GET", f"/tasks/{NOBODYS_TASK}/result", frozenset({"admin", "user", "viewer"})),
    ("DELETE", f"/tasks/{NOBODYS_TASK}", ALL),
    ("GET", "/agents", WRITERS),
    ("GET", "/agents/nobody", WRITERS),
    ("PATCH", "/agents/nobody/config", WRITERS),
    ("GET", "/users", ADMINS),
    ("POST", "/users", ADMINS),
    ("GET", "/users/nobody", ADMINS),
    ("PATCH", "/users/nobody", ADMINS),
    ("DELETE", "/users/nobody", ADMINS),
    ("GET", "/events", ALL),
    ("GET", "/auth/me", ALL),
    ("GET", "/auth/keys", ALL),
    ("POST", "/auth/keys", ALL),
    ("DELETE", "/auth/keys/nobody", ALL),
]


async def call(client: httpx2.AsyncClient, method: str, path: str) -> httpx2.Response:
    if method in ("POST", "PATCH"):
        return await client.request(method, path, json={"nonsense": True})
    return await client.request(method, path)


@pytest.mark.parametrize("role", ROLES)
async def test_the_specifications_table_holds_for_every_operation(
    server: Server, role: str
) -> None:
    for method, path, allowed in TABLE:
        answer = await call(server.clients[role], method, path)
        if role in allowed:
            assert answer.status_code in (200, 404, 422), (method, path, answer.text)
        else:
            assert role in error_of(answer, 403, "FORBIDDEN")["message"], (method, path)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer nonsense"},
        {"authorization": "Bearer "},
        {"authorization": "Basic YWRtaW46YWRtaW4="},
        {"authorization": "Bearer ÿþ"},
        {"x-api-key": "sk-sutazai-nonsense"},
        {"x-api-key": ""},
    ],
)
async def test_without_a_valid_credential_every_operation_is_closed(
    server: Server, headers: httpx2.Headers
) -> None:
    sent = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    for method, path, _ in TABLE:
        answer = await server.anonymous.request(method, path, headers=sent)
        error_of(answer, 401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_who_asks_is_settled_before_the_body_is_looked_at(server: Server) -> None:
    for path in ("/tasks", "/users", "/auth/keys"):
        for content in (b"{", b"[" * 100_000, b""):
            answer = await server.anonymous.post(
                path, content=content, headers={"content-type": "application/json"}
            )
            error_of(answer, 401, "UNAUTHORIZED")
    error_of(await server.viewer.post("/tasks", json={"nonsense": 1}), 403, "FORBIDDEN")


async def test_the_owner_reads_the_result_whatever_the_role(server: Server) -> None:
    own = await submit(server.developer)
    await ended(server.developer, own["task_id"])
    assert (await server.developer.get(f"/tasks/{own['task_id']}/result")).status_code == 200
    other = await submit(server.user)
    await ended(server.user, other["task_id"])
    forbidden = await server.developer.get(f"/tasks/{other['task_id']}/result")
    error_of(forbidden, 403, "FORBIDDEN")
    assert (await server.viewer.get(f"/tasks/{other['task_id']}/result")).status_code == 200


async def test_an_api_key_has_its_users_rights_either_way_it_is_sent(server: Server) -> None:
    made = await server.user.post("/auth/keys", json={"name": "for the test"})
    assert made.status_code == 201
    secret = made.json()["api_key"]
    with_header = client_of(server.application)
    with_header.headers["x-api-key"] = secret
    for client in (with_header, client_of(server.application, secret)):
        assert (await client.get("/tasks")).status_code == 200
        error_of(await client.get("/agents"), 403, "FORBIDDEN")
        me = (await client.get("/auth/me")).json()
        assert me["username"] == "the-user"
    key_id = made.json()["key_id"]
    assert (await server.user.delete(f"/auth/keys/{key_id}")).status_code == 204
    error_of(await with_header.get("/tasks"), 401, "UNAUTHORIZED")


async def test_rights_are_the_databases_not_the_tokens(server: Server) -> None:
    client = await new_user(server, "rising", "viewer")
    user_id = (await client.get("/auth/me")).json()["user_id"]
    error_of(await client.get("/agents"), 403, "FORBIDDEN")
    await server.admin.patch(f"/users/{user_id}", json={"roles": ["developer"]})
    assert (await client.get("/agents")).status_code == 200
    await server.admin.patch(f"/users/{user_id}", json={"enabled": False})
    error_of(await client.get("/agents"), 401, "UNAUTHORIZED")
