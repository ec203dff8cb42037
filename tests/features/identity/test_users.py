import asyncio

import pytest

from sutazai.database import Database
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.identity.hooks import Change
from sutazai.identity.model import Principal, User, may, permissions_of, require
from sutazai.identity.passwords import Passwords
from sutazai.identity.service import Identity
from sutazai.identity.tokens import Tokens
from tests.features.identity.conftest import (
    PASSWORD,
    SECRET,
    Clock,
    MakeIdentity,
    principal_of,
)


async def make_admin(identity: Identity, username: str) -> User:
    return await identity.users.create(username=username, password=PASSWORD, roles=["admin"])


async def test_a_user_has_what_was_asked_for_and_modest_defaults(
    identity: Identity, clock: Clock
) -> None:
    made = await identity.users.create(
        username="Ada.L_1-2", password=PASSWORD, roles=["viewer", "developer"], tier="standard"
    )
    assert await identity.users.get(made.user_id) == made
    assert made.username == "Ada.L_1-2"
    assert made.roles == ("developer", "viewer")
    assert made.tier == "standard"
    assert made.enabled
    assert made.created_at == clock()
    plain = await identity.users.create(username="bob", password=PASSWORD)
    assert (plain.roles, plain.tier) == (("user",), "free")


async def test_users_are_listed_oldest_first_in_pages(identity: Identity, clock: Clock) -> None:
    for name in ("one", "two", "three"):
        await identity.users.create(username=name, password=PASSWORD)
        clock.advance(1)
    page = await identity.users.list(limit=2, offset=1)
    assert [user.username for user in page.users] == ["two", "three"]
    assert (page.total, page.limit, page.offset) == (3, 2, 1)


@pytest.mark.parametrize("taken", ["ada", "ADA"])
async def test_a_username_is_taken_in_every_case(identity: Identity, taken: str) -> None:
    await identity.users.create(username="Ada", password=PASSWORD)
    with pytest.raises(SutazaiError) as caught:
        await identity.users.create(username=taken, password=PASSWORD)
    assert caught.value.code is ErrorCode.CONFLICT


async def test_everything_wrong_is_told_at_once_with_a_detail_per_field(
    identity: Identity,
) -> None:
    with pytest.raises(SutazaiError) as caught:
        await identity.users.create(
            username="a b", password="short", roles=["admin", "king", "\ud800"], tier="gold"
        )
    assert caught.value.code is ErrorCode.VALIDATION_ERROR
    assert [d.field for d in caught.value.details] == ["username", "password", "roles", "tier"]


@pytest.mark.parametrize("username", ["", "ab", "a" * 65, "ада", "a\nbc", "abc\n", "a/b", "a\0b"])
async def test_odd_usernames_are_refused(identity: Identity, username: str) -> None:
    with pytest.raises(SutazaiError) as caught:
        await identity.users.create(username=username, password=PASSWORD)
    assert [detail.field for detail in caught.value.details] == ["username"]


@pytest.mark.parametrize("password", ["", "1234567", "x" * 1025, "with\0nul-inside", "\udc80" * 9])
async def test_what_may_not_be_a_password_is_refused(identity: Identity, password: str) -> None:
    with pytest.raises(SutazaiError) as caught:
        await identity.users.create(username="ada", password=password)
    assert [detail.field for detail in caught.value.details] == ["password"]


async def test_a_password_is_the_same_however_its_characters_are_composed(
    identity: Identity,
) -> None:
    await identity.users.create(username="ada", password="Gru\u0308\u00dfe \u2460 an alle")
    await identity.login("ada", "Gr\u00fc\u00dfe 1 an alle")


async def test_no_roles_at_all_is_refused(identity: Identity) -> None:
    with pytest.raises(SutazaiError) as caught:
        await identity.users.create(username="ada", password=PASSWORD, roles=[])
    assert [detail.field for detail in caught.value.details] == ["roles"]


async def test_a_role_that_is_taken_away_is_gone_at_the_next_request(
    identity: Identity, make_identity: MakeIdentity
) -> None:
    principal = await principal_of(identity, "ada")
    token = (await identity.login("ada", PASSWORD)).access_token
    other = make_identity()
    assert (await other.authenticate(token)).roles == ("user",)
    await identity.users.update(principal.user_id, roles=["viewer"], tier="premium")
    for service in (identity, other):
        now = await service.authenticate(token)
        assert (now.roles, now.tier) == (("viewer",), "premium")


