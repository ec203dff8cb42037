"""`POST /events`: an event from outside answers the approval steps that wait for it."""

import asyncio
import secrets
import uuid
from typing import Any

import httpx2
import pytest

from tests.api.server import JSON, Server, error_of, wrong_fields
from tests.api.workflows import (
    begun,
    by_step,
    created,
    executed,
    over,
    statuses,
    step,
    step_reached,
)


def asks(step_id: str, event_type: str, *depends_on: str, by: str | None = None) -> JSON:
    """An approval step that an event of this type answers."""
    event = {"event_type": event_type} | ({} if by is None else {"correlation_id": by})
    return {
        "step_id": step_id,
        "type": "approval",
        "depends_on": list(depends_on),
        "event": event,
    }


def own_type() -> str:
    """An event type of one test alone."""
    return f"change.decided_{secrets.token_hex(4)}"


async def post(
    client: httpx2.AsyncClient, event_type: str, key: str | None = None, **more: Any
) -> httpx2.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post("/events", json={"event_type": event_type, **more}, headers=headers)


async def answered_events(server: Server, execution_id: str) -> list[JSON]:
    """What the log says of answers to an execution's steps."""
    found: list[JSON] = []
    after = 0
    while True:
        query = {"after": after, "limit": 1000}
        page = (await server.admin.get("/events", params=query)).json()
        found += [
            event
            for event in page["events"]
            if event["event_type"] == "workflow.answered"
            and event["data"]["execution_id"] == execution_id
        ]
        if not page["events"]:
            return found
        after = page["next_after"]


async def test_an_event_answers_the_step_that_waits_for_it_and_its_data_is_the_output(
    server: Server,
) -> None:
    event_type = own_type()
    steps = [
        step("first", metadata={"change": "C-7"}),
        asks("ask", event_type, "first", by="steps.first.output.change"),
        step("after", "ask", metadata={}, input={"to": "steps.ask.output.target"}),
    ]
    execution_id = await begun(server.developer, *steps)
    shown = await step_reached(server.developer, execution_id, "ask", "waiting")
    waits_for = {"event_type": event_type, "correlation_id": "C-7"}
    assert by_step(shown)["ask"]["event"] == waits_for
    data = {"approved": True, "comment": "as agreed", "target": ["eu", 1]}
    posted = await post(server.developer, event_type, correlation_id="C-7", data=data)
    assert posted.status_code == 200, posted.text
    assert posted.json() == {
        **waits_for,
        "answered": [
            {
                "execution_id": execution_id,
                "workflow_id": shown["workflow_id"],
                "step_id": "ask",
            }
        ],
    }
    ended = await over(server.developer, execution_id)
    me = (await server.developer.get("/auth/me")).json()["user_id"]
    assert by_step(ended)["ask"]["output"] == {**data, "by": me}
    assert by_step(ended)["after"]["output"] == {"to": ["eu", 1]}
    [told] = await answered_events(server, execution_id)
    assert told["actor"] == f"user:{me}"
    assert told["request_id"] == posted.headers["x-request-id"]
    assert told["data"] == {
        "execution_id": execution_id,
        "workflow_id": shown["workflow_id"],
        "step_id": "ask",
        "approved": True,
        **waits_for,
    }


async def test_an_event_refuses_and_a_person_may_still_answer_instead(server: Server) -> None:
    event_type = own_type()
    refused = await begun(server.developer, asks("ask", event_type), step("go", "ask"))
    await post(server.developer, event_type, data={"approved": False, "comment": "too late"})
    ended = await over(server.developer, refused)
    assert statuses(ended) == {"ask": "failed", "go": "cancelled"}
    assert by_step(ended)["ask"]["error"]["message"].endswith(": too late")
    by_hand = await begun(server.developer, asks("ask", event_type))
    answer = await server.developer.post(
        f"/executions/{by_hand}/steps/ask/approve", json={"approved": True}
    )
    assert answer.json()["status"] == "completed"
    [told] = await answered_events(server, by_hand)
    assert told["actor"].startswith("user:")
    assert "event_type" not in told["data"]
    late = await post(server.developer, event_type, data={"approved": True})
    assert event_type in error_of(late, 404, "NOT_FOUND")["message"]


