"""Tasks are submitted and cancelled as over REST, and once only."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.graphql.asking import URL, ask, code_of, errors_of, fields_of, post
from tests.api.server import PATIENCE, Server, ended, error_of, serving, settings_for, submit

CREATE = """mutation(
  $type: String!, $description: String!, $priority: Int! = 5, $metadata: JSON,
  $timeoutSeconds: Float! = 600, $maxAttempts: Int! = 3, $runAt: DateTime, $dependsOn: [String!],
  $agent: String, $tags: [String!], $callbackUrl: String, $idempotencyKey: String
) {
  createTask(
    type: $type, description: $description, priority: $priority, metadata: $metadata,
    timeoutSeconds: $timeoutSeconds, maxAttempts: $maxAttempts, runAt: $runAt,
    dependsOn: $dependsOn, agent: $agent, tags: $tags, callbackUrl: $callbackUrl,
    idempotencyKey: $idempotencyKey
  ) { taskId status estimatedCompletion }
}"""


async def create(server: Server, **more: Any) -> str:
    made = await ask(server.user, CREATE, **{"type": "ping", "description": "x", **more})
    task_id: str = made["createTask"]["taskId"]
    return task_id


async def test_every_argument_reaches_the_task(server: Server) -> None:
    first = await create(server)
    task_id = await create(
        server,
        description="all of it",
        priority=9,
        metadata={"a_b": [1, {"c": None}]},
        timeoutSeconds=1.5,
        maxAttempts=2,
        runAt="2999-01-01T00:00:00+01:00",
        dependsOn=[first, first.upper()],
        agent="master-coordinator",
        tags=["t", "t", "u"],
    )
    shown = (await server.user.get(f"/tasks/{task_id}")).json()
    expected = {
        "description": "all of it",
        "priority": 9,
        "metadata": {"a_b": [1, {"c": None}]},
        "timeout_seconds": 1.5,
        "max_attempts": 2,
        "run_at": "2998-12-31T23:00:00Z",
        "depends_on": [first],
        "agent": "master-coordinator",
        "tags": ["t", "u"],
    }
    assert {name: shown[name] for name in expected} == expected


async def test_metadata_may_be_written_out_in_the_query(server: Server) -> None:
    metadata = (
        '{rules: [security, "performance"], depth: 1.5, on: true, none: null, file: $file, '
        "unset: $unset}"
    )
    made = await ask(
        server.user,
        "mutation($file: String, $unset: Int) { "
        f'createTask(type: "ping", description: "x", metadata: {metadata}) {{ metadata }} }}',
        file="a.py",
    )
    assert made["createTask"]["metadata"] == {
        "rules": ["security", "performance"],
        "depth": 1.5,
        "on": True,
        "none": None,
        "file": "a.py",
        "unset": None,
    }


@pytest.mark.parametrize(
    ("more", "fields"),
    [
        ({"type": "nonsense"}, {"type"}),
        ({"type": "a\0"}, {"type"}),
        ({"description": "a\0"}, {"description"}),
        ({"description": "x" * 20_001}, {"description"}),
        ({"priority": 0, "maxAttempts": 21}, {"priority", "maxAttempts"}),
        ({"timeoutSeconds": 0}, {"timeoutSeconds"}),
        ({"metadata": [1]}, {"metadata"}),
        ({"metadata": "text"}, {"metadata"}),
        ({"runAt": "tomorrow"}, {"runAt"}),
        ({"runAt": "0001-01-01T00:00:00Z"}, {"runAt"}),
        ({"dependsOn": ["nonsense"]}, {"dependsOn.0"}),
        ({"dependsOn": ["01a20af4-87b8-77fe-ac03-3a69b1fb45d4"]}, {"dependsOn"}),
        ({"agent": "nobody"}, {"agent"}),
        ({"tags": ["ok", ""]}, {"tags.1"}),
        ({"callbackUrl": "http://127.0.0.1/"}, {"callbackUrl"}),
        ({"idempotencyKey": ""}, {"Idempotency-Key"}),
    ],
)
async def test_wrong_arguments_are_named(
    server: Server, more: dict[str, Any], fields: set[str]
) -> None:
    asked = {"type": "ping", "description": "x", **more}
    assert await fields_of(server.user, CREATE, **asked) == fields


@pytest.mark.parametrize(
    "more",
    [
        {"priority": "5"},
        {"priority": None},
        {"priority": 2**31},
        {"priority": 5.5},
        {"timeoutSeconds": "soon"},
        {"tags": [None]},
        {"runAt": 5},
        {"description": 5},
    ],
    ids=str,
)
async def test_variables_of_another_type_are_refused(server: Server, more: dict[str, Any]) -> None:
    asked = {"type": "ping", "description": "x", **more}
    assert await code_of(server.user, CREATE, **asked) == "VALIDATION_ERROR"


@pytest.mark.parametrize("by", ["argument", "header"])
async def test_a_repeated_submission_answers_with_the_same_task(server: Server, by: str) -> None:
    key = f"graph-{by}"
    headers = {"idempotency-key": key} if by == "header" else {}
    asked = {"type": "ping", "description": "once"}
    if by == "argument":
        asked["idempotencyKey"] = key
    first = await post(server.user, CREATE, headers=headers, **asked)
    assert "idempotency-replayed" not in first.headers
    again = await post(server.user, CREATE, headers=headers, **asked)
    assert again.headers["idempotency-replayed"] == "true"
    made = first.json()["data"]["createTask"]["taskId"]
    assert again.json()["data"]["createTask"]["taskId"] == made
    other = await post(server.user, CREATE, headers=headers, **{**asked, "description": "other"})
    assert other.json()["errors"][0]["extensions"]["code"] == "VALIDATION_ERROR"
    somebody = await post(server.developer, CREATE, headers=headers, **asked)
    assert somebody.json()["data"]["createTask"]["taskId"] != made


async def test_one_header_serves_several_mutations_each_by_its_name(server: Server) -> None:
    both = (
        'mutation { a: createTask(type: "ping", description: "x") { taskId } '
        'b: createTask(type: "ping", description: "x") { taskId } }'
    )
    headers = {"idempotency-key": "graph-several"}
    first = (await post(server.user, both, headers=headers)).json()["data"]
    again = (await post(server.user, both, headers=headers)).json()["data"]
    assert first["a"]["taskId"] != first["b"]["taskId"]
    assert again == first


async def test_cancelling_ends_a_task_and_may_be_repeated(server: Server) -> None:
    task_id = (await submit(server.user, run_at="2999-01-01T00:00:00Z"))["task_id"]
    cancel = "mutation($id: String!) { cancelTask(taskId: $id) { status cancelledAt } }"
    first = (await ask(server.user, cancel, id=task_id))["cancelTask"]
    assert first["status"] == "cancelled"
    assert (await ask(server.user, cancel, id=task_id))["cancelTask"] == first
    done = (await submit(server.user))["task_id"]
    await ended(server.user, done)
    assert await code_of(server.user, cancel, id=done) == "CONFLICT"
    unknown = "01a20af4-87b8-77fe-ac03-3a69b1fb45d4"
    assert await code_of(server.user, cancel, id=unknown) == "NOT_FOUND"


async def test_a_failing_mutation_leaves_those_before_it_done(server: Server) -> None:
    answer = await post(
        server.user,
        'mutation { a: createTask(type: "ping", description: "kept") { taskId } '
        'b: createTask(type: "nonsense", description: "x") { taskId } }',
    )
    body = answer.json()
    assert body["data"] is None
    assert body["errors"][0]["path"] == ["b"]
    listed = (await server.user.get("/tasks", params={"limit": 1})).json()["tasks"]
    assert listed[0]["description"] == "kept"


async def test_every_submission_is_charged_as_over_rest(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    settings = settings_for(
        data_dir, database_url, tmp_path, rate_limits=True, rate_limit_tasks_free=5
    )
    async with serving(settings, roles=["user"]) as server:
        await submit(server.user)
        three = " ".join(
            f'{name}: createTask(type: "ping", description: "x") {{ taskId }}' for name in "abc"
        )
        answer = await post(server.user, f"mutation {{ {three} }}")
        assert '"submissions";r=1;' in answer.headers["ratelimit"]
        key = {"idempotency-key": "graph-charged"}
        asked = {"type": "ping", "description": "x"}
        first = await post(server.user, CREATE, headers=key, **asked)
        assert '"submissions";r=0;' in first.headers["ratelimit"]
        again = await post(server.user, CREATE, headers=key, **asked)
        made = first.json()["data"]["createTask"]["taskId"]
        assert again.json()["data"]["createTask"]["taskId"] == made
        errors = await errors_of(server.user, CREATE, **asked)
        assert errors[0]["extensions"]["code"] == "RATE_LIMIT_EXCEEDED"
        assert errors[0]["extensions"]["retryAfter"] > 0
        over_rest = await server.user.post("/tasks", json=asked)
        error_of(over_rest, 429, "RATE_LIMIT_EXCEEDED")


async def test_what_a_mutation_did_is_told_with_its_request(server: Server) -> None:
    headers = {"x-request-id": "graph-told", "content-type": "application/json"}
    content = json.dumps(
        {"query": 'mutation { createTask(type: "ping", description: "x") { taskId } }'}
    )
    answer = await server.user.post(URL, content=content, headers=headers)
    task_id = answer.json()["data"]["createTask"]["taskId"]
    user_id = (await server.user.get("/auth/me")).json()["user_id"]
    after = 0
    found: list[Any] = []
    async with asyncio.timeout(PATIENCE):
        while not found:
            # What others have not committed yet holds back what comes after it.
            path = "/events"
            page = (await server.user.get(path, params={"after": after, "limit": 1000})).json()
            found = [
                one
                for one in page["events"]
                if one["event_type"] == "task.created" and one["data"]["task_id"] == task_id
            ]
            after = page["next_after"]
    assert [(one["actor"], one["request_id"]) for one in found] == [
        (f"user:{user_id}", "graph-told")
    ]


async def test_a_mutation_needs_its_arguments(server: Server) -> None:
    errors = await errors_of(server.user, 'mutation { createTask(type: "ping") { taskId } }')
    assert "description" in errors[0]["message"]
    assert errors[0]["extensions"]["code"] == "VALIDATION_ERROR"