async def test_a_new_password_ends_every_session_and_replaces_the_old_one(
    identity: Identity,
) -> None:
    await principal_of(identity, "ada")
    pair = await identity.login("ada", PASSWORD)
    principal = await identity.authenticate(pair.access_token)
    key = await identity.keys.create(principal, name="stays")
    await identity.users.update(principal.user_id, password="another password")
    with pytest.raises(SutazaiError):
        await identity.authenticate(pair.access_token)
    with pytest.raises(SutazaiError):
        await identity.refresh(pair.refresh_token)
    with pytest.raises(SutazaiError):
        await identity.login("ada", PASSWORD)
    await identity.login("ada", "another password")
    await identity.authenticate(key.secret)


async def test_a_disabled_user_is_out_at_once_and_starts_afresh_when_enabled(
    identity: Identity,
) -> None:
    await principal_of(identity, "ada")
    pair = await identity.login("ada", PASSWORD)
    principal = await identity.authenticate(pair.access_token)
    key = await identity.keys.create(principal, name="laptop")
    await identity.authenticate(key.secret)
    disabled = await identity.users.update(principal.user_id, enabled=False)
    assert not disabled.enabled
    for attempt in (
        identity.authenticate(pair.access_token),
        identity.authenticate(key.secret),
        identity.refresh(pair.refresh_token),
        identity.login("ada", PASSWORD),
        identity.keys.create(principal, name="while the request ran"),
    ):
        with pytest.raises(SutazaiError) as caught:
            await attempt
        assert caught.value.code is ErrorCode.UNAUTHORIZED
    await identity.users.update(principal.user_id, enabled=True)
    with pytest.raises(SutazaiError):
        await identity.authenticate(pair.access_token)
    await identity.login("ada", PASSWORD)


async def test_a_deleted_user_is_gone_with_sessions_and_keys(
    identity: Identity, database: Database
) -> None:
    await principal_of(identity, "ada")
    pair = await identity.login("ada", PASSWORD)
    principal = await identity.authenticate(pair.access_token)
    key = await identity.keys.create(principal, name="laptop")
    await identity.users.delete(principal.user_id)
    for attempt in (
        identity.authenticate(pair.access_token),
        identity.authenticate(key.secret),
        identity.refresh(pair.refresh_token),
        identity.login("ada", PASSWORD),
    ):
        with pytest.raises(SutazaiError) as caught:
            await attempt
        assert caught.value.code is ErrorCode.UNAUTHORIZED
    left = await database.read(
        lambda connection: connection.exec_driver_sql(
            "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM sessions),"
            " (SELECT count(*) FROM api_keys)"
        ).one()
    )
    assert tuple(left) == (0, 0, 0)
    # The name is free again, for somebody new.
    again = await identity.users.create(username="ada", password=PASSWORD)
    assert again.user_id != principal.user_id


async def test_there_is_no_such_user(identity: Identity) -> None:
    for attempt in (
        identity.users.get("nul\0"),
        identity.users.update("\ud800", tier="free"),
        identity.users.delete("x" * 1000),
        identity.users.get("user-x"),
        identity.users.update("user-x", tier="free"),
        identity.users.update("user-x"),
        identity.users.update("user-x", enabled=False),
        identity.users.delete("user-x"),
    ):
        with pytest.raises(SutazaiError) as caught:
            await attempt
        assert caught.value.code is ErrorCode.NOT_FOUND


async def test_the_last_enabled_admin_stays(identity: Identity) -> None:
    admin = await make_admin(identity, "root")
    other = await make_admin(identity, "other")
    await identity.users.update(other.user_id, enabled=False)
    for attempt in (
        identity.users.delete(admin.user_id),
        identity.users.update(admin.user_id, enabled=False),
        identity.users.update(admin.user_id, roles=["developer"]),
    ):
        with pytest.raises(SutazaiError) as caught:
            await attempt
        assert caught.value.code is ErrorCode.CONFLICT
    assert await identity.users.get(admin.user_id) == admin
    await identity.users.update(other.user_id, enabled=True)
    await identity.users.delete(admin.user_id)


async def test_two_admins_who_depose_each_other_leave_one(
    identity: Identity, make_identity: MakeIdentity
) -> None:
    one, two = await make_admin(identity, "one"), await make_admin(identity, "two")
    answers = await asyncio.gather(
        identity.users.update(two.user_id, roles=["user"]),
        make_identity().users.delete(one.user_id),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, SutazaiError)]
    assert [error.code for error in refused] == [ErrorCode.CONFLICT]


