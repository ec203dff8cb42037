"""Timestamps in the forms that logs use, as seconds since 1970 in UTC."""

import re
from datetime import UTC, datetime, timedelta, timezone

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
# Bounded and anchored, so that a line costs the same whatever it holds.
_DATE = re.compile(
    r"(?P<year>\d{4})[-/.](?P<month>\d\d)[-/.](?P<day>\d\d)[T _]{1,2}"
    r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?"
    r" ?(?P<zone>Z|UTC|[+-]\d\d:?\d\d)?"
)
_COMPACT = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)[T-](?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"
    r"(?:[.,](?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:?\d\d)?"
)
_APACHE = re.compile(
    r"(?P<day>\d\d)/(?P<name>[A-Za-z]{3})/(?P<year>\d{4}):(?P<hour>\d\d):(?P<minute>\d\d)"
    r":(?P<second>\d\d) ?(?P<zone>[+-]\d{4})?"
)
_SYSLOG = re.compile(
    r"(?P<name>[A-Za-z]{3}) {1,2}(?P<day>\d{1,2}) (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    r"(?:[.,](?P<fraction>\d{1,9}))?(?: (?P<year>\d{4})\b)?"
)
_KLOG = re.compile(
    r"(?<=[IWEF])(?P<month>\d\d)(?P<day>\d\d) (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    r"\.(?P<fraction>\d{6})"
)
_EPOCH = re.compile(r"(?P<epoch>1\d{9})(?:(?P<milli>\d{3})|\.(?P<fraction>\d{1,9}))?(?![\d.])")
_FORMS = (_DATE, _APACHE, _SYSLOG, _KLOG, _COMPACT)
_HEAD = 120
_EARLIEST = 0.0
_LATEST = 4_102_444_800.0  # the year 2100


class Clock:
    """Reads timestamps; where they say no year, it is the one that makes them past by `now`."""

    def __init__(self, now: float) -> None:
        self._now = datetime.fromtimestamp(now, UTC)
        self._form: re.Pattern[str] | None = None

    def find(self, line: str) -> tuple[float, int, int] | None:
        """The time in the beginning of a line, with where it starts and ends; None for none."""
        head = line[:_HEAD]
        # Most logs keep to one form: the last that fitted is tried first.
        forms = _FORMS if self._form is None else (self._form, *_FORMS)
        for form in forms:
            found = form.search(head)
            if found is None:
                continue
            seconds = self._seconds(found)
            if seconds is not None:
                self._form = form
                return seconds, found.start(), found.end()
        found = _EPOCH.match(head.lstrip("["))
        if found is not None:
            start = len(head) - len(head.lstrip("["))
            seconds = float(f"{found['epoch']}.{found['milli'] or found['fraction'] or 0}")
            return seconds, start + found.start(), start + found.end()
        return None

    def parse(self, value: object) -> float | None:
        """The time that a field of a structured log holds."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value)
            while seconds > _LATEST and seconds < _LATEST * 1e9:
                seconds /= 1_000  # milli-, micro- or nanoseconds
            return seconds if _EARLIEST < seconds < _LATEST else None
        if isinstance(value, str):
            found = self.find(value)
            return found[0] if found is not None else None
        return None

    def _seconds(self, found: re.Match[str]) -> float | None:
        parts = found.groupdict()
        name = parts.get("name")
        month = _MONTHS.get(name.lower()) if name else int(parts["month"])
        if month is None:
            return None
        year = int(parts["year"]) if parts.get("year") else self._now.year
        fraction = float(f"0.{parts['fraction']}") if parts.get("fraction") else 0.0
        try:
            moment = datetime(
                year,
                month,
                int(parts["day"]),
                int(parts["hour"]),
                int(parts["minute"]),
                min(int(parts["second"]), 59),
                tzinfo=_zone(parts.get("zone")),
            )
            if not parts.get("year") and moment > self._now + timedelta(days=1):
                moment = moment.replace(year=year - 1)
            seconds = moment.timestamp()
        except (ValueError, OverflowError):
            return None
        return seconds + fraction if _EARLIEST <= seconds < _LATEST else None


def _zone(text: str | None) -> timezone:
    if not text or text in ("Z", "UTC"):
        return UTC
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def shown(seconds: float | None) -> str | None:
    """A time in results: ISO 8601 in UTC, to the millisecond."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
