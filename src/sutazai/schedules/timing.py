"""When a schedule is due. Pure.

A time that the clocks leave out in spring counts at the end of the gap. One that comes twice in
autumn counts the first time, unless the expression is for every hour.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sutazai import clock
from sutazai.clock import SECOND
from sutazai.schedules.model import Timing

LONGEST_CRON = 200
MOST_COUNTED = 1_000
"""Up to how many missed times are counted one by one."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALIASES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
_CRON = re.compile(r"[0-9A-Za-z*/,#?-]+( [0-9A-Za-z*/,#?-]+){4}", re.ASCII)
# The library's own: times that are drawn by lot, so never the same twice.
_BY_LOT = re.compile(r"(?<![A-Za-z])[HRhr](?![A-Za-z])")
_HOURS = 1


class Due(NamedTuple):
    """The newest due time that has come (µs), and how many before it have come as well."""

    at: int
    before: int


def problem_of_zone(name: str) -> str | None:
    """Why this is no time zone; None for one."""
    try:
        _zone(name)
    except ValueError:
        return f"There is no time zone {name!r}; name one such as Europe/Berlin, or UTC"
    return None


def problem_of_cron(text: str) -> str | None:
    """Why this is no cron expression that can be kept; None for one."""
    from croniter import CroniterError

    if text.startswith("@"):
        if text in _ALIASES:
            return None
        return f"Write five fields, or one of {', '.join(_ALIASES)}"
    if len(text) > LONGEST_CRON or not _CRON.fullmatch(text):
        return (
            "Write five fields with single spaces between: minute, hour, day of the month, month, "
            "day of the week, such as '30 2 * * mon-fri'. More often than once a minute is not "
            "possible"
        )
    if _BY_LOT.search(text):
        return "H and R, which draw lots, are not possible; write numbers"
    try:
        due = next_due(Timing(cron=text), clock.now())
    except (CroniterError, ValueError, OverflowError) as error:
        return f"This is no cron expression: {error}"
    return None if due is not None else "There is no such day in the next fifty years"


def next_due(timing: Timing, after: int) -> int | None:
    """The first due time behind a moment; None if there is none any more."""
    if timing.cron is None:
        return timing.at if timing.at is not None and timing.at > after else None
    return _Cron(timing).next(after)


def newest_due(timing: Timing, first: int, now: int) -> Due:
    """The newest due time up to now; `first` is one that has come."""
    newest, before = first, 0
    if timing.cron is None:
        return Due(newest, before)
    cron = _Cron(timing)
    while before < MOST_COUNTED:
        following = cron.next(newest)
        if following is None or following > now:
            return Due(newest, before)
        newest, before = following, before + 1
    return Due(cron.previous(now) or newest, before)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    """Those that come with us: what this machine knows beside them may lack elsewhere."""
    return frozenset((files("tzdata") / "zones").read_text("utf-8").split())


def _zone(name: str) -> tzinfo:
    if name not in _zones():
        raise ValueError(name)
    return ZoneInfo(name)


class _Cron:
    """One expression in one time zone."""

    def __init__(self, timing: Timing) -> None:
        assert timing.cron is not None
        self._text = timing.cron
        self._zone = _zone(timing.timezone)

    def next(self, after: int) -> int | None:
        return self._walk(after, 1)

    def previous(self, up_to: int) -> int | None:
        """The newest up to a moment, itself included."""
        return self._walk(up_to + 1, -1)

    def _walk(self, start: int, direction: int) -> int | None:
        from croniter import CroniterBadDateError, croniter

        local = (_EPOCH + timedelta(microseconds=start)).astimezone(self._zone)
        times = croniter(self._text, local)
        while True:
            try:
                step = times.get_next if direction > 0 else times.get_prev
                found: datetime = step(datetime)
            except (CroniterBadDateError, OverflowError):
                return None
            if found.fold and not _is_hourly(times.expanded[_HOURS]):
                continue  # the second of two
            moment = clock.from_datetime(found)
            if (moment - start) * direction > 0:
                return moment // SECOND * SECOND


def _is_hourly(hours: Sequence[int | str]) -> bool:
    return "*" in hours or len(set(hours)) == 24