async def test_what_a_refusal_says_can_be_read_by_later_steps(server: Server) -> None:
    event_type = own_type()
    execution_id = await begun(
        server.developer,
        asks("ask", event_type) | {"on_failure": "continue"},
        step("told", "ask", metadata={}, input={"why": "steps.ask.output.why"}),
    )
    await post(server.developer, event_type, data={"approved": False, "why": ["too late"]})
    ended = await over(server.developer, execution_id)
    assert statuses(ended) == {"ask": "failed", "told": "completed"}
    assert by_step(ended)["told"]["output"] == {"why": ["too late"]}


async def test_only_the_steps_of_this_correlation_id_are_answered_and_all_of_them(
    server: Server,
) -> None:
    event_type = own_type()
    ids = [
        await begun(server.developer, asks("ask", event_type, by="input.n"), n=n)
        for n in ("a", 7, "7", "b")
    ]
    without = await begun(server.developer, asks("ask", event_type))
    posted = await post(server.developer, event_type, correlation_id="7", data={"approved": True})
    answered = {one["execution_id"] for one in posted.json()["answered"]}
    assert answered == {ids[1], ids[2]}
    for execution_id in (ids[0], ids[3], without):
        shown = (await server.developer.get(f"/executions/{execution_id}")).json()
        assert statuses(shown) == {"ask": "waiting"}
    posted = await post(server.developer, event_type, data={"approved": True})
    assert [one["execution_id"] for one in posted.json()["answered"]] == [without]


async def test_a_repeated_event_answers_once_and_a_retried_step_asks_anew(server: Server) -> None:
    event_type = own_type()
    execution_id = await begun(server.developer, asks("ask", event_type))
    key = str(uuid.uuid4())
    body = {"data": {"approved": False}}
    first = await post(server.developer, event_type, key, **body)
    assert (await over(server.developer, execution_id))["status"] == "failed"
    await server.developer.post(f"/executions/{execution_id}/retry")
    again = await post(server.developer, event_type, key, **body)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    shown = (await server.developer.get(f"/executions/{execution_id}")).json()
    assert statuses(shown) == {"ask": "waiting"}
    assert (await post(server.developer, event_type, data={"approved": True})).status_code == 200
    assert (await over(server.developer, execution_id))["status"] == "completed"


async def test_of_two_events_at_once_one_answers(server: Server) -> None:
    event_type = own_type()
    execution_id = await begun(server.developer, asks("ask", event_type))
    both = await asyncio.gather(
        *(
            post(server.developer, event_type, data={"approved": True, "number": number})
            for number in range(2)
        )
    )
    assert sorted(one.status_code for one in both) == [200, 404]
    won = [one.status_code for one in both].index(200)
    ended = await over(server.developer, execution_id)
    assert by_step(ended)["ask"]["output"]["number"] == won
    assert len(await answered_events(server, execution_id)) == 1


async def test_an_event_for_too_many_steps_answers_none(server: Server) -> None:
    event_type = own_type()
    many = [asks(f"ask{number}", event_type) for number in range(101)]
    execution_id = await begun(server.developer, *many)
    answer = await post(server.developer, event_type, data={"approved": True})
    assert "100" in error_of(answer, 409, "CONFLICT")["message"]
    shown = (await server.developer.get(f"/executions/{execution_id}")).json()
    assert set(statuses(shown).values()) == {"waiting"}
    # Several of one execution are answered together.
    few = await begun(server.developer, *(asks(f"ask{n}", event_type, by="'x'") for n in range(3)))
    posted = await post(server.developer, event_type, correlation_id="x", data={"approved": True})
    assert len(posted.json()["answered"]) == 3
    assert (await over(server.developer, few))["status"] == "completed"
    await server.developer.delete(f"/executions/{execution_id}")


