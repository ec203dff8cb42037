"""Rate limits over HTTP: who is counted, what is refused, what the answers say."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.api.server import (
    PASSWORD,
    Server,
    client_of,
    error_of,
    log_in,
    on_a_socket,
    serving,
    settings_for,
    submit,
)

REQUESTS, PREMIUM, TASKS = 30, 60, 4
POLICY = f'"requests";q={REQUESTS};w=60'
_FIELD = re.compile(r'"(?P<policy>\w+)";r=(?P<r>\d+);t=(?P<t>\d+)')


@pytest.fixture
async def limited(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> AsyncIterator[Server]:
    """An application with low limits, and a user of the tier free."""
    settings = settings_for(
        data_dir,
        database_url,
        tmp_path,
        rate_limits=True,
        rate_limit_requests=REQUESTS,
        rate_limit_requests_premium=PREMIUM,
        rate_limit_tasks_free=TASKS,
        rate_limit_tasks_standard=TASKS + 2,
    )
    async with serving(settings, roles=["user"]) as server:
        yield server


def client_at(server: Server, address: str, token: str | None = None) -> httpx2.AsyncClient:
    """A client whose connections come from this address."""
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(server.application.app, client=(address, 4711)),
        base_url="http://sutazai.test/api/v1",
        headers={} if token is None else {"authorization": f"Bearer {token}"},
    )


def standings(answer: httpx2.Response) -> dict[str, tuple[int, int]]:
    """By policy: what remains, and in how many seconds there is more."""
    fields = answer.headers["ratelimit"].split(", ")
    found = [_FIELD.fullmatch(field) for field in fields]
    return {one["policy"]: (int(one["r"]), int(one["t"])) for one in found if one is not None}


async def exhausted(client: httpx2.AsyncClient) -> httpx2.Response:
    """The first answer that refuses."""
    for _ in range(PREMIUM + 1):
        answer = await client.get("/auth/me")
        if answer.status_code == 429:
            return answer
    raise AssertionError("nothing was refused")


async def test_every_request_of_a_user_counts_until_there_are_too_many(limited: Server) -> None:
    first = await limited.user.get("/auth/me")
    assert first.headers["ratelimit-policy"] == POLICY
    remaining, seconds = standings(first)["requests"]
    assert remaining == REQUESTS - 1
    assert 0 < seconds <= 60
    for _ in range(remaining):
        answer = await limited.user.get("/auth/me")
        assert answer.status_code == 200
    assert standings(answer)["requests"][0] == 0
    refused = await limited.user.get("/auth/me")
    error = error_of(refused, 429, "RATE_LIMIT_EXCEEDED")
    assert str(REQUESTS) in error["message"]
    assert int(refused.headers["retry-after"]) >= standings(refused)["requests"][1] > 0
    assert refused.headers["ratelimit-policy"] == POLICY


async def test_premium_may_do_more_and_nobody_pays_for_another(limited: Server) -> None:
    await exhausted(limited.user)
    answer = await limited.admin.get("/auth/me")
    assert answer.status_code == 200
    assert answer.headers["ratelimit-policy"] == f'"requests";q={PREMIUM};w=60'


@pytest.mark.parametrize("path", ["/nothing", "/tasks/no-uuid", "/users", "/auth/me?x=1"])
async def test_errors_say_how_one_stands_too(limited: Server, path: str) -> None:
    answer = await limited.user.get(path)
    assert standings(answer)["requests"][0] == REQUESTS - 1


@pytest.mark.parametrize(
    "path", ["/api/v1/auth/me", "/api/v2/auth/me", "/api/auth/me", "/api/v9/x"]
)
async def test_every_version_counts_together(limited: Server, path: str) -> None:
    await limited.user.get("/auth/me")
    answer = await limited.user.get(f"http://sutazai.test{path}")
    assert standings(answer)["requests"][0] == REQUESTS - 2


async def test_what_is_too_large_counts(limited: Server) -> None:
    answer = await limited.user.post("/tasks", content=b"x" * (10 * 1024 * 1024 + 1))
    assert answer.status_code == 413
    assert standings(answer)["requests"][0] == REQUESTS - 1


async def test_without_a_valid_credential_the_address_counts(limited: Server) -> None:
    stranger = client_at(limited, "198.51.100.7")
    assert error_of(await stranger.get("/auth/me"), 401, "UNAUTHORIZED")
    stranger.headers["authorization"] = "Bearer nonsense"
    refused = await exhausted(stranger)
    error_of(refused, 429, "RATE_LIMIT_EXCEEDED")
    error_of(await stranger.post("/auth/login", json={}), 429, "RATE_LIMIT_EXCEEDED")
    # Neither another address nor a user at the same one pays for it.
    assert (await client_at(limited, "198.51.100.8").get("/auth/me")).status_code == 401
    token = limited.user.headers["authorization"].removeprefix("Bearer ")
    assert (await client_at(limited, "198.51.100.7", token).get("/auth/me")).status_code == 200


@pytest.mark.parametrize("path", ["/ws", "/graphql"])
async def test_opening_sockets_counts(limited: Server, path: str) -> None:
    async with on_a_socket(limited.application) as port:
        refused = None
        for _ in range(REQUESTS + 1):
            try:
                async with connect(f"ws://127.0.0.1:{port}{path}"):
                    pass
            except InvalidStatus as error:
                refused = error.response
                break
        assert refused is not None
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert refused.headers["ratelimit-policy"] == POLICY


async def test_an_ipv6_network_counts_as_one(limited: Server) -> None:
    await client_at(limited, "2001:db8::1").get("/auth/me")
    same = await client_at(limited, "2001:db8::ffff:2").get("/auth/me")
    other = await client_at(limited, "2001:db8:0:1::1").get("/auth/me")
    assert standings(same)["requests"][0] == REQUESTS - 2
    assert standings(other)["requests"][0] == REQUESTS - 1


async def test_probes_are_always_answered_and_never_counted(limited: Server) -> None:
    probe = client_at(limited, "198.51.100.9")
    for path in ("/api/v1/health", "/api/v2/health", "/api/health"):
        answer = await probe.get(f"http://sutazai.test{path}")
        assert answer.status_code == 200
        assert answer.headers["ratelimit"] == f'"requests";r={REQUESTS};t=0'
    await exhausted(probe)
    answer = await probe.get("/health")
    assert answer.status_code == 200
    assert standings(answer)["requests"][0] == 0


async def test_submissions_have_a_limit_of_their_own(limited: Server) -> None:
    for left in reversed(range(TASKS)):
        answer = await limited.user.post("/tasks", json={"type": "ping", "description": "x"})
        assert answer.status_code == 201
        assert standings(answer)["submissions"][0] == left
        assert answer.headers["ratelimit-policy"] == f'{POLICY}, "submissions";q={TASKS};w=60'
    refused = await limited.user.post("/tasks", json={"type": "ping", "description": "x"})
    error_of(refused, 429, "RATE_LIMIT_EXCEEDED")
    assert standings(refused).keys() == {"requests", "submissions"}
    assert int(refused.headers["retry-after"]) >= standings(refused)["submissions"][1] > 0
    assert (await limited.user.get("/tasks")).json()["total"] == TASKS


async def test_a_tier_takes_effect_at_once(limited: Server) -> None:
    for _ in range(TASKS):
        await submit(limited.user)
    me = (await limited.user.get("/auth/me")).json()
    await limited.admin.patch(f"/users/{me['user_id']}", json={"tier": "standard"})
    await submit(limited.user)
    await submit(limited.user)
    answer = await limited.user.post("/tasks", json={"type": "ping", "description": "x"})
    error_of(answer, 429, "RATE_LIMIT_EXCEEDED")


async def test_what_was_not_accepted_is_not_charged(limited: Server) -> None:
    for body in ({"type": "unknown", "description": "x"}, {"type": "ping"}):
        answer = await limited.user.post("/tasks", json=body)
        assert answer.status_code == 422
    answer = await limited.user.post("/tasks", json={"type": "ping", "description": "x"})
    assert standings(answer)["submissions"][0] == TASKS - 1


async def test_a_replay_is_not_charged_and_is_given_even_over_the_limit(limited: Server) -> None:
    body, key = {"type": "ping", "description": "x"}, {"idempotency-key": "once"}
    first = await limited.user.post("/tasks", json=body, headers=key)
    again = await limited.user.post("/tasks", json=body, headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert standings(again)["submissions"][0] == TASKS - 1
    for _ in range(TASKS - 1):
        await submit(limited.user)
    over = await limited.user.post("/tasks", json=body, headers=key)
    assert over.status_code == 201
    assert over.json() == first.json()
    new = {"idempotency-key": "another"}
    error_of(await limited.user.post("/tasks", json=body, headers=new), 429, "RATE_LIMIT_EXCEEDED")
    # Nor was the refusal kept as the answer to that key.
    assert (await limited.user.get("/tasks")).json()["total"] == TASKS


async def test_all_credentials_of_a_user_count_together(limited: Server) -> None:
    made = await limited.user.post("/auth/keys", json={"name": "a key"})
    other = client_of(limited.application)
    other.headers["x-api-key"] = made.json()["api_key"]
    by_key = await other.get("/auth/me")
    me = by_key.json()["username"]
    session = client_of(limited.application, await log_in(limited.anonymous, me, PASSWORD))
    by_session = await session.get("/auth/me")
    assert standings(by_key)["requests"][0] == REQUESTS - 2
    assert standings(by_session)["requests"][0] == REQUESTS - 3


async def test_they_can_be_switched_off(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    settings = settings_for(data_dir, database_url, tmp_path, rate_limits="off")
    async with serving(settings, roles=["user"]) as server:
        for _ in range(12):
            await submit(server.user)
        answer = await server.user.get("/auth/me")
    assert answer.status_code == 200
    assert "ratelimit" not in answer.headers
    assert "ratelimit-policy" not in answer.headers
