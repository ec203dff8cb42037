"""The whole answer about logs: what runs in a worker."""

import io
import re
from array import array
from collections import Counter
from collections.abc import Iterator

import msgspec

from sutazai.analysis.globs import InputError
from sutazai.analysis.logs.entries import LONGEST_LINE, Level, read_entries
from sutazai.analysis.logs.mining import Miner, Seen, Template
from sutazai.analysis.logs.relations import (
    Burst,
    find_bursts,
    find_followers,
    find_gaps,
    find_shared_ids,
)
from sutazai.analysis.logs.times import Clock, shown
from sutazai.analysis.quoting import quoted
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.source import is_binary
from sutazai.analysis.workspace import NotReadable, Skipped, Workspace
from sutazai.analysis.workspace import shown as shown_path

_MOST_BYTES = 256 * 1024 * 1024
_MOST_LINES = 500_000
_MOST_TEMPLATES = 200
_MOST_LISTED = 100
_LATE = 0.25
_LOG_NAMES = re.compile(
    r"\.(log|out|err|txt|jsonl|ndjson)(\.\d+)?$|(^|/)(syslog|messages|journal)$"
)


class LogRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An inline log, or files. `now` is the time of asking, for timestamps without a year."""

    now: float
    log: str | None = None
    what: Reviewable | None = None


class LogReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, JSON-compatible but for this struct."""

    summary: str
    entries: int
    lines: int
    folded_lines: int
    files: int
    start: str | None
    end: str | None
    levels: dict[str, int]
    templates: list[dict[str, object]]
    templates_total: int
    bursts: list[dict[str, object]]
    first_occurrences: list[dict[str, object]]
    followers: list[dict[str, object]]
    shared_ids: list[dict[str, object]]
    exceptions: list[dict[str, object]]
    gaps: list[dict[str, object]]
    skipped: list[Skipped]
    truncated: bool


def analyse_logs(request: LogRequest) -> LogReport:
    """Read and analyse. Raises InputError where there is nothing to read."""
    reading = _Reading(request)
    miner = Miner()
    clock = Clock(request.now)
    for name, lines in reading.files():
        miner.begin()
        for entry in read_entries(name, lines, clock):
            miner.add(entry)
    if not miner.entries:
        raise InputError(reading.nothing())
    return _report(miner, reading)


