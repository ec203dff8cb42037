import asyncio

import pytest

from sutazai.database import Database
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.identity.brake import Brake, network_of
from sutazai.identity.passwords import Passwords
from sutazai.identity.service import Identity
from sutazai.identity.tokens import Tokens
from tests.features.identity.conftest import PASSWORD, SECRET, Clock


class Slept:
    """Stands in for sleeping: notes for how long, in seconds, and goes on at once."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.times.append(seconds)


@pytest.fixture
def slept() -> Slept:
    return Slept()


@pytest.fixture
def brake(clock: Clock, slept: Slept) -> Brake:
    return Brake(now=clock, sleep=slept, most=100)


async def wrong() -> str | None:
    return None


async def right() -> str:
    return "in"


async def fail(brake: Brake, username: str = "ada", address: str = "192.0.2.1") -> None:
    assert await brake.attempt(username, address, wrong) is None


async def test_a_few_wrong_answers_come_at_once_and_more_are_held_longer_and_longer(
    brake: Brake, slept: Slept, clock: Clock
) -> None:
    for _ in range(11):
        await fail(brake)
        clock.advance(2)
    assert slept.times == [0.25, 0.5, 1, 2, 2, 2]


async def test_the_right_password_is_not_held_and_clears_the_count(
    brake: Brake, slept: Slept, clock: Clock
) -> None:
    for _ in range(8):
        await fail(brake)
        clock.advance(2)
    slept.times.clear()
    assert await brake.attempt("ada", "192.0.2.1", right) == "in"
    for _ in range(5):
        await fail(brake)
    assert slept.times == []


async def test_after_fifty_wrong_passwords_the_right_one_opens(
    database: Database, clock: Clock, slept: Slept
) -> None:
    identity = Identity(
        database=database,
        tokens=Tokens(secret=SECRET),
        hasher=Passwords(memory_kib=8, time_cost=1, parallelism=1),
        brake=Brake(now=clock, sleep=slept),
    )
    await identity.users.create(username="ada", password=PASSWORD)
    codes = []
    for number in range(50):
        with pytest.raises(SutazaiError) as caught:
            await identity.login("ada", f"wrong password {number}", address="192.0.2.1")
        codes.append(caught.value.code)
    assert codes.count(ErrorCode.RATE_LIMIT_EXCEEDED) > 30
    # From elsewhere at once, from the attacker's own address once a hold is over.
    await identity.login("ada", PASSWORD, address="198.51.100.7")
    clock.advance(2)
    held = len(slept.times)
    await identity.login("ada", PASSWORD, address="192.0.2.1")
    assert len(slept.times) == held
    identity.close()


async def test_a_flood_is_told_to_come_again_in_two_seconds(brake: Brake, clock: Clock) -> None:
    checked = 0

    async def count() -> None:
        nonlocal checked
        checked += 1

    for _ in range(9):
        await brake.attempt("ada", "192.0.2.1", count)
    for _ in range(100):
        with pytest.raises(SutazaiError) as caught:
            await brake.attempt("ada", "192.0.2.1", count)
        assert caught.value.code is ErrorCode.RATE_LIMIT_EXCEEDED
        assert caught.value.retry_after == 2
    assert checked == 9
    clock.advance(2)
    await brake.attempt("ada", "192.0.2.1", count)
    assert checked == 10


async def test_only_so_many_attempts_are_open_for_a_name_and_for_an_address(brake: Brake) -> None:
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "in"

    async def refused(username: str, address: str) -> bool:
        try:
            await brake.attempt(username, address, right)
        except SutazaiError:
            return True
        return False

    def begin(username: str) -> asyncio.Task[str | None]:
        return asyncio.create_task(brake.attempt(username, "192.0.2.1", slow))

    open_ = [begin("ada") for _ in range(4)]
    await asyncio.sleep(0)
    assert await refused("ada", "192.0.2.1")
    assert not await refused("ada", "192.0.2.2")
    assert not await refused("bob", "192.0.2.1")
    open_ += [begin(f"user{n}") for n in range(12)]
    await asyncio.sleep(0)
    assert await refused("bob", "192.0.2.1")
    gate.set()
    assert await asyncio.gather(*open_) == ["in"] * 16
    assert not await refused("bob", "192.0.2.1")


async def test_trying_many_names_from_one_address_is_slowed_too(
    brake: Brake, slept: Slept, clock: Clock
) -> None:
    for number in range(24):
        await fail(brake, username=f"user{number}")
        clock.advance(2)
    assert slept.times == [0.25, 0.5, 1, 2]
    # An account of one's own does not buy guesses at others.
    await brake.attempt("mallory", "192.0.2.1", right)
    await fail(brake, username="next")
    assert slept.times[-1] == 2


async def test_hanging_up_early_gains_nothing(clock: Clock) -> None:
    asleep = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    brake = Brake(now=clock, sleep=sleep)
    for _ in range(5):
        await fail(brake)
    for _ in range(4):
        attempt = asyncio.create_task(brake.attempt("ada", "192.0.2.1", wrong))
        await asleep.wait()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        asleep.clear()
    with pytest.raises(SutazaiError):
        await brake.attempt("ada", "192.0.2.1", right)


async def test_a_check_that_fails_gives_its_place_back(brake: Brake) -> None:
    async def broken() -> str:
        raise RuntimeError("the database is away")

    for _ in range(30):
        with pytest.raises(RuntimeError):
            await brake.attempt("ada", "192.0.2.1", broken)
    assert await brake.attempt("ada", "192.0.2.1", right) == "in"


async def test_failures_are_forgotten_after_a_quarter_of_an_hour(
    brake: Brake, slept: Slept, clock: Clock
) -> None:
    for _ in range(6):
        await fail(brake)
    assert slept.times == [0.25]
    clock.advance(15 * 60 + 1)
    for _ in range(5):
        await fail(brake)
    assert slept.times == [0.25]


async def test_an_ipv6_network_counts_as_one(brake: Brake, slept: Slept) -> None:
    for number in range(6):
        await fail(brake, address=f"2001:db8:0:1::{number}")
    assert slept.times == [0.25]
    await fail(brake, address="2001:db8:0:2::1")
    assert slept.times == [0.25]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix socket" * 20, ("unix socket" * 20)[:64]),
        (None, ""),
    ],
)
def test_addresses_are_grouped_by_who_controls_them(address: str | None, network: str) -> None:
    assert network_of(address) == network


async def test_memory_is_bounded(brake: Brake) -> None:
    for number in range(1000):
        await fail(brake, username=f"user{number}", address=f"10.0.{number // 250}.{number % 250}")
    assert len(brake) <= 100


async def test_an_empty_username_does_not_count_twice(brake: Brake, slept: Slept) -> None:
    for _ in range(5):
        await fail(brake, username="")
    assert slept.times == []
