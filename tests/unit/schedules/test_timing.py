"""When a schedule is due, also on the days on which the clocks are changed."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sutazai import clock
from sutazai.clock import SECOND
from sutazai.schedules.model import Timing
from sutazai.schedules.timing import (
    MOST_COUNTED,
    newest_due,
    next_due,
    problem_of_cron,
    problem_of_zone,
)

BERLIN = "Europe/Berlin"
ZONES = (BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC")
DAY = 24 * 3600 * SECOND
# Both changes of the year, in both hemispheres, lie within.
YEAR = clock.from_datetime(datetime(2026, 1, 1, tzinfo=UTC))


def due(cron: str, zone: str, after: str, number: int = 4) -> list[str]:
    """The next due times in local time."""
    timing = Timing(cron=cron, timezone=zone)
    moment = clock.from_datetime(datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone)))
    found = []
    for _ in range(number):
        following = next_due(timing, moment)
        assert following is not None
        moment = following
        found.append(local(moment, zone).isoformat(timespec="minutes"))
    return found


def local(moment: int, zone: str) -> datetime:
    return datetime.fromtimestamp(moment // SECOND, ZoneInfo(zone))


def test_a_time_that_the_clocks_leave_out_counts_at_the_end_of_the_gap() -> None:
    assert due("30 2 * * *", BERLIN, "2026-03-28T12:00", 2) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]
    # Twenty times at once are one.
    assert due("*/3 2 * * *", BERLIN, "2026-03-28T12:00", 2) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:00+02:00",
    ]


def test_every_hour_is_every_hour_when_the_clocks_are_changed() -> None:
    assert due("0 * * * *", BERLIN, "2026-03-29T00:30", 3) == [
        "2026-03-29T01:00+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-29T04:00+02:00",
    ]
    assert due("0 * * * *", BERLIN, "2026-10-25T01:30", 3) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T03:00+01:00",
    ]


@pytest.mark.parametrize("cron", ["30 2 * * *", "30 2,14 25 10 *", "*/30 2 25 * sun"])
def test_a_time_that_comes_twice_counts_the_first_time(cron: str) -> None:
    found = due(cron, BERLIN, "2026-10-24T23:00", 3)
    assert "2026-10-25T02:30+02:00" in found
    assert not any(one.startswith("2026-10-25T02") and one.endswith("+01:00") for one in found)


@given(
    cron=st.tuples(st.integers(0, 59), st.integers(0, 23)),
    zone=st.sampled_from(ZONES),
    day=st.integers(0, 364),
)
@example(cron=(30, 2), zone=BERLIN, day=87)
@example(cron=(30, 2), zone=BERLIN, day=297)
@example(cron=(45, 1), zone="Australia/Lord_Howe", day=93)
@example(cron=(15, 2), zone="Australia/Lord_Howe", day=276)
@settings(deadline=None)
def test_a_time_of_day_comes_once_a_day_whatever_the_clocks_do(
    cron: tuple[int, int], zone: str, day: int
) -> None:
    minute, hour = cron
    timing = Timing(cron=f"{minute} {hour} * * *", timezone=zone)
    moment = YEAR + day * DAY
    days = []
    for _ in range(4):
        following = next_due(timing, moment)
        assert following is not None
        assert following > moment
        shown = local(following, zone)
        wanted = datetime(shown.year, shown.month, shown.day, hour, minute, tzinfo=ZoneInfo(zone))
        there_is_such_a_time = local(clock.from_datetime(wanted), zone) == wanted
        if there_is_such_a_time:
            assert following == clock.from_datetime(wanted)
        else:
            assert shown.utcoffset() != local(following - SECOND, zone).utcoffset()
        days.append(shown.date())
        moment = following
    assert all((after - before).days == 1 for before, after in pairwise(days))


@given(
    cron=st.sampled_from(["*/7 * * * *", "0 */5 * * *", "30 2 * * *", "15 1-3 * * *", "0 0 L * *"]),
    zone=st.sampled_from(ZONES),
    start=st.integers(YEAR, YEAR + 365 * DAY),
    lead=st.integers(0, 3 * DAY),
)
@settings(deadline=None)
def test_the_newest_due_time_is_the_last_that_walking_there_meets(
    cron: str, zone: str, start: int, lead: int
) -> None:
    timing = Timing(cron=cron, timezone=zone)
    first = next_due(timing, start)
    assert first is not None
    now = first + lead
    met = [first]
    while (following := next_due(timing, met[-1])) is not None and following <= now:
        met.append(following)
    found = newest_due(timing, first, now)
    if len(met) <= MOST_COUNTED:
        assert found == (met[-1], len(met) - 1)
    # From wherever one looks, nothing lies between two due times.
    assert next_due(timing, now) == next_due(timing, met[-1])


def test_after_years_away_the_newest_is_found_without_counting_them_all() -> None:
    timing = Timing(cron="* * * * *", timezone=BERLIN)
    now = YEAR + 3 * 365 * DAY + 30 * SECOND
    assert newest_due(timing, YEAR, now) == (now - 30 * SECOND, MOST_COUNTED)


def test_a_moment_is_due_once() -> None:
    timing = Timing(at=YEAR)
    assert next_due(timing, YEAR - 1) == YEAR
    assert next_due(timing, YEAR) is None
    assert newest_due(timing, YEAR, YEAR + DAY) == (YEAR, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("* * * * * *", "More often than once a minute"),
        ("*/5 * * * * * *", "More often than once a minute"),
        ("* * * *", "five fields"),
        ("", "five fields"),
        ("*  * * * *", "single spaces"),
        ("* * * * *\n", "five fields"),
        ("\u0661 * * * *", "five fields"),
        ("60 * * * *", "out of range"),
        ("0 0 30 2 *", "no such day"),
        ("0 0 31 4,6 *", "no such day"),
        ("R * * * *", "draw lots"),
        ("0 H * * *", "draw lots"),
        ("0 r(1-5) * * *", "five fields"),
        ("@reboot", "@hourly"),
        ("@every 1s", "@hourly"),
        ("nonsense x y z a", "no cron expression"),
        ("9" * 100 + " * * * *", "out of range"),
        (",".join(["0-59"] * 100) + " * * * *", "five fields"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_remedy(text: str, said: str) -> None:
    problem = problem_of_cron(text)
    assert problem is not None
    assert said in problem


@pytest.mark.parametrize(
    "text",
    ["@daily", "*/15 9-17 * * mon-fri", "0 0 L * *", "0 0 * * 5#2", "0 9 1,15 jan,JUL *"],
)
def test_what_people_write_is_taken(text: str) -> None:
    assert problem_of_cron(text) is None


@pytest.mark.parametrize(
    "name",
    ["Europe", "../../etc/passwd", "/etc/passwd", "Mars/Olympus", "", "UTC\0", "localtime", "utc"],
)
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    assert problem_of_zone(name) is not None


@pytest.mark.parametrize("name", [*ZONES, "Etc/GMT+5", "America/Argentina/Buenos_Aires"])
def test_a_time_zone_is_taken(name: str) -> None:
    assert problem_of_zone(name) is None
