"""Who may do what is what the REST API says, for every operation and role."""

import pytest

from tests.api.graphql.asking import URL, ask, code_of, post
from tests.api.server import ROLES, Server, ended, error_of, new_user, submit
from tests.api.test_access import NOBODYS_TASK

PAIRS = [
    ("GET", "/tasks", "{ tasks { total } }"),
    ("POST", "/tasks", 'mutation { createTask(type: "ping", description: "x") { taskId } }'),
    ("GET", f"/tasks/{NOBODYS_TASK}", f'{{ task(taskId: "{NOBODYS_TASK}") {{ status }} }}'),
    (
        "DELETE",
        f"/tasks/{NOBODYS_TASK}",
        f'mutation {{ cancelTask(taskId: "{NOBODYS_TASK}") {{ status }} }}',
    ),
    ("GET", "/agents", "{ agents { name } }"),
    ("GET", "/agents/nobody", '{ agent(agentId: "nobody") { name } }'),
    ("GET", "/auth/me", "{ me { userId } }"),
    ("GET", "/tasks?submitter=user-1", '{ tasks(submitter: "user-1") { total } }'),
]


@pytest.mark.parametrize("role", ROLES)
async def test_every_role_may_do_what_it_may_over_rest(server: Server, role: str) -> None:
    client = server.clients[role]
    for method, path, query in PAIRS:
        sent = {"type": "ping", "description": "x"} if method == "POST" else None
        rest = await client.request(method, path, json=sent)
        graph = (await post(client, query)).json()
        if rest.status_code < 300:
            assert "errors" not in graph, (query, graph)
        else:
            code = rest.json()["error"]["code"]
            assert [one["extensions"]["code"] for one in graph["errors"]] == [code], query
            assert graph["errors"][0]["message"] == rest.json()["error"]["message"]


@pytest.mark.parametrize("role", ROLES)
async def test_with_somebody_elses_task_each_role_does_what_it_may_over_rest(
    server: Server, role: str
) -> None:
    owner = await new_user(server, f"graph-not-{role}", "user")
    done = (await submit(owner))["task_id"]
    waiting = (await submit(owner, run_at="2999-01-01T00:00:00Z"))["task_id"]
    await ended(owner, done)
    client = server.clients[role]
    shown = "query($id: String!) { task(taskId: $id) { %s } }"
    assert (await ask(client, shown % "status", id=done))["task"] == {"status": "completed"}
    result = await client.get(f"/tasks/{done}/result")
    agent = await client.get("/agents/master-coordinator")
    user = await client.get("/users")
    for rest, field in (
        (result, "result"),
        (agent, "assignedAgent { name }"),
        (user, "submitter { username }"),
    ):
        if rest.status_code == 200:
            assert await ask(client, shown % field, id=done)
        else:
            assert await code_of(client, shown % field, id=done) == "FORBIDDEN"
    cancel = "mutation($id: String!) { cancelTask(taskId: $id) { status } }"
    if role in ("admin", "developer"):
        assert await ask(client, cancel, id=waiting)
    else:
        assert await code_of(client, cancel, id=waiting) == "FORBIDDEN"


@pytest.mark.parametrize("role", ROLES)
async def test_ones_own_tasks_are_in_reach_whatever_the_role(server: Server, role: str) -> None:
    owner = await new_user(server, f"graph-then-{role}", "user")
    task_id = (await submit(owner))["task_id"]
    await ended(owner, task_id)
    user_id = (await owner.get("/auth/me")).json()["user_id"]
    await server.admin.patch(f"/users/{user_id}", json={"roles": [role]})
    query = "query($id: String!) { task(taskId: $id) { result submitter { username } } }"
    task = (await ask(owner, query, id=task_id))["task"]
    assert task["result"] is not None
    assert task["submitter"] == {"username": f"graph-then-{role}"}
    mine = await ask(owner, '{ tasks(submitter: "me") { tasks { taskId } } }')
    assert mine["tasks"]["tasks"] == [{"taskId": task_id}]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer nonsense"},
        {"authorization": "Basic YWRtaW46YWRtaW4="},
        {"x-api-key": ""},
    ],
)
async def test_without_a_valid_credential_nothing_is_answered(
    server: Server, headers: dict[str, str]
) -> None:
    for content in (b'{"query": "{ __typename }"}', b"{", b""):
        answer = await server.anonymous.post(
            URL, content=content, headers={**headers, "content-type": "application/json"}
        )
        error_of(answer, 401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_an_api_key_opens_it_too(server: Server) -> None:
    made = (await server.user.post("/auth/keys", json={"name": "graph"})).json()
    answer = await post(
        server.anonymous, "{ me { username } }", headers={"x-api-key": made["api_key"]}
    )
    assert answer.json() == {"data": {"me": {"username": "the-user"}}}