async def test_an_event_that_would_begin_too_much_together_answers_none(server: Server) -> None:
    event_type = own_type()
    # Each takes most of what one expression may, and one execution half of what begins
    # together may.
    costly = "input.all[?@ == 'x' && @ == 'y']"
    workflow_id = await created(
        server.developer,
        asks("ask", event_type),
        *(step(f"s{number}", "ask", metadata={}, when=costly) for number in range(6)),
    )
    ids = [await executed(server.developer, workflow_id, all=["x"] * 4_000) for _ in range(2)]
    answer = await post(server.developer, event_type, data={"approved": True})
    assert "too much together" in error_of(answer, 409, "CONFLICT")["message"]
    for execution_id in ids:
        shown = (await server.developer.get(f"/executions/{execution_id}")).json()
        assert statuses(shown)["ask"] == "waiting"
    approve = f"/executions/{ids[0]}/steps/ask/approve"
    assert (await server.developer.post(approve, json={"approved": True})).status_code == 200
    posted = await post(server.developer, event_type, data={"approved": True})
    assert [one["execution_id"] for one in posted.json()["answered"]] == ids[1:]
    for execution_id in ids:
        assert (await over(server.developer, execution_id))["status"] == "completed"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"data": {}}, "data.approved"),
        ({"data": {"approved": "yes"}}, "data.approved"),
        ({"data": {"approved": True, "by": "user-somebody"}}, "data.by"),
        ({"data": {"approved": True, "comment": 7}}, "data.comment"),
        ({"data": {"approved": True, "much": "x" * 65_536}}, "data"),
        ({"data": {"approved": True}, "correlation_id": ""}, "correlation_id"),
        ({"data": {"approved": True}, "correlation_id": "x" * 201}, "correlation_id"),
        ({"data": {"approved": True}, "correlation_id": "a\0b"}, "correlation_id"),
        ({"data": {"approved": True}, "event_type": "task.completed"}, "event_type"),
        ({"data": {"approved": True}, "event_type": "Not One"}, "event_type"),
        ({"data": {"approved": True}, "event_type": "x" * 65}, "event_type"),
        ({"data": ["approved"]}, "data"),
        ({}, "data"),
        ({"data": {"approved": True}, "payload": {}}, "payload"),
    ],
)
async def test_what_can_answer_nothing_is_refused(server: Server, body: JSON, field: str) -> None:
    answer = await post(server.developer, **{"event_type": "change.decided", **body})
    assert list(wrong_fields(answer)) == [field]


async def test_who_may_not_execute_workflows_posts_no_events(server: Server) -> None:
    event_type = own_type()
    execution_id = await begun(server.developer, asks("ask", event_type))
    for client in (server.user, server.viewer):
        answer = await post(client, event_type, data={"approved": True})
        error_of(answer, 403, "FORBIDDEN")
    anonymous = await post(server.anonymous, event_type, data={"approved": True})
    error_of(anonymous, 401, "UNAUTHORIZED")
    shown = (await server.developer.get(f"/executions/{execution_id}")).json()
    assert statuses(shown) == {"ask": "waiting"}


@pytest.mark.parametrize(
    ("made", "said"),
    [("`null`", "a null"), ("`1.5`", "a float"), ("''", "1 to 200"), ("input.all", "a list")],
)
async def test_a_correlation_id_that_is_none_fails_the_step(
    server: Server, made: str, said: str
) -> None:
    execution_id = await begun(server.developer, asks("ask", own_type(), by=made), all=[1])
    ended = await over(server.developer, execution_id)
    message = by_step(ended)["ask"]["error"]["message"]
    assert message.startswith("event.correlation_id: It")
    assert said in message


@pytest.mark.parametrize(
    ("event", "more", "field"),
    [
        ({"event_type": "task.completed"}, {}, "steps.0.event.event_type"),
        ({"event_type": "No Type"}, {}, "steps.0.event.event_type"),
        ({"event_type": "a.b", "correlation_id": "nothing"}, {}, "steps.0.event.correlation_id"),
        ({"event_type": "a.b"}, {"type": "ping"}, "steps.0.event"),
        ({"event_type": "a.b", "key": "x"}, {}, "steps.0.event.key"),
    ],
)
async def test_a_step_that_could_never_be_answered_so_is_refused(
    server: Server, event: JSON, more: JSON, field: str
) -> None:
    steps = [{"step_id": "ask", "type": "approval", "event": event, **more}]
    answer = await server.developer.post("/workflows", json={"name": "w", "steps": steps})
    assert list(wrong_fields(answer)) == [field]
