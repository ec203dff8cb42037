"""Idempotency and identity together, as the API puts them."""

import pytest

from sutazai.database import Database
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.identity.hooks import Call, Change
from sutazai.identity.service import Identity
from sutazai.limits.idempotency import Idempotency, Replayable
from tests.features.identity.conftest import PASSWORD, SECRET, principal_of


@pytest.fixture
def idempotency() -> Idempotency:
    return Idempotency(secret=SECRET)


def once(idempotency: Idempotency, body: bytes = b"{}") -> Replayable:
    claim = idempotency.claim("k", principal="p", method="POST", path="/", body=body)
    return idempotency.replayable(claim, seal=True)


async def test_a_user_is_created_once(
    identity: Identity, idempotency: Idempotency, changes: list[Change]
) -> None:
    first, again = once(idempotency), once(idempotency)
    users = [
        await identity.users.create(username="ada", password=PASSWORD, call=Call(once=call))
        for call in (first, again)
    ]
    assert users[0] == users[1]
    assert (first.replayed, again.replayed) == (False, True)
    assert [change.what for change in changes] == ["user.created"]


async def test_a_key_is_made_once_and_its_secret_comes_again(
    identity: Identity, idempotency: Idempotency
) -> None:
    owner = await principal_of(identity, "ada")
    made = [
        await identity.keys.create(owner, name="ci", call=Call(once=once(idempotency)))
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert len(await identity.keys.list(owner)) == 1


async def test_a_login_that_is_sent_again_opens_no_second_session(
    identity: Identity, idempotency: Idempotency
) -> None:
    await identity.users.create(username="ada", password=PASSWORD)
    first = await identity.login("ada", PASSWORD, call=Call(once=once(idempotency)))
    again = await identity.login("ada", PASSWORD, call=Call(once=once(idempotency)))
    assert first == again
    with pytest.raises(SutazaiError) as caught:
        await identity.login("ada", "wrong password", call=Call(once=once(idempotency)))
    assert caught.value.code is ErrorCode.UNAUTHORIZED


async def test_a_refresh_that_is_sent_again_is_not_a_reuse(
    identity: Identity, idempotency: Idempotency, database: Database
) -> None:
    await identity.users.create(username="ada", password=PASSWORD)
    pair = await identity.login("ada", PASSWORD)
    first = await identity.refresh(pair.refresh_token, call=Call(once=once(idempotency)))
    again = await identity.refresh(pair.refresh_token, call=Call(once=once(idempotency)))
    assert first == again
    await identity.authenticate(first.access_token)
    rows = await database.read(lambda c: c.exec_driver_sql("SELECT * FROM idempotency_keys").all())
    assert first.refresh_token not in repr(rows)
    # Without the key, or with it on another body, it is one.
    with pytest.raises(SutazaiError) as caught:
        await identity.refresh(pair.refresh_token, call=Call(once=once(idempotency, b"x")))
    assert caught.value.code is ErrorCode.VALIDATION_ERROR
    await identity.authenticate(first.access_token)
    with pytest.raises(SutazaiError):
        await identity.refresh(pair.refresh_token)
    with pytest.raises(SutazaiError):
        await identity.authenticate(first.access_token)
