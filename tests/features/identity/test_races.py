"""What happens when two things happen at once, made to happen."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sutazai.database import Connection, Database
from sutazai.database.postgresql import PostgresqlDatabase, postgresql_engine
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.identity.hooks import Change
from sutazai.identity.passwords import Passwords
from sutazai.identity.service import Identity
from sutazai.identity.tokens import Tokens
from tests.features.identity.conftest import PASSWORD, SECRET


async def nothing() -> None:
    """Nothing happens meanwhile."""


class SlowPasswords(Passwords):
    """Lets something happen while a password is being hashed or checked."""

    def __init__(self) -> None:
        super().__init__(memory_kib=8, time_cost=1, parallelism=1)
        self.meanwhile: Callable[[], Awaitable[object]] = nothing

    async def hash(self, password: str) -> str:
        result = await super().hash(password)
        await self.meanwhile()
        return result

    async def verify(self, password: str, password_hash: str | None) -> tuple[bool, str | None]:
        result = await super().verify(password, password_hash)
        await self.meanwhile()
        return result


@pytest.fixture
def slow() -> SlowPasswords:
    return SlowPasswords()


@pytest.fixture
async def slow_identity(database: Database, slow: SlowPasswords) -> AsyncIterator[Identity]:
    identity = Identity(database=database, tokens=Tokens(secret=SECRET), hasher=slow)
    yield identity
    identity.close()


async def assert_wrong(attempt: Awaitable[object]) -> None:
    with pytest.raises(SutazaiError) as caught:
        await attempt
    assert caught.value.code is ErrorCode.UNAUTHORIZED


async def test_a_password_changed_while_it_is_checked_opens_no_session(
    identity: Identity, slow_identity: Identity, slow: SlowPasswords, changes: list[Change]
) -> None:
    user = await identity.users.create(username="ada", password=PASSWORD)
    slow.meanwhile = lambda: identity.users.update(user.user_id, password="another password")
    await assert_wrong(slow_identity.login("ada", PASSWORD))
    slow.meanwhile = lambda: identity.users.update(user.user_id, enabled=False)
    await assert_wrong(slow_identity.login("ada", "another password"))
    slow.meanwhile = lambda: identity.users.update(user.user_id, enabled=True)
    await assert_wrong(slow_identity.login("ada", "another password"))
    slow.meanwhile = lambda: identity.users.delete(user.user_id)
    await assert_wrong(slow_identity.login("ada", "another password"))
    assert "session.created" not in [change.what for change in changes]


async def test_no_admin_is_made_beside_a_user_who_came_first(
    identity: Identity, slow_identity: Identity, slow: SlowPasswords
) -> None:
    slow.meanwhile = lambda: identity.users.create(username="bob", password=PASSWORD)
    assert await slow_identity.users.ensure_admin() is None
    assert [user.username for user in (await identity.users.list()).users] == ["bob"]


async def test_an_admin_cannot_go_while_the_other_is_going(postgres_url: str) -> None:
    """On PostgreSQL, where units run side by side; the first waits at a gate of the test's."""
    database = PostgresqlDatabase(postgres_url)
    at_the_gate = asyncio.Event()

    def wait(connection: Connection, change: Change) -> None:
        if change.what == "user.deleted":
            at_the_gate.set()
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1)")

    hasher = Passwords(memory_kib=8, time_cost=1, parallelism=1)
    tokens = Tokens(secret=SECRET)
    gated = Identity(database=database, tokens=tokens, hasher=hasher, on_change=wait)
    free = Identity(database=database, tokens=tokens, hasher=hasher)
    one = await free.users.create(username="one", password=PASSWORD, roles=["admin"])
    two = await free.users.create(username="two", password=PASSWORD, roles=["admin"])
    gate = postgresql_engine(postgres_url, size=1)
    async with gate.connect() as keeper:
        await keeper.exec_driver_sql("SELECT pg_advisory_lock(1)")
        first = asyncio.create_task(gated.users.delete(one.user_id))
        await at_the_gate.wait()
        second = asyncio.create_task(free.users.delete(two.user_id))
        waiting = 0
        while waiting < 2 and not second.done():
            query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            waiting = (await keeper.exec_driver_sql(query)).scalar_one()
        assert not second.done()
        await keeper.exec_driver_sql("SELECT pg_advisory_unlock(1)")
    await first
    with pytest.raises(SutazaiError) as caught:
        await second
    assert caught.value.code is ErrorCode.CONFLICT
    await gate.dispose()
    await database.close()
    hasher.close()