class _Reading:
    """The lines of all that was named, counted, up to the limits."""

    def __init__(self, request: LogRequest) -> None:
        self._request = request
        self.lines = 0
        self.read_files = 0
        self.skipped: list[Skipped] = []
        self.truncated = False
        self._bytes = 0

    def files(self) -> Iterator[tuple[str, Iterator[str]]]:
        if self._request.log is not None:
            self.read_files += 1
            # Not splitlines(): only line feeds end the lines of a log.
            yield "log", self._counted(iter(self._request.log.split("\n")))
        what = self._request.what
        if what is None or what.place is None:
            return
        workspace = Workspace(what.place.root, what.place.excluded, what.place.limits)
        selection = workspace.select(what.patterns)
        self.skipped += selection.skipped
        for parts in selection.files:
            name = shown_path(parts)
            if not what.patterns and not _LOG_NAMES.search(name):
                continue
            try:
                with workspace.opened(parts) as file:
                    head = file.read(8_192)
                    if is_binary(head):
                        raise NotReadable("binary")
                    file.seek(0)
                    self.read_files += 1
                    yield name, self._counted(self._decoded(file))
            except NotReadable as error:
                self.skipped.append(Skipped(file=name, reason=str(error)))

    def nothing(self) -> str:
        if self.skipped:
            reasons = "; ".join(f"{one.file}: {one.reason}" for one in self.skipped[:3])
            return f"Nothing that was named can be read as a log ({reasons})."
        return "There is no log to analyse; give `log`, or name files with `files`."

    def _decoded(self, file: io.BufferedIOBase) -> Iterator[str]:
        while line := file.readline(LONGEST_LINE * 4):
            self._bytes += len(line)
            if self._bytes > _MOST_BYTES:
                self.truncated = True
                return
            whole = line
            while not whole.endswith(b"\n") and (rest := file.readline(1024 * 1024)):
                # The rest of a monstrous line is read past.
                self._bytes += len(rest)
                whole = rest
                if self._bytes > _MOST_BYTES:
                    break
            yield line.decode("utf-8", "replace")

    def _counted(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            if self.lines >= _MOST_LINES:
                self.truncated = True
                return
            self.lines += 1
            yield line.replace("\x00", "�")


def _report(miner: Miner, reading: _Reading) -> LogReport:
    templates = sorted(
        miner.templates.values(), key=lambda one: (-max(one.level, Level.INFO), -one.count, one.id)
    )
    times = array("d")
    for one in templates:
        times.extend(one.times)
    start, end = (min(times), max(times)) if times else (None, None)
    bursts = find_bursts(templates, start, end) if start is not None and end is not None else []
    levels: Counter[str] = Counter()
    for one in templates:
        for level, count in one.levels.items():
            levels[Level(level).name.lower()] += count
    followers = find_followers(miner.order, miner.moments, miner.templates)
    shared = find_shared_ids(miner.by_id)
    named = {one.template for one in bursts[:_MOST_LISTED]}
    named |= {one.first for one in followers[:_MOST_LISTED]}
    named |= {one.then for one in followers[:_MOST_LISTED]}
    named |= {number for one in shared[:_MOST_LISTED] for number in one.templates}
    listed = templates[:_MOST_TEMPLATES]
    listed += [one for one in templates[_MOST_TEMPLATES:] if one.id in named]
    late = _late(templates, start, end)
    return LogReport(
        summary=_summary(miner, templates, levels, bursts, late),
        entries=miner.entries,
        lines=reading.lines,
        folded_lines=miner.folded,
        files=reading.read_files,
        start=shown(start),
        end=shown(end),
        levels=dict(levels),
        templates=[_template(one, miner.entries) for one in listed],
        templates_total=len(templates),
        bursts=[_burst(one) for one in bursts[:_MOST_LISTED]],
        first_occurrences=[_first(one) for one in late[:_MOST_LISTED]],
        followers=[msgspec.to_builtins(one) for one in followers[:_MOST_LISTED]],
        shared_ids=[
            {**msgspec.to_builtins(one), "example": quoted(one.example)}
            for one in shared[:_MOST_LISTED]
        ],
        exceptions=_exceptions(miner),
        gaps=[
            {"start": shown(one.start), "end": shown(one.end), "usual_seconds": round(one.usual, 3)}
            for one in find_gaps(times)
        ],
        skipped=reading.skipped[:1_000],
        truncated=reading.truncated,
    )


def _late(templates: list[Template], start: float | None, end: float | None) -> list[Template]:
    """Templates that are not there from the beginning, the worst and then the earliest first."""
    if start is None or end is None or end <= start:
        return []
    since = start + (end - start) * _LATE
    late = [
        one
        for one in templates
        if one.first is not None and one.first.time is not None and one.first.time >= since
    ]
    return sorted(late, key=lambda one: (-one.level, one.times[0]))


def _seen(one: Seen | None) -> dict[str, object] | None:
    if one is None:
        return None
    return {"file": one.file, "line": one.line, "time": shown(one.time), "text": quoted(one.text)}


def _template(one: Template, entries: int) -> dict[str, object]:
    return {
        "id": one.id,
        "template": quoted(one.text),
        "count": one.count,
        "share": round(one.count / entries, 4),
        "severity": one.level.name.lower(),
        "first": _seen(one.first),
        "last": _seen(one.last),
        "samples": [_seen(sample) for sample in one.samples],
    }


def _burst(one: Burst) -> dict[str, object]:
    return {
        "template": one.template,
        "start": shown(one.start),
        "end": shown(one.end),
        "count": one.count,
        "peak": one.peak,
        "usual": round(one.usual, 3),
        "bucket_seconds": one.bucket_seconds,
    }


def _first(one: Template) -> dict[str, object]:
    return {
        "template": one.id,
        "severity": one.level.name.lower(),
        "count": one.count,
        "first": _seen(one.first),
    }


def _exceptions(miner: Miner) -> list[dict[str, object]]:
    found = sorted(miner.failures.items(), key=lambda item: -item[1][0])
    return [
        {
            "type": quoted(kind),
            "message": quoted(message),
            "frame": quoted(frame),
            "count": count,
            "first": _seen(first),
        }
        for (kind, frame), (count, first, message) in found[:_MOST_LISTED]
    ]


def _summary(
    miner: Miner,
    templates: list[Template],
    levels: Counter[str],
    bursts: list[Burst],
    late: list[Template],
) -> str:
    bad = levels["error"] + levels["critical"]
    entries = "1 entry" if miner.entries == 1 else f"{miner.entries} entries"
    parts = [f"{entries} in {_count(len(templates), 'template')}"]
    if bad:
        parts.append(_count(bad, "error"))
    if levels["warning"]:
        parts.append(_count(levels["warning"], "warning"))
    if bursts:
        parts.append(_count(len(bursts), "burst"))
    new = [one for one in late if one.level >= Level.WARNING]
    if new:
        verb = "was" if len(new) == 1 else "were"
        what = _count(len(new), "kind")
        parts.append(f"{what} of warning or error that {verb} not there at first")
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
