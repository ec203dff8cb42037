"""Lines become entries: times, levels, and tracebacks in one piece."""

from datetime import UTC, datetime

import pytest

from sutazai.analysis.logs.entries import Entry, Level, read_entries
from sutazai.analysis.logs.times import Clock

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC).timestamp()
MOMENT = datetime(2026, 11, 25, 10, 20, 30, tzinfo=UTC).timestamp()

LAST_YEAR = datetime(2025, 12, 25, 10, 20, 30, tzinfo=UTC).timestamp()


def entries(text: str) -> list[Entry]:
    return list(read_entries("log", text.split("\n"), Clock(NOW)))


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("2026-11-25T10:20:30Z x", MOMENT),
        ("2026-11-25T10:20:30.250Z x", MOMENT + 0.25),
        ("2026-11-25T12:20:30+02:00 x", MOMENT),
        ("2026-11-25 10:20:30,500 INFO x", MOMENT + 0.5),
        ("[2026-11-25 10:20:30 +0000] [7] [INFO] x", MOMENT),
        ("2026/11/25 10:20:30 [error] x", MOMENT),
        ("Nov 25 10:20:30 host app[1]: x", MOMENT),
        ("Dec 25 10:20:30 host app[1]: x", LAST_YEAR),
        ('1.2.3.4 - - [25/Nov/2026:10:20:30 +0000] "GET / HTTP/1.1" 200 5', MOMENT),
        ("I1125 10:20:30.000000 1 main.go:5] x", MOMENT),
        ("20261125T102030Z x", MOMENT),
        (f"{MOMENT:.0f} x", MOMENT),
        (f"{MOMENT:.0f}500 x", MOMENT + 0.5),
        ('{"timestamp": "2026-11-25T10:20:30Z", "message": "x"}', MOMENT),
        (f'{{"ts": {MOMENT * 1000:.0f}, "msg": "x"}}', MOMENT),
    ],
)  # fmt: skip
def test_times_are_read_in_the_usual_forms(line: str, seconds: float) -> None:
    [entry] = entries(line)
    assert entry.time == pytest.approx(seconds)
    assert "10:20:30" not in entry.message


@pytest.mark.parametrize(
    "line",
    [
        "x 2026-13-45T99:99:99Z",
        "2026-02-30 10:00:00 x",
        "9999999999999999999 x",
        "Foo 25 10:20:30 x",
        "no time at all",
        "[" * 500,
    ],
)
def test_what_is_no_time_is_none(line: str) -> None:
    assert entries(line)[0].time is None


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-11-25 10:20:30 ERROR x", Level.ERROR),
        ("2026-11-25 10:20:30 [warn] x", Level.WARNING),
        ("level=error msg=x", Level.ERROR),
        ("INFO:root:x", Level.INFO),
        ("CRITICAL x", Level.CRITICAL),
        ("there is no error here", Level.UNKNOWN),
        ("the ErrorHandler ran", Level.UNKNOWN),
        ("E1125 10:20:30.000000 1 main.go:5] x", Level.ERROR),
        ('1.2.3.4 - - [25/Nov/2026:10:20:30 +0000] "GET / HTTP/1.1" 503 5', Level.ERROR),
        ('{"level": "fatal", "msg": "x"}', Level.CRITICAL),
        ('{"level": 40, "msg": "x"}', Level.ERROR),
    ],
)
def test_levels_are_read_where_they_are_said(line: str, level: Level) -> None:
    assert entries(line)[0].level is level


PYTHON = """\
2026-11-25 10:20:30 INFO begins
2026-11-25 10:20:31 ERROR it failed
Traceback (most recent call last):
  File "/app/db.py", line 12, in connect
    return pool.get()
KeyError: 'a'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/main.py", line 3, in main
    connect()
app.errors.Unavailable: no pool
2026-11-25 10:20:32 INFO goes on
"""

JAVA = """\
2026-11-25 10:20:31 ERROR it failed
java.lang.IllegalStateException: closed
\tat com.shop.Pool.get(Pool.java:42)
\tat com.shop.Main.main(Main.java:7)
Caused by: java.io.IOException: reset
\tat com.shop.Net.read(Net.java:9)
\t... 2 more
2026-11-25 10:20:32 INFO goes on
"""


def test_a_traceback_belongs_to_the_entry_before_it() -> None:
    first, failed, last = entries(PYTHON)
    assert (first.message, last.message) == ("begins", "goes on")
    assert failed.folded == 9
    assert failed.failure is not None
    assert failed.failure.type == "app.errors.Unavailable"
    assert failed.failure.message == "no pool"
    assert failed.failure.frame == "/app/main.py:3 in main"


def test_a_traceback_without_an_entry_before_it_stands_alone() -> None:
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    x\n'
    text = f"{trace}ValueError: no\nDone\n"
    failed, done = entries(text)
    assert (failed.message, failed.level) == ("ValueError: no", Level.ERROR)
    assert done.message == "Done"


def test_the_traces_of_java_are_folded() -> None:
    failed, last = entries(JAVA)
    assert failed.folded == 6
    assert failed.failure is not None
    assert failed.failure.type == "java.io.IOException"
    assert last.message == "goes on"


def test_lines_without_a_time_go_on_in_a_log_with_times() -> None:
    text = "2026-11-25 10:20:30 INFO query\nSELECT 1\nFROM t\n2026-11-25 10:20:31 INFO done\n"
    assert [entry.folded for entry in entries(text)] == [2, 0]
    assert len(entries("one\ntwo\nthree\n")) == 3
