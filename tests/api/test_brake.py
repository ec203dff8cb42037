"""Guessing passwords over HTTP: the guesser is slowed down, the owner is not kept out."""

import asyncio

import httpx2

from tests.api.server import PASSWORD, PATIENCE, Server, error_of, new_user


def from_address(server: Server, address: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(server.application.app, client=(address, 50_000)),
        base_url="http://sutazai.test/api/v1",
        timeout=PATIENCE,
    )


async def attempt(client: httpx2.AsyncClient, username: str, password: str) -> httpx2.Response:
    body = {"username": username, "password": password}
    return await client.post("/auth/login", json=body)


async def test_a_flood_of_guesses_is_refused_and_the_owner_logs_in_meanwhile(
    server: Server,
) -> None:
    await new_user(server, "besieged", "user")
    guesser, owner = from_address(server, "203.0.113.9"), from_address(server, "198.51.100.7")
    guesses = [
        asyncio.create_task(attempt(guesser, "besieged", f"a wrong password {n}"))
        for n in range(12)
    ]
    done, _ = await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
    assert done
    # In the middle of it, from elsewhere.
    assert (await attempt(owner, "besieged", PASSWORD)).status_code == 200
    answers = await asyncio.gather(*guesses)
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    for answer in answers:
        if answer.status_code == 429:
            error_of(answer, 429, "RATE_LIMIT_EXCEEDED")
            assert int(answer.headers["retry-after"]) >= 1
        else:
            error_of(answer, 401, "UNAUTHORIZED")


async def test_many_wrong_passwords_later_the_right_one_still_opens(server: Server) -> None:
    await new_user(server, "forgetful", "user")
    client = from_address(server, "203.0.113.10")
    for n in range(7):
        answer = await attempt(client, "forgetful", f"not this one {n}")
        error_of(answer, 401, "UNAUTHORIZED")
    assert (await attempt(client, "forgetful", PASSWORD)).status_code == 200


async def test_no_answer_tells_whether_a_name_exists(server: Server) -> None:
    client = from_address(server, "203.0.113.11")
    shown = set()
    for username in ("the-user", "nobody-here", "the-user\0", "ÿ" * 10, "", "' OR 1=1 --"):
        answer = await attempt(client, username, "a wrong password")
        error = error_of(answer, 401, "UNAUTHORIZED")
        shown.add((error["message"], str(error.get("details"))))
    assert len(shown) == 1