async def test_the_first_start_makes_an_admin_with_a_password_shown_once(
    identity: Identity, changes: list[Change]
) -> None:
    password = await identity.users.ensure_admin()
    assert password is not None
    assert password.isalnum(), "easy to copy, and no option of a command line"
    pair = await identity.login("admin", password)
    principal = await identity.authenticate(pair.access_token)
    assert (principal.roles, principal.tier) == (("admin",), "premium")
    assert await identity.users.ensure_admin() is None
    assert await identity.users.ensure_admin(PASSWORD) is None
    assert password not in repr(changes)


async def test_the_first_start_takes_the_password_given(identity: Identity) -> None:
    with pytest.raises(SutazaiError) as caught:
        await identity.users.ensure_admin("short")
    assert caught.value.code is ErrorCode.VALIDATION_ERROR
    assert await identity.users.ensure_admin(PASSWORD) is None
    await identity.login("admin", PASSWORD)


async def test_of_several_processes_that_start_together_one_makes_the_admin(
    identity: Identity, make_identity: MakeIdentity
) -> None:
    services = [identity, make_identity(), make_identity()]
    answers = await asyncio.gather(*(service.users.ensure_admin() for service in services))
    shown = [answer for answer in answers if answer is not None]
    assert len(shown) == 1
    await identity.login("admin", shown[0])
    assert (await identity.users.list()).total == 1


async def test_a_hash_of_yesterdays_strength_is_replaced_at_login(
    identity: Identity, database: Database
) -> None:
    await identity.users.create(username="ada", password=PASSWORD)

    async def stored() -> str:
        return str(
            await database.read(
                lambda c: c.exec_driver_sql("SELECT password_hash FROM users").scalar_one()
            )
        )

    before = await stored()
    stronger = Identity(
        database=database,
        tokens=Tokens(secret=SECRET),
        hasher=Passwords(memory_kib=16, time_cost=2, parallelism=1),
    )
    await stronger.login("ada", PASSWORD)
    after = await stored()
    assert "m=8,t=1" in before
    assert "m=16,t=2" in after
    await stronger.login("ada", PASSWORD)
    assert await stored() == after
    assert PASSWORD not in after
    stronger.close()


async def test_a_storm_of_logins_is_bounded() -> None:
    hasher = Passwords(memory_kib=8, time_cost=1, parallelism=1)
    answers = await asyncio.gather(
        *(hasher.hash(PASSWORD) for _ in range(100)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, SutazaiError)]
    assert len(refused) == 36
    assert {error.code for error in refused} == {ErrorCode.SERVICE_UNAVAILABLE}
    hasher.close()


def test_roles_grant_what_the_specification_says() -> None:
    resources = ("agents", "tasks", "workflows", "results", "metrics", "users")
    granted = {
        role: {
            (permission, resource)
            for permission in ("read", "write", "execute")
            for resource in resources
            if may([role], permission, resource)
        }
        for role in ("admin", "developer", "user", "viewer", "stranger")
    }
    assert len(granted["admin"]) == 18
    assert granted["developer"] == {
        (permission, resource)
        for permission in ("read", "write", "execute")
        for resource in ("agents", "tasks", "workflows")
    }
    assert granted["user"] == {
        ("read", "tasks"),
        ("execute", "tasks"),
        ("read", "results"),
        ("execute", "results"),
    }
    assert granted["viewer"] == {("read", "tasks"), ("read", "results"), ("read", "metrics")}
    assert granted["stranger"] == set()


def test_roles_add_up_without_mixing() -> None:
    both = ("developer", "viewer")
    assert may(both, "write", "agents")
    assert may(both, "read", "metrics")
    assert not may(both, "write", "metrics")
    assert permissions_of(("viewer", "user")) == ("read", "execute")
    assert permissions_of(("viewer", "admin")) == ("*",)
    assert permissions_of(()) == ()


def test_what_is_missing_is_named() -> None:
    viewer = Principal(user_id="u", username="v", roles=("viewer",), tier="free", session_id="s")
    require(viewer, "read", "metrics")
    with pytest.raises(SutazaiError, match=r"'write' on 'agents'.*viewer") as caught:
        require(viewer, "write", "agents")
    assert caught.value.code is ErrorCode.FORBIDDEN
