"""Who may do what: every operation with every role, without a token, and with a bad one."""

import re

import httpx2
import pytest

from tests.api.server import ROLES, Server, client_of, ended, error_of, new_user, submit
from tests.api.test_openapi import METHODS, document

ALL = frozenset(ROLES)
WRITERS = frozenset({"admin", "developer"})
ADMINS = frozenset({"admin"})
READERS = frozenset({"admin", "user", "viewer"})
"""Whoever may read results."""
NOBODYS_TASK = "01a20af4-87b8-77fe-ac03-3a69b1fb45d4"

# What a role that may not do it must not learn either: whether the thing exists.
TABLE = [
    ("GET", "/tasks", ALL),
    ("POST", "/tasks", frozenset({"admin", "developer", "user"})),
    ("GET", f"/tasks/{NOBODYS_TASK}", ALL),
    ("GET", f"/tasks/{NOBODYS_TASK}/result", READERS),
    ("DELETE", f"/tasks/{NOBODYS_TASK}", ALL),
    ("GET", "/agents", WRITERS),
    ("GET", "/agents/nobody", WRITERS),
    ("PATCH", "/agents/nobody/config", WRITERS),
    ("GET", "/agents/nobody/config/history", WRITERS),
    ("POST", "/agents/nobody/config/rollback", WRITERS),
    ("POST", "/agents", WRITERS),
    ("PUT", "/agents/nobody", WRITERS),
    ("DELETE", "/agents/nobody", WRITERS),
    ("POST", "/agents/nobody/key", WRITERS),
    ("POST", "/agents/nobody/heartbeat", WRITERS),
    ("POST", "/agents/nobody/claim", WRITERS),
    ("POST", "/assignments/nobody/progress", WRITERS),
    ("POST", "/assignments/nobody/complete", WRITERS),
    ("POST", "/assignments/nobody/fail", WRITERS),
    ("POST", "/assignments/nobody/release", WRITERS),
    ("GET", "/users", ADMINS),
    ("POST", "/users", ADMINS),
    ("GET", "/users/nobody", ADMINS),
    ("PATCH", "/users/nobody", ADMINS),
    ("DELETE", "/users/nobody", ADMINS),
    ("GET", "/events", ALL),
    ("GET", "/events/stream?last_event_id=nonsense", ALL),
    ("POST", "/events/tickets", ALL),
    ("POST", "/callbacks/secret", ALL),
    ("GET", "/callbacks/deliveries", ALL),
    ("POST", "/callbacks/deliveries/nobody/replay", ALL),
    ("GET", "/metrics", frozenset({"admin", "viewer"})),
    ("GET", "/auth/me", ALL),
    ("GET", "/auth/keys", ALL),
    ("POST", "/auth/keys", ALL),
    ("DELETE", "/auth/keys/nobody", ALL),
    ("POST", "/workflows", WRITERS),
    ("GET", "/workflows", WRITERS),
    ("GET", "/workflows/wf-nobody", WRITERS),
    ("PUT", "/workflows/wf-nobody", WRITERS),
    ("DELETE", "/workflows/wf-nobody", WRITERS),
    ("POST", "/workflows/wf-nobody/execute", WRITERS),
    ("POST", "/workflows/wf-nobody/plan", WRITERS),
    ("GET", "/workflows/wf-nobody/executions", WRITERS),
    ("GET", "/executions/exec-nobody", WRITERS),
    ("DELETE", "/executions/exec-nobody", WRITERS),
    ("POST", "/executions/exec-nobody/retry", WRITERS),
    ("POST", "/executions/exec-nobody/pause", WRITERS),
    ("POST", "/executions/exec-nobody/resume", WRITERS),
    ("POST", "/executions/exec-nobody/steps/a/approve", WRITERS),
    ("POST", "/events", WRITERS),
    ("GET", f"/tasks/{NOBODYS_TASK}/findings", READERS),
    # Whose task it is decides, so what is wrong with the request is told first.
    ("POST", f"/tasks/{NOBODYS_TASK}/findings/{'0' * 32}/dismiss", ALL),
    ("DELETE", f"/tasks/{NOBODYS_TASK}/findings/{'0' * 32}/dismiss", READERS),
    ("GET", "/schedules", ALL),
    ("POST", "/schedules", frozenset({"admin", "developer", "user"})),
    ("GET", "/schedules/sch-nobody", ALL),
    ("GET", "/schedules/sch-nobody/history", ALL),
    ("PATCH", "/schedules/sch-nobody", ALL),
    ("DELETE", "/schedules/sch-nobody", ALL),
]


