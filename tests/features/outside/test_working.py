"""One assignment, from the claim to its end, over HTTP."""

import asyncio

import httpx2
import pytest

from tests.api.server import (
    JSON,
    PATIENCE,
    Server,
    client_of,
    ended,
    error_of,
    reached,
    submit,
    wrong_fields,
)
from tests.features.outside.joining import Joined, events_about, given, introduction, join


async def seen_online(server: Server, agent: Joined) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            shown = (await server.admin.get(f"/agents/{agent.agent_id}")).json()
            if shown["status"] != "offline":
                return
            await asyncio.sleep(0.01)  # asks again; nothing announces this to a client


async def result_of(server: Server, task_id: str) -> object:
    answer = await server.admin.get(f"/tasks/{task_id}/result")
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


async def test_an_assignment_is_handed_out_reported_on_and_completed(server: Server) -> None:
    agent = await join(server, "worker-01")
    task, assignment = await given(
        server, agent, description="count", metadata={"words": ["a", "b"]}
    )
    assert assignment.keys() == {
        "assignment_id",
        "task_id",
        "type",
        "description",
        "metadata",
        "attempt",
        "configuration",
        "lease_expires_at",
        "traceparent",
    }
    assert assignment["task_id"] == task["task_id"]
    assert (assignment["type"], assignment["description"]) == (agent.type, "count")
    assert (assignment["metadata"], assignment["attempt"]) == ({"words": ["a", "b"]}, 1)
    running = (await server.admin.get(f"/tasks/{task['task_id']}")).json()
    assert (running["status"], running["assigned_agent"]) == ("processing", "worker-01")

    said = await agent.report(assignment, "progress", progress=40, lines_processed=7)
    assert said.json().keys() == {"assignment_id", "lease_expires_at"}
    await agent.report(assignment, "progress", progress=60, issues_found=1)
    running = (await server.admin.get(f"/tasks/{task['task_id']}")).json()
    assert running["progress"] == 60
    counted = {"words": ["a", "b"], "lines_processed": 7, "issues_found": 1}
    assert running["metadata"] == counted

    done = await agent.report(assignment, "complete", result={"count": 2})
    assert done.json() == {"assignment_id": assignment["assignment_id"], "status": "completed"}
    over = await ended(server.admin, task["task_id"])
    assert (over["status"], over["progress"]) == ("completed", 100)
    assert await result_of(server, task["task_id"]) == {"count": 2}
    told = await events_about(server, task_id=task["task_id"])
    # Whether it was queued first depends on who was faster to see the agent come online.
    assert [one for one in told if one != "task.queued"] == [
        "task.created",
        "task.assigned",
        "task.started",
        "task.progress",
        "task.progress",
        "task.completed",
    ]


async def test_a_claim_waits_for_work(server: Server) -> None:
    agent = await join(server, "waiting-01")
    waiting = asyncio.create_task(agent.claim(wait=20))
    await seen_online(server, agent)
    task = await submit(server.admin, agent.type)
    (assignment,) = await waiting
    assert assignment["task_id"] == task["task_id"]


async def test_a_claim_with_nothing_to_do_answers_with_nothing(server: Server) -> None:
    agent = await join(server, "idle-01")
    assert await agent.claim() == []
    assert await agent.claim(wait=0.05) == []


async def test_a_failure_is_the_tasks_failure(server: Server) -> None:
    agent = await join(server, "failing-01")
    task, assignment = await given(server, agent)
    error = {"code": "VALIDATION_ERROR", "message": "There is nothing to count."}
    said = await agent.report(assignment, "fail", error=error)
    assert said.json()["status"] == "failed"
    over = await ended(server.admin, task["task_id"])
    assert (over["status"], over["error"]) == ("failed", error)

    task, assignment = await given(server, agent)
    await agent.report(assignment, "fail", error="It broke.")
    over = await ended(server.admin, task["task_id"])
    assert over["error"] == {"code": "INTERNAL_ERROR", "message": "It broke."}


