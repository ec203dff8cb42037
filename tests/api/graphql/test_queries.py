"""What the graph shows is what the REST API shows."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from sutazai.database import Connection
from tests.api.graphql.asking import ask, code_of, errors_of, fields_of
from tests.api.server import JSON, Server, ended, new_user, submit

T = TypeVar("T")

TASK = """
  taskId type description status progress priority assignedAgentId attempt maxAttempts
  timeoutSeconds createdAt startedAt submittedBy metadata tags dependsOn runAt pinnedAgentId
  pendingReason completedAt failedAt cancelledAt error { code message }
"""
AGENT = """
  agentId name type status capabilities currentLoad maxCapacity
  health { status lastHeartbeat uptimeSeconds } configuration
  metrics { tasksCompleted averageDuration successRate errorRate cacheHitRate }
  resources { cpuUsage memoryUsage memoryLimit }
"""
OTHER_NAMES = {"assigned_agent": "assignedAgentId", "agent": "pinnedAgentId"}


def camel(name: str) -> str:
    return OTHER_NAMES.get(name) or re.sub(r"_(\w)", lambda found: found[1].upper(), name)


def in_camel_case(shown: JSON) -> JSON:
    """A resource of the REST API with the graph's names; metadata keeps its own."""
    free = {"metadata", "configuration"}
    return {
        camel(name): in_camel_case(value) if isinstance(value, dict) and name not in free else value
        for name, value in shown.items()
    }


def without_nulls(shown: JSON) -> JSON:
    return {name: value for name, value in shown.items() if value is not None}


async def test_the_specifications_own_operations_work(server: Server) -> None:
    made = await ask(
        server.admin,
        'mutation { createTask(type: "ping", description: "Hello") '
        "{ taskId type status description createdAt } }",
    )
    task = made["createTask"]
    assert (task["type"], task["description"]) == ("ping", "Hello")
    # The answer tells how it is by then, which is soon after.
    assert task["status"] in ("queued", "processing", "completed")
    asked = "query($id: String!) { task(taskId: $id) { taskId type description createdAt } }"
    seen = (await ask(server.admin, asked, id=task["taskId"]))["task"]
    assert seen == {name: task[name] for name in ("taskId", "type", "description", "createdAt")}
    agents = (await ask(server.admin, "{ agents { agentId name status capabilities } }"))["agents"]
    assert {"master-coordinator", "code-reviewer-01"} <= {agent["agentId"] for agent in agents}


async def test_a_task_is_shown_as_over_rest(server: Server) -> None:
    first = (await submit(server.user))["task_id"]
    plain = (
        await submit(
            server.user,
            priority=7,
            metadata={"snake_case": 1, "nested": {"a_b": None}},
            tags=["one", "two"],
            depends_on=[first],
            agent="master-coordinator",
            timeout_seconds=2.5,
        )
    )["task_id"]
    failing = (await submit(server.user, "obey", metadata={"do": "fail"}))["task_id"]
    later = (await submit(server.user, run_at="2999-01-01T00:00:00Z"))["task_id"]
    gone = (await submit(server.user, run_at="2999-01-01T00:00:00Z"))["task_id"]
    await server.user.delete(f"/tasks/{gone}")
    for task_id in (plain, failing):
        await ended(server.user, task_id)
    for task_id in (first, plain, failing, later, gone):
        rest = (await server.user.get(f"/tasks/{task_id}")).json()
        query = "query($id: String!) { task(taskId: $id) {" + TASK + "} }"
        graph = (await ask(server.user, query, id=task_id))["task"]
        assert without_nulls(graph) == without_nulls(in_camel_case(rest))


async def test_an_agent_is_shown_as_over_rest(server: Server) -> None:
    query = "query($id: String!) { agent(agentId: $id) {" + AGENT + "} agents {" + AGENT + "} }"
    data = await ask(server.admin, query, id="twin-01")
    rest = in_camel_case((await server.admin.get("/agents/twin-01")).json())
    listed = next(one for one in data["agents"] if one["agentId"] == "twin-01")
    for shown in (data["agent"], listed):
        for moving in ("resources", "health"):
            assert shown[moving].keys() == rest[moving].keys()
        steady = rest.keys() - {"resources", "health"}
        assert {name: shown[name] for name in steady} == {name: rest[name] for name in steady}
    assert await code_of(server.admin, '{ agent(agentId: "nobody") { name } }') == "NOT_FOUND"


async def test_me_is_shown_as_over_rest(server: Server) -> None:
    query = "{ me { userId username roles tier enabled createdAt permissions } }"
    rest = (await server.developer.get("/auth/me")).json()
    assert (await ask(server.developer, query))["me"] == in_camel_case(rest)


async def test_a_result_is_there_once_the_task_has_ended(server: Server) -> None:
    client = await new_user(server, "graph-results", "user")
    waiting = (await submit(client, run_at="2999-01-01T00:00:00Z"))["task_id"]
    done = (await submit(client))["task_id"]
    failed = (await submit(client, "obey", metadata={"do": "fail"}))["task_id"]
    await ended(client, done)
    await ended(client, failed)
    rest = (await client.get(f"/tasks/{done}/result")).json()
    page = (await ask(client, "{ tasks { tasks { taskId result error { code } } } }"))["tasks"]
    found = {task["taskId"]: task for task in page["tasks"]}
    assert found[done]["result"] == rest["result"]
    assert found[waiting]["result"] is None
    assert found[failed]["result"] is None
    assert found[failed]["error"] == {"code": "VALIDATION_ERROR"}


