import asyncio

import pytest

from sutazai.database import Database
from sutazai.errors import SutazaiError
from sutazai.identity.cache import Found, PrincipalCache
from sutazai.identity.model import Principal
from sutazai.identity.service import Identity
from tests.features.identity.conftest import PASSWORD, Clock

ADA = Principal(user_id="ada", username="ada", roles=(), tier="free")


class LookUp:
    """Counts the look-ups and lets them through when told to."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = asyncio.Event()
        self.error: SutazaiError | None = None

    async def __call__(self, _credential: str) -> Found:
        self.count += 1
        await self.gate.wait()
        if self.error:
            raise self.error
        return Found(ADA, None)


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_change_that_no_signal_told_of_shows_within_five_seconds(
    identity: Identity, database: Database, clock: Clock
) -> None:
    await identity.users.create(username="ada", password=PASSWORD)
    token = (await identity.login("ada", PASSWORD)).access_token
    await identity.authenticate(token)
    await database.run(lambda c: c.exec_driver_sql("UPDATE users SET enabled = false"))
    clock.advance(4.99)
    await identity.authenticate(token)
    clock.advance(0.01)
    with pytest.raises(SutazaiError):
        await identity.authenticate(token)


async def test_a_clock_that_is_set_back_does_not_keep_a_principal_alive(clock: Clock) -> None:
    cache, look_up = PrincipalCache(now=clock), LookUp()
    look_up.gate.set()
    await cache.load("token", look_up)
    assert cache.get("token") is ADA
    clock.advance(-3600)
    assert cache.get("token") is None


async def test_concurrent_misses_share_one_look_up(clock: Clock) -> None:
    cache, look_up = PrincipalCache(now=clock), LookUp()
    waiting = [asyncio.create_task(cache.load("token", look_up)) for _ in range(50)]
    await settle()
    waiting[0].cancel()
    look_up.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [ADA] * 49
    assert look_up.count == 1


async def test_a_refusal_goes_to_all_who_wait_and_is_not_remembered(clock: Clock) -> None:
    cache, look_up = PrincipalCache(now=clock), LookUp()
    look_up.error = SutazaiError("UNAUTHORIZED", "no")  # type: ignore[arg-type]  # any will do
    waiting = [asyncio.create_task(cache.load("token", look_up)) for _ in range(3)]
    await settle()
    look_up.gate.set()
    for task in waiting:
        with pytest.raises(SutazaiError):
            await task
    look_up.error = None
    assert await cache.load("token", look_up) is ADA
    assert look_up.count == 2


async def test_what_was_looked_up_before_a_change_is_not_kept_after_it(clock: Clock) -> None:
    cache, before, after = PrincipalCache(now=clock), LookUp(), LookUp()
    early = asyncio.create_task(cache.load("token", before))
    await settle()
    cache.forget("ada")
    late = asyncio.create_task(cache.load("token", after))
    await settle()
    assert (before.count, after.count) == (1, 1)
    before.gate.set()
    await early
    assert cache.get("token") is None
    after.gate.set()
    await late
    assert cache.get("token") is ADA
    cache.forget("ada")
    assert cache.get("token") is None
    assert len(cache) == 0


async def test_the_cache_is_bounded_and_keeps_who_is_active(clock: Clock) -> None:
    cache, look_up = PrincipalCache(now=clock, most=10), LookUp()
    look_up.gate.set()
    await cache.load("hot", look_up)
    for number in range(100):
        await cache.load(f"token {number}", look_up)
        assert cache.get("hot") is ADA
    assert len(cache) == 10


async def test_a_principal_is_not_kept_beyond_its_credential(clock: Clock) -> None:
    cache = PrincipalCache(now=clock)
    ends = clock() + 1_000_000

    async def look_up(_credential: str) -> Found:
        return Found(ADA, ends)

    await cache.load("token", look_up)
    clock.advance(0.999999)
    assert cache.get("token") is ADA
    clock.advance(0.000001)
    assert cache.get("token") is None