async def test_an_agents_own_code_is_the_failures(server: Server) -> None:
    agent = await join(server, "filling-01")
    task, assignment = await given(server, agent)
    error = {"code": "OUT_OF_DISK", "message": "There is no room."}
    said = await agent.report(assignment, "fail", error=error)
    # The same failure again, its answer having been lost, is the same.
    again = await agent.report(assignment, "fail", error=error)
    assert said.json() == again.json()
    assert said.json()["status"] == "failed"
    assert (await ended(server.admin, task["task_id"]))["error"] == error
    result = (await server.admin.get(f"/tasks/{task['task_id']}/result")).json()
    assert result["error"] == error


async def test_a_retryable_failure_is_tried_again(server: Server) -> None:
    agent = await join(server, "retrying-01")
    task, assignment = await given(server, agent)
    error = {"message": "Not now.", "retryable": True}
    assert (await agent.report(assignment, "fail", error=error)).json()["status"] == "queued"
    again = await agent.claim_one(wait=20)
    assert (again["task_id"], again["attempt"]) == (task["task_id"], 2)
    assert (await agent.report(again, "complete", result={})).status_code == 200


async def test_what_is_released_uses_up_no_attempt(server: Server) -> None:
    agent = await join(server, "releasing-01")
    task, assignment = await given(server, agent, max_attempts=1)
    assert (await agent.report(assignment, "release")).json()["status"] == "processing"
    again = await agent.claim_one(wait=20)
    assert (again["task_id"], again["attempt"]) == (task["task_id"], 1)
    assert again["assignment_id"] != assignment["assignment_id"]
    later = await agent.report(again, "release", reason="no disk", delay_seconds=3600)
    assert later.json()["status"] == "queued"
    assert await agent.claim() == []
    assert (await server.admin.get(f"/tasks/{task['task_id']}")).json()["status"] == "queued"


async def test_the_same_end_twice_is_answered_the_same_way_and_another_is_refused(
    server: Server,
) -> None:
    agent = await join(server, "twice-01")
    task, assignment = await given(server, agent)
    first = await agent.report(assignment, "complete", result={"n": 1})
    assert (await agent.report(assignment, "complete", result={"n": 1})).json() == first.json()
    others: list[tuple[str, JSON]] = [
        ("complete", {"result": {"n": 2}}),
        ("fail", {"error": "after all"}),
        ("release", {}),
        ("progress", {"progress": 1}),
    ]
    for verb, body in others:
        refused = error_of(await agent.report(assignment, verb, **body), 409, "CONFLICT")
        assert "completed" in refused["message"]
    assert await result_of(server, task["task_id"]) == {"n": 1}
    ends = [one for one in await events_about(server, task_id=task["task_id"]) if "ompl" in one]
    assert ends == ["task.completed"]

    task, assignment = await given(server, agent)
    first = await agent.report(assignment, "fail", error="no")
    assert (await agent.report(assignment, "fail", error="no")).json() == first.json()
    error_of(await agent.report(assignment, "fail", error="yes"), 409, "CONFLICT")


async def test_a_cancelled_task_is_told_by_the_next_word(server: Server) -> None:
    agent = await join(server, "cancelled-01", max_capacity=2)
    one, first = await given(server, agent)
    _, second = await given(server, agent)
    await server.admin.delete(f"/tasks/{one['task_id']}")
    ids = [first["assignment_id"], second["assignment_id"]]
    pulse = await agent.beat(assignments=ids)
    assert pulse["cancelled"] == ids[:1]
    assert [held["assignment_id"] for held in pulse["assignments"]] == ids[1:]
    refused = await agent.report(first, "progress", progress=50)
    assert "cancelled" in error_of(refused, 409, "CONFLICT")["message"]
    error_of(await agent.report(first, "complete", result={}), 409, "CONFLICT")
    await agent.report(second, "complete", result={})


