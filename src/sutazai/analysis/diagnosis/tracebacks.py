"""Tracebacks in text: Python's own with causes, carets and groups, and what pytest prints."""

import re

import msgspec

from sutazai.analysis.globs import InputError

MOST_CHARACTERS = 4_000_000
_MOST_LINES = 50_000
_MOST_FAILURES = 50
_MOST_FRAMES = 300
_LONGEST = 4_000
_BEGIN = "Traceback (most recent call last):"
_FRAME = re.compile(
    r"  File \"(?P<file>[^\"\n]{1,500})\", line (?P<line>\d{1,9})(?:, in (?P<name>[^\n]{1,200}))?$"
)
_EXCEPTION = re.compile(
    r"(?P<type>(?:[A-Za-z_][\w<>]{0,100}\.){0,12}[A-Za-z_]\w{0,100})(?::(?: (?P<message>.*))?)?$"
)
_GROUP = re.compile(r"^ {0,40}(?:\+-\+-+|\+-+)(?: (?P<number>\d{1,4}) )?-*$")
_BAR = re.compile(r"^ {0,40}[|+] ")
_CARETS = re.compile(r"^ *[~^]+ *$")
_RELATIONS = {
    "The above exception was the direct cause of the following exception:": "cause",
    "During handling of the above exception, another exception occurred:": "context",
}
_PYTEST_HEADER = re.compile(r"^_{2,} (?P<name>\S.{0,300}?) _{2,}$")
_PYTEST_PLACE = re.compile(
    r"^(?P<file>[^\s:][^:\n]{0,400}\.py):(?P<line>\d{1,9}):(?: in (?P<name>\S{1,200}))?"
    r"(?: (?P<type>[A-Za-z_][\w.]{0,200}))?$"
)
_PYTEST_DEF = re.compile(r"^\s{0,80}(?:async )?def (?P<name>\w{1,200})\(")


class Frame(msgspec.Struct, kw_only=True):
    """One call; `start` and `end` are the columns (from 0) that carets mark within `code`."""

    file: str
    line: int
    function: str
    code: str = ""
    start: int | None = None
    end: int | None = None


class Failure(msgspec.Struct, kw_only=True):
    """One exception. `relation` says how it goes with the one before: cause, context, member."""

    type: str
    message: str
    frames: list[Frame]
    relation: str = ""
    details: list[str] = []
    """What a test runner says of the values, a line each."""

    @property
    def name(self) -> str:
        """The exception's name without its module."""
        return self.type.rpartition(".")[2]


def parse_failures(text: str) -> list[Failure]:
    """All exceptions that a text tells of, in its order. Raises InputError where it has none."""
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"The traceback has more than {MOST_CHARACTERS:,} characters.")
    lines = [line[:_LONGEST] for line in text.replace("\r\n", "\n").split("\n")[:_MOST_LINES]]
    found = _python(lines)
    if not found:
        found = _pytest(lines)
    if not found:
        raise InputError(
            "There is no traceback in it: neither Python's (`Traceback (most recent call last):`) "
            "nor pytest's (`file.py:12: KeyError`)."
        )
    return found[:_MOST_FAILURES]


def _python(lines: list[str]) -> list[Failure]:
    found: list[Failure] = []
    relation = ""
    index = 0
    in_group = False
    while index < len(lines) and len(found) < _MOST_FAILURES:
        line = lines[index]
        group = _GROUP.match(line)
        if group is not None:
            in_group = group["number"] is not None
            relation = "member" if in_group else ""
            index += 1
            continue
        at = line.find(_BEGIN)
        bare = _unbarred(line)
        if bare.strip() in _RELATIONS:
            relation = _RELATIONS[bare.strip()]
        if at >= 0:
            failure, index = _one(lines, index, at)
            if failure is not None:
                failure.relation = relation
                found.append(failure)
            relation = "member" if in_group else ""
            continue
        if in_group and _BAR.match(line) and relation == "member":
            exception = _EXCEPTION.match(bare)
            if exception is not None and _is_exception(exception["type"]):
                found.append(
                    Failure(
                        type=exception["type"],
                        message=exception["message"] or "",
                        frames=[],
                        relation="member",
                    )
                )
        index += 1
    return found


def _unbarred(line: str) -> str:
    found = _BAR.match(line)
    return line[found.end() :] if found else line