async def call(client: httpx2.AsyncClient, method: str, path: str) -> httpx2.Response:
    if method in ("POST", "PATCH"):
        return await client.request(method, path, json={"nonsense": True})
    return await client.request(method, path)


def test_the_table_has_every_operation_that_needs_a_token() -> None:
    missing = {
        (method.upper(), path)
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
        if method in METHODS and "security" in operation
    }
    for method, example, _ in TABLE:
        missing -= {
            (verb, path)
            for verb, path in missing
            if verb == method
            and re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), example.partition("?")[0])
        }
    # Everybody may log out; it would end the sessions that the tests share.
    assert missing == {("POST", "/auth/logout")}


@pytest.mark.parametrize("role", ROLES)
async def test_the_specifications_table_holds_for_every_operation(
    server: Server, role: str
) -> None:
    for method, path, allowed in TABLE:
        answer = await call(server.clients[role], method, path)
        if role in allowed:
            assert answer.status_code in (200, 201, 404, 422), (method, path, answer.text)
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
    server: Server, headers: dict[str, str]
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


@pytest.mark.parametrize("role", ROLES)
async def test_whoever_submitted_a_task_reads_and_cancels_it_whatever_the_role(
    server: Server, role: str
) -> None:
    owner = await new_user(server, f"owner-then-{role}", "user")
    done = (await submit(owner))["task_id"]
    waiting = (await submit(owner, run_at="2999-01-01T00:00:00Z"))["task_id"]
    await ended(owner, done)
    user_id = (await owner.get("/auth/me")).json()["user_id"]
    changed = await server.admin.patch(f"/users/{user_id}", json={"roles": [role]})
    assert changed.json()["roles"] == [role]
    assert (await owner.get(f"/tasks/{done}")).status_code == 200
    assert (await owner.get(f"/tasks/{done}/result")).status_code == 200
    mine = (await owner.get("/tasks", params={"submitter": "me"})).json()
    assert [task["task_id"] for task in mine["tasks"]] == [waiting, done]
    assert (await owner.delete(f"/tasks/{waiting}")).status_code == 200
    # Other tests count on there being one administrator.
    assert (await server.admin.delete(f"/users/{user_id}")).status_code == 204


@pytest.mark.parametrize(
    ("role", "reads_results", "cancels"),
    [
        ("admin", True, True),
        ("developer", False, True),
        ("user", True, False),
        ("viewer", True, False),
    ],
)
async def test_with_somebody_elses_task_each_role_does_what_the_table_says(
    server: Server, role: str, reads_results: bool, cancels: bool
) -> None:
    owner = await new_user(server, f"owner-not-{role}", "user")
    done = (await submit(owner))["task_id"]
    waiting = (await submit(owner, run_at="2999-01-01T00:00:00Z"))["task_id"]
    await ended(owner, done)
    other = server.clients[role]
    assert (await other.get(f"/tasks/{done}")).status_code == 200
    result = await other.get(f"/tasks/{done}/result")
    if reads_results:
        assert result.status_code == 200
    else:
        error_of(result, 403, "FORBIDDEN")
    cancelled = await other.delete(f"/tasks/{waiting}")
    if cancels:
        assert cancelled.status_code == 200
    else:
        error_of(cancelled, 403, "FORBIDDEN")
        assert (await owner.get(f"/tasks/{waiting}")).json()["status"] == "pending"


async def test_keys_of_others_are_out_of_reach_but_for_an_admin(server: Server) -> None:
    made = (await server.user.post("/auth/keys", json={"name": "of the user"})).json()
    path = f"/auth/keys/{made['key_id']}"
    for role in ("developer", "viewer"):
        client = server.clients[role]
        error_of(await client.delete(path), 404, "NOT_FOUND")
        listed = (await client.get("/auth/keys")).json()["keys"]
        assert made["key_id"] not in [key["key_id"] for key in listed]
    own = (await server.user.get("/auth/keys")).json()["keys"]
    assert made["key_id"] in [key["key_id"] for key in own]
    assert made["api_key"] not in str(own)
    assert (await server.admin.delete(path)).status_code == 204
    gone = client_of(server.application, made["api_key"])
    error_of(await gone.get("/tasks"), 401, "UNAUTHORIZED")


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