async def test_an_agent_gets_no_more_than_it_has_room_for(server: Server) -> None:
    agent = await join(server, "full-01", max_capacity=2)
    tasks = [await submit(server.admin, agent.type) for _ in range(3)]
    taken = await agent.claim(limit=10)
    assert [one["task_id"] for one in taken] == [task["task_id"] for task in tasks[:2]]
    assert await agent.claim(limit=10) == []
    shown = (await server.admin.get(f"/agents/{agent.agent_id}")).json()
    assert (shown["status"], shown["current_load"], shown["max_capacity"]) == ("busy", 2, 2)
    waiting = asyncio.create_task(agent.claim(wait=20))
    await agent.report(taken[0], "complete", result={})
    (third,) = await waiting
    assert third["task_id"] == tasks[2]["task_id"]
    for one in (taken[1], third):
        await agent.report(one, "complete", result={})
    told = await events_about(server, agent_id=agent.agent_id)
    assert told[:3] == ["agent.registered", "agent.online", "agent.status"]
    assert "agent.overloaded" in told
    shown = (await server.admin.get(f"/agents/{agent.agent_id}")).json()
    assert (shown["status"], shown["current_load"]) == ("active", 0)
    assert shown["metrics"]["tasks_completed"] == 3
    assert shown["transport"] == "http"
    assert shown["resources"] == {"cpu_usage": None, "memory_usage": None, "memory_limit": None}
    used = {"cpu_usage": 12.5, "memory_usage": 100, "memory_limit": 1000}
    await agent.beat(resources=used)
    assert (await server.admin.get(f"/agents/{agent.agent_id}")).json()["resources"] == used


async def test_a_pinned_task_waits_for_its_agent_to_come_online(server: Server) -> None:
    agent = await join(server, "pinned-01")
    other = await join(server, "pinned-02", capabilities=[agent.type])
    await other.claim()
    task = await submit(server.admin, agent.type, agent=agent.agent_id)
    assert (task["status"], task["pending_reason"]) == ("pending", "no_agent")
    assert await other.claim() == []
    await agent.beat()
    await reached(server.admin, task["task_id"], "queued")
    assert (await agent.claim_one(wait=20))["task_id"] == task["task_id"]


async def test_who_hangs_up_while_waiting_takes_nothing_with_it(server: Server) -> None:
    agent = await join(server, "hanging-up-01")
    gone = asyncio.create_task(agent.claim(wait=20))
    await seen_online(server, agent)
    gone.cancel()
    await asyncio.wait([gone])
    task, assignment = await given(server, agent)
    assert assignment["task_id"] == task["task_id"]


# --- who may


@pytest.fixture
async def stranger(server: Server) -> Joined:
    """An agent that has nothing to do with the matter; one for all tests of a server."""
    said = introduction("stranger-01")
    made = await server.admin.post("/agents", json=said)
    key = made.json()["api_key"]
    if key is None:
        key = (await server.admin.post("/agents/stranger-01/key")).json()["api_key"]
    client = client_of(server.application, key)
    return Joined("stranger-01", said["capabilities"][0], client, key)


async def test_an_agents_key_opens_its_own_work_only(server: Server, stranger: Joined) -> None:
    agent = await join(server, "owner-01")
    task, assignment = await given(server, agent)
    client = stranger.client
    for method, path, body in [
        ("POST", f"/agents/{agent.agent_id}/claim", None),
        ("POST", f"/agents/{agent.agent_id}/heartbeat", None),
        ("GET", "/tasks", None),
        ("GET", f"/tasks/{task['task_id']}", None),
        ("GET", f"/tasks/{task['task_id']}/result", None),
        ("DELETE", f"/tasks/{task['task_id']}", None),
        ("POST", "/tasks", {"type": "ping", "description": "x"}),
        ("GET", "/agents", None),
        ("GET", f"/agents/{stranger.agent_id}", None),
        ("POST", "/agents", introduction("accomplice-01")),
        ("DELETE", f"/agents/{stranger.agent_id}", None),
        ("POST", f"/agents/{stranger.agent_id}/key", None),
        ("GET", "/auth/me", None),
        ("POST", "/auth/keys", {"name": "more"}),
        ("GET", "/events", None),
        ("POST", "/events/tickets", None),
        ("GET", "/workflows", None),
        ("GET", "/users", None),
        ("GET", "/metrics", None),
    ]:
        answer = await client.request(method, path, json=body)
        assert "agent" in error_of(answer, 403, "FORBIDDEN")["message"], (method, path)
    reports: list[tuple[str, JSON]] = [
        ("progress", {"progress": 1}),
        ("complete", {"result": {"stolen": True}}),
        ("fail", {"error": "sabotage"}),
        ("release", {}),
    ]
    for verb, said in reports:
        error_of(await stranger.report(assignment, verb, **said), 409, "CONFLICT")
    pulse = await stranger.beat(assignments=[assignment["assignment_id"]])
    assert (pulse["assignments"], pulse["cancelled"]) == ([], [assignment["assignment_id"]])
    assert (await agent.report(assignment, "complete", result={"mine": 1})).status_code == 200


