"""How many deliveries are under way at once."""

from sutazai.callbacks.lanes import Lanes
from sutazai.clock import SECOND


class Clock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_host_takes_so_many_at_once_and_another_its_own() -> None:
    lanes = Lanes(most_per_host=2, most_per_user=10)
    assert [lanes.enter(host="a", user_id="u") is None for _ in range(3)] == [True, True, False]
    assert lanes.enter(host="b", user_id="u") is None
    lanes.leave(host="a", user_id="u", took=0.1)
    assert lanes.enter(host="a", user_id="u") is None


def test_a_user_has_so_many_under_way_whatever_the_hosts() -> None:
    lanes = Lanes(most_per_host=4, most_per_user=3)
    assert [lanes.enter(host=f"h{n}", user_id="u") is None for n in range(4)] == [
        True,
        True,
        True,
        False,
    ]
    assert lanes.enter(host="h9", user_id="v") is None
    # Who found no place took none: not at the host either.
    for n in range(3):
        lanes.leave(host=f"h{n}", user_id="u", took=0.1)
    assert lanes.enter(host="h3", user_id="u") is None


def test_who_waits_comes_back_one_after_the_other_as_fast_as_the_lane_moves() -> None:
    lanes = Lanes(most_per_host=2, most_per_user=10, now=Clock())
    lanes.enter(host="slow", user_id="u")
    for _ in range(50):
        assert lanes.enter(host="slow", user_id="u") is None
        lanes.leave(host="slow", user_id="u", took=20.0)
    lanes.enter(host="slow", user_id="u")
    waits = [lanes.enter(host="slow", user_id="u") or 0 for _ in range(3)]
    assert [round(wait / SECOND) for wait in waits] == [5, 10, 15]


def test_nobody_waits_longer_than_a_minute_and_a_long_line_does_not_come_back_at_once() -> None:
    lanes = Lanes(most_per_host=1, most_per_user=10, now=Clock())
    lanes.enter(host="a", user_id="u")
    waits = [lanes.enter(host="a", user_id="u") or 0 for _ in range(5_000)]
    assert min(waits) > 0
    assert max(waits) <= 60 * SECOND
    assert len(set(waits[-1000:])) > 900


def test_lanes_that_nobody_uses_are_forgotten() -> None:
    clock = Clock()
    lanes = Lanes(now=clock)
    for n in range(1000):
        lanes.enter(host=f"h{n}", user_id=f"u{n}")
        lanes.leave(host=f"h{n}", user_id=f"u{n}", took=0.1)
    assert not lanes._lanes
