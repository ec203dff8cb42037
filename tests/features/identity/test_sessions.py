import asyncio

import jwt
import msgspec
import pytest

from sutazai.database import Database
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.identity import store
from sutazai.identity.hooks import Change
from sutazai.identity.model import TokenPair
from sutazai.identity.service import Identity
from tests.features.identity.conftest import (
    PASSWORD,
    SECRET,
    Clock,
    MakeIdentity,
    principal_of,
)


async def log_in(identity: Identity, username: str = "ada") -> TokenPair:
    await identity.users.create(username=username, password=PASSWORD, roles=["developer"])
    return await identity.login(username, PASSWORD)


async def assert_refused(identity: Identity, credential: str) -> None:
    with pytest.raises(SutazaiError) as caught:
        await identity.authenticate(credential)
    assert caught.value.code is ErrorCode.UNAUTHORIZED


async def test_a_login_opens_the_door_with_the_claims_of_the_specification(
    identity: Identity, clock: Clock
) -> None:
    pair = await log_in(identity)
    principal = await identity.authenticate(pair.access_token)
    assert principal.username == "ada"
    assert principal.roles == ("developer",)
    assert principal.tier == "free"
    assert principal.may("write", "workflows")
    assert not principal.may("read", "metrics")
    claims = jwt.decode(
        pair.access_token, SECRET, algorithms=["HS256"], options={"verify_signature": False}
    )
    assert jwt.get_unverified_header(pair.access_token) == {"alg": "HS256", "typ": "JWT"}
    assert claims["sub"] == principal.user_id
    assert claims["permissions"] == ["read", "write", "execute"]
    assert claims["exp"] - claims["iat"] == pair.expires_in == 3600
    assert (await identity.me(principal)).username == "ada"
    body = msgspec.json.decode(msgspec.json.encode(pair))
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in"}


async def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(
    identity: Identity,
) -> None:
    await log_in(identity)
    answers = set()
    for username, password in [
        ("ada", "a wrong password"),
        ("nobody", PASSWORD),
        ("ada", "short"),
        ("ada", "\ud800" * 9),
        ("\ud800\0", PASSWORD),
        ("ada", "x" * 100_000),
    ]:
        with pytest.raises(SutazaiError) as caught:
            await identity.login(username, password)
        answers.add((caught.value.code, caught.value.message))
    assert len(answers) == 1
    assert answers.pop()[0] is ErrorCode.UNAUTHORIZED


async def test_the_username_is_the_same_in_any_case(identity: Identity) -> None:
    await log_in(identity)
    pair = await identity.login("ADA", PASSWORD)
    assert (await identity.authenticate(pair.access_token)).username == "ada"


async def test_logging_out_ends_the_session_at_once(
    identity: Identity, make_identity: MakeIdentity
) -> None:
    pair = await log_in(identity)
    other = await identity.login("ada", PASSWORD)
    second_process = make_identity()
    await second_process.authenticate(pair.access_token)
    await identity.logout(await identity.authenticate(pair.access_token))
    await assert_refused(identity, pair.access_token)
    await assert_refused(second_process, pair.access_token)
    with pytest.raises(SutazaiError):
        await identity.refresh(pair.refresh_token)
    await identity.authenticate(other.access_token)


async def test_logging_out_twice_is_harmless(identity: Identity, changes: list[Change]) -> None:
    principal = await principal_of(identity, "ada")
    await identity.logout(principal)
    await identity.logout(principal)
    assert [change.what for change in changes].count("session.revoked") == 1


async def test_an_access_token_expires_and_a_refresh_renews_it(
    identity: Identity, clock: Clock
) -> None:
    pair = await log_in(identity)
    clock.advance(3599)
    await identity.authenticate(pair.access_token)
    clock.advance(1)
    await assert_refused(identity, pair.access_token)
    renewed = await identity.refresh(pair.refresh_token)
    assert (await identity.authenticate(renewed.access_token)).username == "ada"


async def test_a_session_that_is_used_lives_on_and_an_idle_one_ends(
    identity: Identity, clock: Clock, database: Database
) -> None:
    idle = await log_in(identity)
    used = await identity.login("ada", PASSWORD)
    for _ in range(3):
        clock.advance(20 * 24 * 3600)
        used = await identity.refresh(used.refresh_token)
    with pytest.raises(SutazaiError, match="expired"):
        await identity.refresh(idle.refresh_token)
    assert await database.run(lambda connection: store.purge(connection, clock())) == 1
    await identity.authenticate(used.access_token)


async def test_a_refresh_carries_the_roles_of_now(identity: Identity) -> None:
    pair = await log_in(identity)
    principal = await identity.authenticate(pair.access_token)
    await identity.users.update(principal.user_id, roles=["viewer", "user"], tier="premium")
    renewed = await identity.refresh(pair.refresh_token)
    claims = jwt.decode(renewed.access_token, options={"verify_signature": False})
    assert claims["roles"] == ["user", "viewer"]
    assert claims["permissions"] == ["read", "execute"]


async def test_a_spent_refresh_token_that_comes_again_ends_the_whole_session(
    identity: Identity, changes: list[Change]
) -> None:
    first = await log_in(identity)
    second = await identity.refresh(first.refresh_token)
    third = await identity.refresh(second.refresh_token)
    await identity.authenticate(third.access_token)
    with pytest.raises(SutazaiError) as caught:
        await identity.refresh(first.refresh_token)
    assert caught.value.code is ErrorCode.UNAUTHORIZED
    for pair in (first, second, third):
        await assert_refused(identity, pair.access_token)
        with pytest.raises(SutazaiError):
            await identity.refresh(pair.refresh_token)
    assert [change.what for change in changes].count("session.reused") == 1


async def test_of_concurrent_refreshes_with_one_token_one_gets_the_next_pair(
    identity: Identity, make_identity: MakeIdentity
) -> None:
    pair = await log_in(identity)
    services = [identity, make_identity()]
    answers = await asyncio.gather(
        *(services[n % 2].refresh(pair.refresh_token) for n in range(12)),
        return_exceptions=True,
    )
    won = [answer for answer in answers if isinstance(answer, TokenPair)]
    assert len(won) == 1
    assert all(isinstance(answer, TokenPair | SutazaiError) for answer in answers)
    await assert_refused(identity, won[0].access_token)


async def test_every_change_is_told_with_its_actor_and_without_secrets(
    identity: Identity, changes: list[Change]
) -> None:
    pair = await log_in(identity)
    principal = await identity.authenticate(pair.access_token)
    await identity.refresh(pair.refresh_token)
    await identity.logout(principal)
    assert [(change.what, change.actor) for change in changes] == [
        ("user.created", "system"),
        ("session.created", principal.actor),
        ("session.refreshed", principal.actor),
        ("session.revoked", principal.actor),
    ]
    told = msgspec.json.encode([msgspec.to_builtins(change) for change in changes]).decode()
    assert PASSWORD not in told
    assert pair.refresh_token not in told
    assert "argon2" not in told


def test_tokens_do_not_show_in_a_repr() -> None:
    pair = TokenPair(access_token="the-access", refresh_token="the-refresh")
    assert "the-" not in repr(pair)
    assert "the-" not in str([pair])