async def test_graphql_is_closed_to_agents(server: Server, stranger: Joined) -> None:
    url = "http://sutazai.test/graphql"
    answer = await stranger.client.post(url, json={"query": "{ agents { agentId } }"})
    assert answer.status_code == 403
    query = "{ agents { agentId status transport } }"
    shown = await server.admin.post(url, json={"query": query})
    agents = {one["agentId"]: one["transport"] for one in shown.json()["data"]["agents"]}
    assert agents[stranger.agent_id] == "http"
    assert agents["master-coordinator"] is None


async def test_a_new_key_ends_the_old_one(server: Server) -> None:
    agent = await join(server, "rotating-01")
    made = await server.developer.post(f"/agents/{agent.agent_id}/key")
    assert made.status_code == 201
    error_of(await agent.client.post(f"/agents/{agent.agent_id}/claim"), 401, "UNAUTHORIZED")
    renewed = agent._replace(client=client_of(server.application, made.json()["api_key"]))
    assert await renewed.claim() == []


# --- who may join


async def test_registering_twice_is_harmless_if_nothing_differs(server: Server) -> None:
    agent = await join(server, "again-01")
    same = await server.admin.post("/agents", json=introduction("again-01"))
    assert (same.status_code, same.json()["api_key"]) == (200, None)
    other = await server.admin.post("/agents", json=introduction("again-01", max_capacity=2))
    assert "PUT" in error_of(other, 409, "CONFLICT")["message"]
    assert await agent.claim() == []
    changed = introduction("again-01", max_capacity=2, capabilities=["other-type"])
    del changed["agent_id"]
    answer = await server.admin.put("/agents/again-01", json=changed)
    assert answer.status_code == 200, answer.text
    await submit(server.admin, "other-type")
    await submit(server.admin, "other-type")
    assert len(await agent.claim(limit=5)) == 2


