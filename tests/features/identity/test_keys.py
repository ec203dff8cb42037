import pytest

from sutazai.clock import SECOND
from sutazai.database import Database
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.identity.hooks import Change
from sutazai.identity.service import Identity
from tests.features.identity.conftest import PASSWORD, Clock, principal_of


async def assert_refused(identity: Identity, secret: str) -> None:
    with pytest.raises(SutazaiError) as caught:
        await identity.authenticate(secret)
    assert caught.value.code is ErrorCode.UNAUTHORIZED


async def test_a_key_lives_from_its_making_to_its_deletion(
    identity: Identity, changes: list[Change]
) -> None:
    owner = await principal_of(identity, "ada")
    made = await identity.keys.create(owner, name="laptop")
    assert made.secret.startswith("sk-sutazai-")
    assert made.secret.startswith(made.key.hint)
    principal = await identity.authenticate(made.secret)
    assert principal.user_id == owner.user_id
    assert principal.roles == owner.roles
    assert (principal.key_id, principal.session_id) == (made.key.key_id, None)
    assert [key.name for key in await identity.keys.list(principal)] == ["laptop"]
    await identity.keys.delete(principal, made.key.key_id)
    await assert_refused(identity, made.secret)
    assert await identity.keys.list(owner) == ()
    told = [change for change in changes if change.what.startswith("api_key")]
    assert [change.what for change in told] == ["api_key.created", "api_key.deleted"]
    assert made.secret not in repr(told)


async def test_a_key_expires(identity: Identity, clock: Clock) -> None:
    owner = await principal_of(identity, "ada")
    made = await identity.keys.create(owner, name="short", expires_at=clock() + 2 * SECOND)
    await identity.authenticate(made.secret)
    clock.advance(1.9)
    await identity.authenticate(made.secret)
    clock.advance(0.1)
    await assert_refused(identity, made.secret)


async def test_the_secret_is_shown_once_and_stored_nowhere(
    identity: Identity, database: Database
) -> None:
    owner = await principal_of(identity, "ada")
    made = await identity.keys.create(owner, name="laptop")
    rows = await database.read(lambda c: c.exec_driver_sql("SELECT * FROM api_keys").all())
    assert made.secret not in repr(rows)
    assert made.secret not in repr(made)
    assert made.secret not in repr(await identity.keys.list(owner))


async def test_when_a_key_was_last_used_is_noted_once_a_minute(
    identity: Identity, clock: Clock
) -> None:
    owner = await principal_of(identity, "ada")
    made = await identity.keys.create(owner, name="laptop")
    assert made.key.last_used_at is None
    start = clock()
    seen = []
    for _ in range(5):
        await identity.authenticate(made.secret)
        seen.append((await identity.keys.list(owner))[0].last_used_at)
        clock.advance(30)
    assert seen == [start, start, start + 60 * SECOND, start + 60 * SECOND, start + 120 * SECOND]


async def test_keys_of_others_do_not_exist_but_for_an_admin(identity: Identity) -> None:
    owner = await principal_of(identity, "ada")
    stranger = await principal_of(identity, "eve")
    made = await identity.keys.create(owner, name="laptop")
    with pytest.raises(SutazaiError) as caught:
        await identity.keys.delete(stranger, made.key.key_id)
    assert caught.value.code is ErrorCode.NOT_FOUND
    with pytest.raises(SutazaiError) as caught:
        await identity.keys.delete(stranger, "nul\0")
    assert caught.value.code is ErrorCode.NOT_FOUND
    with pytest.raises(SutazaiError) as caught:
        await identity.keys.list(stranger, user_id=owner.user_id)
    assert caught.value.code is ErrorCode.FORBIDDEN
    await identity.users.create(username="root", password=PASSWORD, roles=["admin"])
    token = (await identity.login("root", PASSWORD)).access_token
    admin = await identity.authenticate(token)
    assert await identity.keys.list(admin, user_id=owner.user_id) == (made.key,)
    await identity.keys.delete(admin, made.key.key_id)
    await assert_refused(identity, made.secret)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "two\nlines", "nul\0", "\ud800"])
async def test_odd_names_are_refused(identity: Identity, name: str) -> None:
    owner = await principal_of(identity, "ada")
    with pytest.raises(SutazaiError) as caught:
        await identity.keys.create(owner, name=name)
    assert [detail.field for detail in caught.value.details] == ["name"]


async def test_a_key_cannot_be_made_expired(identity: Identity, clock: Clock) -> None:
    owner = await principal_of(identity, "ada")
    with pytest.raises(SutazaiError) as caught:
        await identity.keys.create(owner, name="late", expires_at=clock())
    assert [detail.field for detail in caught.value.details] == ["expires_at"]


@pytest.mark.parametrize("secret", ["sk-sutazai-", "sk-sutazai-" + "x" * 43, "sk-sutazai-\ud800\0"])
async def test_an_unknown_key_is_refused(identity: Identity, secret: str) -> None:
    await assert_refused(identity, secret)


async def test_a_key_has_no_session_to_log_out_of(identity: Identity) -> None:
    owner = await principal_of(identity, "ada")
    made = await identity.keys.create(owner, name="laptop")
    principal = await identity.authenticate(made.secret)
    with pytest.raises(SutazaiError) as caught:
        await identity.logout(principal)
    assert caught.value.code is ErrorCode.BAD_REQUEST
