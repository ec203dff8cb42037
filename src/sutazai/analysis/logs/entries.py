"""Lines to entries: what a line says, and which lines belong to the one before."""

import json
import re
from collections.abc import Iterable, Iterator
from enum import IntEnum

import msgspec

from sutazai.analysis.logs.times import Clock

LONGEST_LINE = 4_000
_MOST_FOLDED = 400
_HEAD = 160


class Level(IntEnum):
    """How bad an entry says it is; a greater one is worse."""

    UNKNOWN = 0
    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4
    CRITICAL = 5


_LEVELS = {
    "trace": Level.DEBUG,
    "debug": Level.DEBUG,
    "info": Level.INFO,
    "notice": Level.INFO,
    "warn": Level.WARNING,
    "warning": Level.WARNING,
    "error": Level.ERROR,
    "err": Level.ERROR,
    "severe": Level.ERROR,
    "critical": Level.CRITICAL,
    "crit": Level.CRITICAL,
    "fatal": Level.CRITICAL,
    "panic": Level.CRITICAL,
    "alert": Level.CRITICAL,
    "emerg": Level.CRITICAL,
    "emergency": Level.CRITICAL,
}
_UPPER = "|".join(name.upper() for name in sorted(_LEVELS, key=len, reverse=True))
_LOWER = "|".join(sorted(_LEVELS, key=len, reverse=True))
# Bare words are believed in capitals alone; in brackets or as a field's value in any case.
_WORD = re.compile(
    rf"(?<![\w.])(?:(?P<bare>{_UPPER})(?![\w.])"
    rf"|[\[(<](?P<boxed>{_LOWER}|{_UPPER})[\])>]|(?:level|lvl|severity)=\"?(?P<field>{_LOWER}|{_UPPER})\b)"
)
_KLOG = {"I": Level.INFO, "W": Level.WARNING, "E": Level.ERROR, "F": Level.CRITICAL}
# What Python's logging and its like write in place of a name.
_NUMBERED = {
    10: Level.DEBUG,
    20: Level.INFO,
    30: Level.WARNING,
    40: Level.ERROR,
    50: Level.CRITICAL,
}
_STATUS = re.compile(r"\" ([1-5])\d\d (?:\d+|-)(?: |$)")
_TRACEBACK = "Traceback (most recent call last):"
_CONTINUES = re.compile(
    r"(?:\s|Caused by: |During handling of the above exception|The above exception was the direct"
    r"|\.\.\. \d+ (?:more|common frames)|[|+]\s|-{3,}$|\}|\]|\))"
)
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w{0,80}\.){0,8}[A-Z]\w{0,100}(?::|$)")
_FRAME = re.compile(
    r"\s*File \"(?P<file>[^\"]{1,300})\", line (?P<line>\d{1,9})(?:, in (?P<name>.{1,100}))?"
)
_JAVA_FRAME = re.compile(
    r"\s+at (?P<name>[\w.$<>]{1,200})\((?P<file>[\w.$]{1,100})(?::(?P<line>\d{1,9}))?\)"
)
_INDENTED = (" ", "\t", "|", "+")
_TIMES = ("timestamp", "time", "ts", "@timestamp", "asctime", "datetime", "date", "t")
_NAMES = ("level", "severity", "levelname", "lvl", "log_level", "loglevel")
_MESSAGES = ("message", "msg", "event", "log", "text", "short_message")


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The exception of a folded traceback, and its innermost frame."""

    type: str
    message: str
    frame: str


class Entry(msgspec.Struct, kw_only=True):
    """One entry: `text` is its first line, `message` what is left without time and level."""

    file: str
    line: int
    time: float | None
    level: Level
    text: str
    message: str
    folded: int = 0
    failure: Failure | None = None
    extra: str = ""
    """The other fields of a structured entry, for the ids in them."""


def read_entries(file: str, lines: Iterable[str], clock: Clock) -> Iterator[Entry]:
    """The entries of one file, in its order; each counts the lines folded into it."""
    current: Entry | None = None
    folded: list[str] = []
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\r\n")[:LONGEST_LINE]
        if not line.strip():
            if current is not None and folded:
                folded.append(line)
            continue
        entry = (
            None
            if current is not None and _CONTINUES.match(line)
            else _entry(file, number, line, clock)
        )
        if current is not None and (entry is None or _belongs(line, entry, current, folded)):
            current.folded += 1
            if len(folded) < _MOST_FOLDED:
                folded.append(line)
            continue
        if current is not None:
            yield _closed(current, folded)
        current, folded = entry or _entry(file, number, line, clock), []
        if current.message.startswith(_TRACEBACK):
            folded.append(line)
    if current is not None:
        yield _closed(current, folded)


def _belongs(line: str, entry: Entry, current: Entry, folded: list[str]) -> bool:
    """Whether a line that could stand alone is a part of the entry before."""
    if line.startswith(_TRACEBACK):
        return current.time is not None or not folded
    inside = bool(folded) and (
        _FRAME.match(folded[-1]) or folded[-1].startswith((" ", "\t", "|", "+"))
    )
    if entry.time is None and inside and _EXCEPTION.match(line):
        return True
    # In a log with times, a line without one goes on with what was said before.
    return entry.time is None and current.time is not None and entry.level is Level.UNKNOWN


def _closed(entry: Entry, folded: list[str]) -> Entry:
    if folded:
        entry.failure = _failure(folded)
        if entry.failure is not None and entry.level < Level.ERROR:
            entry.level = Level.ERROR
        if entry.failure is not None and entry.message.startswith(_TRACEBACK):
            entry.message = f"{entry.failure.type}: {entry.failure.message}"
    return entry


def _failure(folded: list[str]) -> Failure | None:
    """The last exception that a traceback tells of, which is the one that was not handled."""
    frame = ""
    found: Failure | None = None
    is_traceback = False
    for line in folded:
        at = _FRAME.match(line) or _JAVA_FRAME.match(line)
        if at is not None:
            is_traceback = True
            where = f"{at['file']}:{at['line'] or '?'}"
            if found is None or not line.lstrip().startswith("at "):
                frame = f"{where} in {at['name']}" if at["name"] else where
            if found is not None and not found.frame:
                found = msgspec.structs.replace(found, frame=frame)
            continue
        text = line.removeprefix("Caused by: ")
        if text[:1] not in (" ", "\t") and _EXCEPTION.match(text):
            name, _, message = text.partition(":")
            found = Failure(type=name.strip()[:200], message=message.strip()[:500], frame=frame)
    return found if is_traceback else None


def _entry(file: str, number: int, line: str, clock: Clock) -> Entry:
    if line.startswith("{") and line.endswith("}"):
        made = _structured(file, number, line, clock)
        if made is not None:
            return made
    when = clock.find(line)
    rest = line
    level = Level.UNKNOWN
    if when is not None:
        _, start, end = when
        before = line[:start].strip(" [\"'(")
        if before in _KLOG:
            level, before = _KLOG[before], ""
        # An access log's address stands before its time; both are worth keeping.
        rest = f"{before} {line[end:].lstrip(' ])Z:-|')}".strip()
    found = _WORD.search(rest[:_HEAD])
    if found is not None:
        name = (found["bare"] or found["boxed"] or found["field"]).lower()
        level = _LEVELS[name]
        if found.start() <= 40:
            rest = f"{rest[: found.start()]} {rest[found.end() :]}".strip(" :-|]")
    elif level is Level.UNKNOWN:
        status = _STATUS.search(rest)
        if status is not None:
            level = {"5": Level.ERROR, "4": Level.WARNING}.get(status[1], Level.INFO)
    return Entry(
        file=file,
        line=number,
        time=when[0] if when is not None else None,
        level=level,
        text=line,
        message=rest or line,
    )


def _structured(file: str, number: int, line: str, clock: Clock) -> Entry | None:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    when = next((clock.parse(fields[name]) for name in _TIMES if name in fields), None)
    said = next((fields[name] for name in _NAMES if name in fields), None)
    level = Level.UNKNOWN
    if isinstance(said, str):
        level = _LEVELS.get(said.lower(), Level.UNKNOWN)
    elif isinstance(said, int):
        level = _NUMBERED.get(said, Level.UNKNOWN)
    message = next((fields[name] for name in _MESSAGES if isinstance(fields.get(name), str)), None)
    if message is None:
        return None
    known = {*_TIMES, *_NAMES, *_MESSAGES}
    rest = [f"{key}={value}" for key, value in fields.items() if key not in known]
    entry = Entry(
        file=file,
        line=number,
        time=when,
        level=level,
        text=line,
        message=message.split("\n")[0][:LONGEST_LINE] or "(empty)",
        extra=" ".join(rest)[:LONGEST_LINE],
    )
    trace = next(
        (value for value in fields.values() if isinstance(value, str) and _TRACEBACK in value), None
    )
    if trace is not None:
        entry.failure = _failure(trace.split("\n")[:_MOST_FOLDED])
    return entry