async def test_an_idempotency_key_brings_the_same_api_key_back(server: Server) -> None:
    headers = {"idempotency-key": "once-and-for-all"}
    said = introduction("repeated-01")
    first = await server.admin.post("/agents", json=said, headers=headers)
    again = await server.admin.post("/agents", json=said, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()


@pytest.mark.parametrize("agent_id", ["master-coordinator", "code-reviewer-01", "obedient-01"])
async def test_the_servers_own_agents_cannot_be_taken(server: Server, agent_id: str) -> None:
    answer = await server.admin.post("/agents", json=introduction(agent_id))
    error_of(answer, 409, "CONFLICT")
    error_of(await server.admin.delete(f"/agents/{agent_id}"), 409, "CONFLICT")
    error_of(await server.admin.post(f"/agents/{agent_id}/key"), 409, "CONFLICT")
    error_of(await server.admin.post(f"/agents/{agent_id}/claim"), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("agent_id", ""),
        ("agent_id", "a b"),
        ("agent_id", "../x"),
        ("agent_id", "x" * 65),
        ("name", ""),
        ("capabilities", []),
        ("capabilities", ["@master-coordinator"]),
        ("capabilities", ["callback"]),
        ("capabilities", ["approval"]),
        ("capabilities", ["code_review", "workflow"]),
        ("capabilities", ["x" * 65]),
        ("max_capacity", 0),
        ("max_capacity", 1001),
        ("max_capacity", "many"),
        ("transport", "pigeon"),
        ("nonsense", 1),
    ],
)
async def test_a_wrong_introduction_is_refused_by_field(
    server: Server, field: str, value: object
) -> None:
    said = {**introduction("wrong-01"), field: value}
    answer = await server.admin.post("/agents", json=said)
    assert any(one.startswith(field) for one in wrong_fields(answer)), answer.text


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("progress", {}),
        ("progress", {"progress": 101}),
        ("progress", {"progress": "half"}),
        ("progress", {"progress": 5, "status": 1}),
        ("progress", {"progress": 5, "Big": 1}),
        ("progress", {"progress": 5, "n": -1}),
        ("progress", {"progress": 5, "n": "x"}),
        ("progress", {"progress": 5, **{f"n{i}": i for i in range(21)}}),
        ("complete", {}),
        ("complete", {"result": 5}),
        ("complete", {"result": {}, "more": 1}),
        ("fail", {}),
        ("fail", {"error": {"code": "out of disk", "message": "x"}}),
        ("fail", {"error": {"code": "", "message": "x"}}),
        ("fail", {"error": {"code": "A" * 33, "message": "x"}}),
        ("fail", {"error": ""}),
        ("release", {"delay_seconds": -1}),
    ],
)
async def test_a_wrong_report_is_refused_and_changes_nothing(
    server: Server, stranger: Joined, verb: str, body: dict[str, object]
) -> None:
    # Who asks is known and the body is judged before the assignment is looked for.
    assignment = {"assignment_id": f"as-{'0' * 36}-1-1"}
    answer = await stranger.report(assignment, verb, **body)
    assert wrong_fields(answer)


@pytest.mark.parametrize(
    "wrong", ["nonsense", "as-1-2", "as-x-1-1", f"as-{'0' * 36}-1-99999999999"]
)
async def test_what_is_no_assignments_id_is_not_found(
    server: Server, stranger: Joined, wrong: str
) -> None:
    answer = await stranger.report({"assignment_id": wrong}, "complete", result={})
    error_of(answer, 404, "NOT_FOUND")
    answer = await stranger.report({"assignment_id": wrong}, "progress", progress=5)
    error_of(answer, 404, "NOT_FOUND")


async def test_twenty_megabytes_and_nonsense_are_refused_in_the_envelope(
    server: Server, stranger: Joined
) -> None:
    agent = await join(server, "verbose-01")
    _, assignment = await given(server, agent)
    path = f"/assignments/{assignment['assignment_id']}/complete"
    headers = {"content-type": "application/json"}
    huge = b'{"result": {"x": "' + b"x" * 20_000_000 + b'"}}'
    error_of(await agent.client.post(path, content=huge, headers=headers), 413, "BAD_REQUEST")
    for nonsense in (b"{", b"\xff\xfe", b'{"result": {"x": NaN}}', b"[" * 100_000):
        answer = await agent.client.post(path, content=nonsense, headers=headers)
        error_of(answer, 400, "BAD_REQUEST")
    assert (await agent.report(assignment, "complete", result={})).status_code == 200


async def test_only_who_may_change_agents_registers_them(server: Server) -> None:
    clients: list[httpx2.AsyncClient] = [server.user, server.viewer]
    for client in clients:
        answer = await client.post("/agents", json=introduction("sneaky-01"))
        error_of(answer, 403, "FORBIDDEN")
        error_of(await client.post("/agents/nobody/claim"), 403, "FORBIDDEN")
    made = await server.developer.post("/agents", json=introduction("permitted-01"))
    assert made.status_code == 201
    assert made.json()["api_key"].startswith("sk-sutazai-agent-")
