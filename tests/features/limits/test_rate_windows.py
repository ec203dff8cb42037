"""Sliding windows: the same behaviour in this process and in Redis, and what is only here."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sutazai.adapters.redis_server import RedisServer
from sutazai.adapters.redis_windows import RedisWindows
from sutazai.clock import SECOND
from sutazai.limits.windows import WINDOW, Charge, Count, LocalWindows
from tests.valkey import ValkeyServer

SHORT = SECOND // 5


class Windows(Protocol):
    async def charge(self, charge: Charge) -> Count | None: ...

    async def take_back(self, key: str) -> Count | None: ...


class Local:
    """`LocalWindows` as the others are called."""

    def __init__(self) -> None:
        self._windows = LocalWindows(window=SHORT)

    async def charge(self, charge: Charge) -> Count | None:
        return self._windows.charge(charge)

    async def take_back(self, key: str) -> Count | None:
        return self._windows.take_back(key)


@pytest.fixture(params=["local", "redis"])
async def windows(request: pytest.FixtureRequest) -> AsyncIterator[Windows]:
    """With windows of a fifth of a second."""
    if request.param == "local":
        yield Local()
        return
    valkey: ValkeyServer = request.getfixturevalue("valkey")
    server = RedisServer(valkey.url, installation="tests")
    shared = RedisWindows(server, window=SHORT, seconds=10)
    yield shared
    await shared.close()
    await server.close()


async def charged(windows: Windows, key: str, limit: int) -> Count:
    count = await windows.charge(Charge(key, limit))
    assert count is not None
    return count


async def test_a_key_gets_its_limit_and_no_more(windows: Windows) -> None:
    counts = [await charged(windows, "a", 3) for _ in range(5)]
    assert [(one.admitted, one.used) for one in counts] == [
        (True, 1),
        (True, 2),
        (True, 3),
        (False, 3),
        (False, 3),
    ]
    assert all(0 < one.frees_in <= SHORT for one in counts)
    assert (await charged(windows, "b", 3)).used == 1


async def test_charges_at_once_are_counted_one_by_one(windows: Windows) -> None:
    counts = await asyncio.gather(*(charged(windows, "a", 7) for _ in range(20)))
    assert sum(one.admitted for one in counts) == 7


async def test_a_place_is_free_again_when_its_charge_has_left_the_window(windows: Windows) -> None:
    await charged(windows, "a", 2)
    await asyncio.sleep(0.6 * SHORT / SECOND)  # time itself is what slides the window
    await charged(windows, "a", 2)
    full = await charged(windows, "a", 2)
    assert not full.admitted
    await asyncio.sleep((full.frees_in + 1000) / SECOND)  # as above
    again = await charged(windows, "a", 2)
    assert again.admitted
    assert again.used <= 2


async def test_what_was_refused_takes_no_place(windows: Windows) -> None:
    await charged(windows, "a", 1)
    for _ in range(5):
        last = await charged(windows, "a", 1)
    await asyncio.sleep((last.frees_in + 1000) / SECOND)  # time itself is what slides the window
    assert (await charged(windows, "a", 1)).admitted


async def test_a_charge_can_be_taken_back(windows: Windows) -> None:
    await charged(windows, "a", 1)
    count = await windows.take_back("a")
    assert count == Count(True, 0, 0)
    assert (await charged(windows, "a", 1)).admitted
    assert await windows.take_back("never charged") == Count(True, 0, 0)


async def test_a_look_counts_nothing(windows: Windows) -> None:
    assert await charged(windows, "a", 0) == Count(False, 0, 0)
    await charged(windows, "a", 5)
    assert (await charged(windows, "a", 0)).used == 1
    assert (await charged(windows, "a", 5)).used == 2


@given(
    steps=st.lists(st.tuples(st.integers(0, WINDOW // 2), st.sampled_from("ab")), max_size=60),
    limit=st.integers(1, 6),
)
def test_no_minute_ever_holds_more_than_the_limit(steps: list[tuple[int, str]], limit: int) -> None:
    now = 0
    windows = LocalWindows(now=lambda: now)
    admitted: dict[str, list[int]] = {"a": [], "b": []}
    for pause, key in steps:
        now += pause
        count = windows.charge(Charge(key, limit))
        within = [moment for moment in admitted[key] if now - moment < WINDOW]
        assert count.admitted == (len(within) < limit)
        if count.admitted:
            admitted[key].append(now)
            within.append(now)
        assert count.used == len(within)
        assert count.frees_in == within[0] + WINDOW - now


def test_a_flood_of_keys_is_forgotten_from_its_beginning() -> None:
    windows = LocalWindows(most=100)
    for n in range(1_000):
        windows.charge(Charge(f"address:{n}", 5))
    assert len(windows) == 100
    assert windows.charge(Charge("address:999", 5)).used == 2


def test_what_is_over_takes_no_memory() -> None:
    now = 0
    windows = LocalWindows(now=lambda: now)
    for n in range(1_000):
        windows.charge(Charge(str(n), 5))
    now = WINDOW
    windows.charge(Charge("new", 5))
    assert len(windows) == 1