def _one(lines: list[str], index: int, at: int) -> tuple[Failure | None, int]:
    """The traceback that begins in a line, and the line after it."""
    prefix = lines[index][:at].replace("+", "|").replace("Exception Group ", "")
    failure = Failure(type="", message="", frames=[])
    index += 1
    while index < len(lines):
        line = _without(lines[index], prefix)
        frame = _FRAME.match(line)
        if frame is not None:
            made = Frame(
                file=frame["file"], line=int(frame["line"]), function=frame["name"] or "<module>"
            )
            if len(failure.frames) < _MOST_FRAMES:
                failure.frames.append(made)
            index = _code(lines, index + 1, prefix, made)
            continue
        if not line.strip() or line.startswith("  "):
            if not line.strip() and failure.frames:
                return None, index
            index += 1
            continue
        exception = _EXCEPTION.match(line)
        if exception is None or not _is_exception(exception["type"]):
            return None, index
        failure.type = exception["type"]
        message = [exception["message"] or ""]
        index += 1
        while index < len(lines) and len(message) < 50:
            more = _without(lines[index], prefix)
            ends = not more.strip() or _BEGIN in more or _GROUP.match(lines[index])
            if ends or more.strip() in _RELATIONS or (prefix and more == lines[index]):
                break
            if not more.startswith((" ", "\t")) and not _goes_on(message):
                break
            message.append(more)
            index += 1
        failure.message = "\n".join(message).strip()
        return failure, index
    return None, index


def _goes_on(message: list[str]) -> bool:
    """Whether a message over several lines seems to be open still."""
    text = "\n".join(message)
    return text.count("(") > text.count(")") or text.count("[") > text.count("]")


def _without(line: str, prefix: str) -> str:
    return line[len(prefix) :] if prefix and line.startswith(prefix) else line


def _code(lines: list[str], index: int, prefix: str, frame: Frame) -> int:
    """Take in the code below a frame, and the carets below that."""
    if index >= len(lines):
        return index
    line = _without(lines[index], prefix)
    if not line.startswith("    ") or _FRAME.match(line):
        return index
    frame.code = line[4:]
    index += 1
    while index < len(lines):
        below = _without(lines[index], prefix)
        if _CARETS.match(below) and "^" in below:
            marks = below[4:]
            frame.start, frame.end = len(marks) - len(marks.lstrip()), len(marks.rstrip())
            return index + 1
        if not below.startswith("    ") or _FRAME.match(below):
            return index
        index += 1  # "[Previous line repeated …]" and statements over several lines
    return index


def _is_exception(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last[:1].isupper() or last in ("KeyboardInterrupt", "error", "timeout")


def _pytest(lines: list[str]) -> list[Failure]:
    found: list[Failure] = []
    frames: list[Frame] = []
    details: list[str] = []
    function, code, marked = "", "", (0, 0)
    indent = 0
    for raw in lines:
        line = raw.rstrip()
        header = _PYTEST_HEADER.match(line)
        if header is not None and not set(header["name"]) <= {"_", " "}:
            if frames and details:
                found.append(_of_pytest("", details, frames))
            frames, details, code = [], [], ""
            function = header["name"].rpartition(".")[2]
            continue
        defined = _PYTEST_DEF.match(line.removeprefix(">"))
        if defined is not None:
            function = defined["name"]
        if line.startswith(">"):
            code, marked = line[1:].strip(), (0, 0)
            indent = len(line) - len(line[1:].lstrip())
        elif code and marked == (0, 0) and _CARETS.match(line) and "^" in line:
            marked = len(line) - len(line.lstrip()) - indent, len(line.rstrip()) - indent
        elif line.startswith("E "):
            details.append(line[1:].strip())
        place = _PYTEST_PLACE.match(line)
        if place is None:
            if not code and frames and line.startswith("    ") and not frames[-1].code:
                frames[-1].code = line.strip()
            continue
        frames.append(
            Frame(
                file=place["file"],
                line=int(place["line"]),
                function=(place["name"] or function or "<module>").partition("[")[0],
                code=code,
                start=marked[0] if marked[1] else None,
                end=marked[1] or None,
            )
        )
        code, marked = "", (0, 0)
        if place["type"]:
            found.append(_of_pytest(place["type"], details, frames))
            frames, details = [], []
    if frames and details:
        found.append(_of_pytest("", details, frames))
    return found


def _of_pytest(kind: str, details: list[str], frames: list[Frame]) -> Failure:
    first = details[0] if details else ""
    exception = _EXCEPTION.match(first)
    message = first
    if exception is not None and _is_exception(exception["type"]):
        kind, message = exception["type"], exception["message"] or ""
    elif first.startswith("assert ") or not kind:
        kind = kind or "AssertionError"
    return Failure(type=kind, message=message, frames=list(frames), details=list(details))
