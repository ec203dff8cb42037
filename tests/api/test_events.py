from datetime import datetime

import httpx2

from tests.api.server import JSON, Server, ended, error_of, new_user, submit


async def all_events(client: httpx2.AsyncClient, *, limit: int = 1000) -> list[JSON]:
    """Everything the client may read, by following the cursor to its end."""
    events: list[JSON] = []
    after = 0
    while True:
        answer = await client.get("/events", params={"after": after, "limit": limit})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page.keys() == {"events", "next_after"}
        events += page["events"]
        if page["next_after"] == after:
            return events
        after = page["next_after"]


async def test_events_have_the_fields_of_the_contract(server: Server) -> None:
    task = await submit(server.user)
    await ended(server.user, task["task_id"])
    events = await all_events(server.admin)
    for event in events:
        assert event.keys() == {"id", "event_type", "timestamp", "actor", "request_id", "data"}
        assert datetime.fromisoformat(event["timestamp"]).tzinfo is not None
        assert event["actor"].split(":")[0] in ("user", "agent", "system", "anonymous")
    numbers = [event["id"] for event in events]
    assert numbers == sorted(set(numbers))


async def test_small_pages_hold_the_same_as_large_ones(server: Server) -> None:
    for client in (server.admin, server.viewer):
        large = await all_events(client)
        small = await all_events(client, limit=7)
        assert small[: len(large)] == large


async def test_every_role_sees_what_it_may_read(server: Server) -> None:
    task = await submit(server.user)
    await ended(server.user, task["task_id"])
    await server.admin.patch("/agents/twin-01/config", json={"temperature": 1})
    kinds: dict[str, set[str]] = {}
    for role, client in server.clients.items():
        kinds[role] = {event["event_type"].split(".")[0] for event in await all_events(client)}
        assert "task" in kinds[role], role
    assert {"task", "agent", "user", "session"} <= kinds["admin"]
    assert "agent" in kinds["developer"]
    for role in ("user", "viewer"):
        assert "agent" not in kinds[role]


async def test_nobody_sees_the_sessions_of_others_but_everybody_ones_own(server: Server) -> None:
    client = await new_user(server, "watchful", "viewer")
    me = (await client.get("/auth/me")).json()["user_id"]
    personal = [
        event
        for event in await all_events(client)
        if event["event_type"].split(".")[0] in ("user", "session", "api_key")
    ]
    assert personal
    assert {event["data"]["user_id"] for event in personal} == {me}


async def test_events_hold_no_secrets(server: Server) -> None:
    await server.user.post("/auth/keys", json={"name": "of the event test"})
    text = str(await all_events(server.admin))
    for secret in ("sk-sutazai-", "eyJ", "correct horse", "argon2"):
        assert secret not in text


async def test_a_wrong_cursor_or_limit_is_refused(server: Server) -> None:
    for params in ({"after": -1}, {"after": "x"}, {"limit": 0}, {"limit": 1001}, {"after": 2**70}):
        answer = await server.user.get("/events", params=params)
        error_of(answer, 422, "VALIDATION_ERROR")
    beyond = (await server.user.get("/events", params={"after": 2**62})).json()
    assert beyond == {"events": [], "next_after": 2**62}
    error_of(await server.anonymous.get("/events"), 401, "UNAUTHORIZED")