async def test_pages_follow_each_other_by_cursor_without_gap_or_repetition(server: Server) -> None:
    client = await new_user(server, "graph-pages", "user")
    made = [(await submit(client, tags=["paged"]))["task_id"] for _ in range(5)]
    query = """query($cursor: String) {
        tasks(submitter: "me", tag: "paged", limit: 2, cursor: $cursor) {
            tasks { taskId } total totalIsAtLeast nextCursor } }"""
    seen: list[str] = []
    cursor = None
    while True:
        page = (await ask(client, query, cursor=cursor))["tasks"]
        assert (page["total"], page["totalIsAtLeast"]) == (5, False)
        seen += [task["taskId"] for task in page["tasks"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


@pytest.mark.parametrize(
    "narrowed",
    [
        "status: completed",
        'type: "ping"',
        'agent: "master-coordinator"',
        "priority: 9",
        'tag: "a"',
        'submitter: "me"',
        'createdAfter: "2020-01-01T00:00:00Z"',
        'createdBefore: "2020-01-01T00:00:00+02:00"',
    ],
)
async def test_lists_are_narrowed_as_over_rest(server: Server, narrowed: str) -> None:
    client = server.user
    name, _, value = narrowed.partition(": ")
    made = (await submit(client, priority=9, tags=["a"]))["task_id"]
    await ended(client, made)
    graph = await ask(client, f"{{ tasks(limit: 100, {narrowed}) {{ total tasks {{ taskId }} }} }}")
    snake = re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)
    params = {"limit": "100", snake: value.strip('"')}
    rest = (await client.get("/tasks", params=params)).json()
    assert graph["tasks"]["total"] == rest["total"]
    ids = [task["taskId"] for task in graph["tasks"]["tasks"]]
    assert ids == [task["task_id"] for task in rest["tasks"]]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ("limit: 0", "limit"),
        ("limit: 101", "limit"),
        ('cursor: "nonsense"', "cursor"),
        ('createdAfter: "2020-01-01"', "createdAfter"),
        ('createdBefore: "2020-01-01T00:00:00"', "createdBefore"),
        ("priority: 11", "priority"),
        ('type: ""', "type"),
        ('tag: "a\\u0000b"', "tag"),
        ('submitter: "' + "x" * 65 + '"', "submitter"),
    ],
)
async def test_wrong_arguments_are_named(server: Server, arguments: str, field: str) -> None:
    assert await fields_of(server.user, f"{{ tasks({arguments}) {{ total }} }}") == {field}


async def test_wrong_ids_are_named(server: Server) -> None:
    assert await fields_of(server.user, '{ task(taskId: "1") { status } }') == {"taskId"}
    assert await fields_of(server.admin, '{ agent(agentId: "a\\u0000") { name } }') == {"agentId"}
    unknown = '{ task(taskId: "01a20af4-87b8-77fe-ac03-3a69b1fb45d4") { status } }'
    assert await code_of(server.user, unknown) == "NOT_FOUND"


async def test_one_wrong_field_leaves_the_others_standing(server: Server) -> None:
    task_id = (await submit(server.admin))["task_id"]
    query = "query($id: String!) { task(taskId: $id) { taskId assignedAgent { name } } }"
    errors = await errors_of(server.user, query, id=task_id)
    assert errors[0]["path"] == ["task", "assignedAgent"]
    assert errors[0]["extensions"]["code"] == "FORBIDDEN"


@contextlib.contextmanager
def counted_reads(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Every read of the database that the tasks, agents and users are asked for."""
    services = server.application.services
    database: Any = services.tasks._database
    inner = database.read
    reads: list[Any] = []

    async def read(unit: Callable[[Connection], T]) -> T:
        reads.append(unit)
        found: T = await inner(unit)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(database, "read", read)
        yield reads


async def test_however_many_tasks_there_are_each_kind_of_thing_is_read_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await new_user(server, "graph-loaders", "admin")
    for _ in range(8):
        await ended(client, (await submit(client, tags=["loaded"]))["task_id"])
    query = """{ tasks(tag: "loaded") {
        tasks { taskId result assignedAgent { name } submitter { username } } } }"""
    await ask(client, query)
    with counted_reads(server, monkeypatch) as reads:
        found = (await ask(client, query))["tasks"]["tasks"]
    assert len(found) == 8
    for task in found:
        assert task["result"] is not None
        assert task["assignedAgent"] == {"name": "Master Coordinator"}
        assert task["submitter"] == {"username": "graph-loaders"}
    # The page, the results, the agents, the users; the agents' heartbeats may read meanwhile.
    names = [str(unit) for unit in reads]
    assert len(reads) <= 6, names


async def test_tasks_asked_for_one_by_one_are_read_together(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [(await submit(server.user))["task_id"] for _ in range(10)]
    asked = " ".join(f'a{n}: task(taskId: "{one}") {{ taskId }}' for n, one in enumerate(ids))
    await ask(server.user, f"{{ {asked} }}")
    with counted_reads(server, monkeypatch) as reads:
        found = await ask(server.user, f"{{ {asked} }}")
    assert [found[f"a{n}"]["taskId"] for n in range(10)] == ids
    assert sum("find" in str(unit) for unit in reads) == 1
