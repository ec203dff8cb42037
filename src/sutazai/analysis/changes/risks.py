"""What of a change deserves a second look: rules, each with the lines that it goes by."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import msgspec

from sutazai.analysis.catalogue import RULES
from sutazai.analysis.changes.model import (
    FileChange,
    FileKind,
    Line,
    Place,
    Risk,
    SymbolChange,
)
from sutazai.analysis.engines.secrets import scan_text
from sutazai.analysis.findings import FindingType, RawFinding, Severity
from sutazai.analysis.parsing import parse
from sutazai.analysis.redaction import Redactor
from sutazai.analysis.rules import run_own_rules
from sutazai.analysis.source import Source, SourceError, excerpt, looks_like_test, read_source

_MOST_EVIDENCE = 5
_MANY_LINES = 400
_MANY_FILES = 20
_LONGEST_LINE = 2_000
_NAME = re.compile(r"[A-Za-z_]\w*")
_LEVELS = ("high", "medium", "low")


class _Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A pattern for changed lines. `side` is new, old, or both."""

    name: str
    level: str
    message: str
    pattern: re.Pattern[str]
    side: str = "both"
    paths: re.Pattern[str] | None = None
    in_tests: bool = False


def _words(text: str, *, exact: bool = False) -> re.Pattern[str]:
    return re.compile(text, 0 if exact else re.IGNORECASE)


_CODE = _words(r"\.(py|pyi|js|jsx|ts|tsx|go|rb|java|kt|rs|php|c|cc|cpp|cs|sh)$")
_LINES: tuple[_Rule, ...] = (
    _Rule(
        name="security-sensitive",
        level="medium",
        message="Lines about authentication, permissions, cryptography or sessions change.",
        pattern=_words(
            r"(?<![a-z])(authenticat|authoriz|authoris|password|passwd|permission|credential|csrf|cors"
            r"|encrypt|decrypt|hmac|jwt|session_?id|set_cookie|is_admin|is_superuser|login_required"
            r"|verify_signature|compare_digest|check_password|access_token|refresh_token)"
        ),
        paths=_CODE,
    ),
    _Rule(
        name="dangerous-call",
        level="high",
        message="Calls are added that run commands, code or foreign data.",
        pattern=_words(
            r"\b(eval|exec)\(|\bos\.system\(|shell\s*=\s*True|\bpickle\.loads?\(|\byaml\.load\("
            r"|verify\s*=\s*False|\bmarshal\.loads?\(|__import__\(|dangerouslySetInnerHTML",
            exact=True,
        ),
        side="new",
        paths=_CODE,
    ),
    _Rule(
        name="destructive-sql",
        level="high",
        message="Data or columns are dropped or deleted.",
        pattern=_words(
            r"\b(drop\s+(table|column|index|database|schema)|truncate\s+table|delete\s+from)\b"
            r"|\bop\.drop_(table|column|index|constraint)\(|\b(RemoveField|DeleteModel)\(|\.drop_all\("
        ),
        side="new",
    ),
    _Rule(
        name="concurrency",
        level="medium",
        message="Threads, locks, tasks or processes change.",
        pattern=_words(
            r"\b(threading|multiprocessing|concurrent\.futures|Lock\(|RLock\(|Semaphore\(|Condition\("
            r"|create_task\(|TaskGroup\(|asyncio\.gather\(|run_in_executor\(|to_thread\(|daemon=True"
            r"|SELECT\s.{0,200}FOR\s+UPDATE|SKIP\s+LOCKED)"
        ),
        paths=_words(r"\.(py|sql)$"),
    ),
    _Rule(
        name="swallowed-error",
        level="medium",
        message="An exception is caught whatever it is.",
        pattern=_words(r"^\s*except(\s*:|\s+(Base)?Exception\b.{0,40}:)", exact=True),
        side="new",
        paths=_words(r"\.pyw?$"),
    ),
    _Rule(
        name="check-removed",
        level="medium",
        message="Checks go: lines that raised, asserted or refused are removed.",
        pattern=_words(r"^\s*(raise\s+\w|assert\s)|\babort\(4\d\d|\bvalidate\w*\(", exact=True),
        side="old",
        paths=_words(r"\.pyw?$"),
    ),
    _Rule(
        name="left-over",
        level="low",
        message="Something of the development was left in.",
        pattern=_words(
            r"\bbreakpoint\(\)|\bpdb\.set_trace\(|\bconsole\.log\(|\bdebugger;|\b(FIXME|XXX|HACK)\b"
            r"|^<{7} |^>{7} |^={7}$",
            exact=True,
        ),
        side="new",
        in_tests=True,
    ),
    _Rule(
        name="test-skipped",
        level="medium",
        message="A test is skipped, or expected to fail.",
        pattern=_words(r"\bpytest\.(mark\.)?(skip|xfail)|\bunittest\.skip|\bit\.skip\(|\bxit\("),
        side="new",
        in_tests=True,
    ),
    _Rule(
        name="rule-silenced",
        level="low",
        message="A tool's complaint is switched off.",
        pattern=_words(r"#\s*(noqa|nosec|type:\s*ignore|pragma:\s*no cover)|//\s*eslint-disable"),
        side="new",
        in_tests=True,
    ),
)
_PATHS: tuple[tuple[str, str, str, re.Pattern[str]], ...] = (
    (
        "migration",
        "high",
        "The database's schema or data is migrated.",
        _words(r"(^|/)(migrations?|alembic|versions)/.*\.(py|sql)$|(^|/)schema\.sql$"),
    ),
    (
        "dependencies",
        "medium",
        "What the project depends on changes.",
        _words(
            r"(^|/)(requirements[^/]*\.(txt|in)|pyproject\.toml|setup\.(py|cfg)|Pipfile(\.lock)?"
            r"|poetry\.lock|uv\.lock|package(-lock)?\.json|yarn\.lock|go\.(mod|sum)|Cargo\.(toml|lock))$"
        ),
    ),
    (
        "deployment",
        "medium",
        "How it is built, tested or deployed changes.",
        _words(
            r"(^|/)(Dockerfile[^/]*|docker-compose[^/]*|Makefile|Jenkinsfile|\.gitlab-ci\.yml)$"
            r"|(^|/)(\.github/workflows|\.circleci|helm|k8s|terraform|deploy)/|\.(tf|service)$"
        ),
    ),
    (
        "security-sensitive",
        "medium",
        "Files about authentication, permissions or cryptography change.",
        _words(
            r"(^|[/_.-])(auth\w*|login|passwords?|permissions?|crypto\w*|security|secrets?|tokens?"
            r"|sessions?|identity)([/_.-])"
        ),
    ),
)


def find_risks(files: Sequence[FileChange], symbols: Sequence[SymbolChange]) -> list[Risk]:
    """All risks, the worst first."""
    collected: dict[str, _Collected] = {}
    redactors = {file.path: redactor_of(file) for file in files}
    for file in files:
        redactor = redactors[file.path]
        for name, level, message, pattern in _PATHS:
            if pattern.search(file.path) and not looks_like_test(file.path):
                _note(collected, name, level, message, _first(file, redactor))
        for rule in _LINES:
            for place in _matches(rule, file, redactor):
                _note(collected, rule.name, rule.level, rule.message, place)
        for level, message, place in _findings(file, redactor):
            _note(collected, "new-finding", level, message, place)
        for place in _secrets(file, redactor):
            level = "medium" if looks_like_test(file.path) else "high"
            _note(collected, "secret", level, "A secret stands in the new lines.", place)
    _about_symbols(collected, files, symbols, redactors)
    _about_tests(collected, files, symbols, redactors)
    _about_size(collected, files, redactors)
    risks = [one.risk() for one in collected.values()]
    return sorted(risks, key=lambda one: (_LEVELS.index(one.level), one.rule))


def redactor_of(file: FileChange) -> Redactor:
    """Masks the secrets of a change's lines."""
    lines = [line.text for line in (*file.added, *file.removed)]
    source = Source(
        file=file.path, text="\n".join(lines), lines=lines, is_python=False, is_test=False
    )
    return Redactor(source, scan_text(source))


class _Collected:
    def __init__(self, name: str, level: str, message: str) -> None:
        self._name = name
        self._level = level
        self._message = message
        self._places: dict[tuple[str, int, str], Place] = {}
        self._count = 0

    def add(self, level: str, message: str, place: Place) -> None:
        self._count += 1
        if _LEVELS.index(level) < _LEVELS.index(self._level):
            self._level, self._message = level, message
        if len(self._places) < _MOST_EVIDENCE:
            self._places.setdefault((place.file, place.line, place.side), place)

    def risk(self) -> Risk:
        return Risk(
            rule=self._name,
            level=self._level,
            message=self._message,
            evidence=list(self._places.values()),
            occurrences=self._count,
        )


def _note(
    collected: dict[str, _Collected], name: str, level: str, message: str, place: Place
) -> None:
    collected.setdefault(name, _Collected(name, level, message)).add(level, message, place)


def _place(file: str, line: Line, side: str, redactor: Redactor) -> Place:
    return Place(file=file, line=line.number, side=side, text=excerpt(redactor.text(line.text), 1))


def _first(file: FileChange, redactor: Redactor) -> Place:
    """The first changed line that says anything; a file without lines gives an empty one."""
    for lines, side in ((file.added, "new"), (file.removed, "old")):
        for line in lines:
            if line.text.strip():
                return _place(file.path if side == "new" else file.old_path, line, side, redactor)
    return Place(file=file.path, line=0, side="new", text="")


def _matches(rule: _Rule, file: FileChange, redactor: Redactor) -> Iterator[Place]:
    if rule.paths is not None and not rule.paths.search(file.path):
        return
    if not rule.in_tests and looks_like_test(file.path):
        return
    if file.path.endswith((".md", ".rst", ".lock", ".min.js", ".svg")):
        return
    for lines, side in ((file.added, "new"), (file.removed, "old")):
        if rule.side not in (side, "both"):
            continue
        for line in lines:
            text = line.text
            if len(text) <= _LONGEST_LINE and not _is_comment(text) and rule.pattern.search(text):
                path = file.path if side == "new" else file.old_path
                yield _place(path, line, side, redactor)


def _is_comment(text: str) -> bool:
    stripped = text.lstrip()
    # What is a comment to the interpreter may be an order to a tool.
    is_order = re.search(r"noqa|nosec|type:\s*ignore|pragma|eslint|FIXME|XXX|HACK", text)
    return stripped.startswith(("#", "//", "*")) and is_order is None


def _findings(file: FileChange, redactor: Redactor) -> Iterator[tuple[str, str, Place]]:
    """What the reviewer's own rules see after the change and did not see before."""
    if file.after is None or file.before is None or looks_like_test(file.path):
        return
    if PurePosixPath(file.path).suffix != ".py":
        return
    old, lines = file.before.split("\n"), file.after.split("\n")
    known = Counter(_key(raw, old) for raw in _raws(file.old_path, file.before))
    for raw in _raws(file.path, file.after):
        key = _key(raw, lines)
        if known[key]:
            known[key] -= 1
            continue
        rule = RULES[raw.rule]
        if rule.type not in (FindingType.SECURITY, FindingType.BUG):
            continue
        severity = raw.severity or rule.severity
        level = "high" if severity in (Severity.CRITICAL, Severity.HIGH) else "medium"
        text = lines[raw.line - 1] if raw.line <= len(lines) else ""
        line = Line(number=raw.line, text=text)
        yield (
            level,
            f"The reviewer's rules find something new: {raw.rule}.",
            _place(file.path, line, "new", redactor),
        )


def _raws(path: str, text: str) -> list[RawFinding]:
    try:
        return run_own_rules(parse(read_source(path, text.encode("utf-8", "replace"), "python")))
    except (SourceError, RecursionError):
        return []


def _key(raw: RawFinding, lines: Sequence[str]) -> tuple[str, str]:
    return raw.rule, lines[raw.line - 1].strip() if raw.line <= len(lines) else ""


def _secrets(file: FileChange, redactor: Redactor) -> Iterator[Place]:
    lines = [line.text for line in file.added]
    # Named values of Python are judged by the rules that see the tree, where there is one.
    has_tree = file.path.endswith(".py") and file.after is not None
    source = Source(
        file=file.path, text="\n".join(lines), lines=lines, is_python=has_tree, is_test=False
    )
    for raw in scan_text(source):
        yield _place(file.path, file.added[raw.line - 1], "new", redactor)


def _about_symbols(
    collected: dict[str, _Collected],
    files: Sequence[FileChange],
    symbols: Sequence[SymbolChange],
    redactors: dict[str, Redactor],
) -> None:
    by_path = {file.path: file for file in files}
    for one in symbols:
        if not one.breaking:
            continue
        file = by_path[one.file]
        number, side = (one.line, "new") if one.line else (one.old_line or 0, "old")
        whole = (file.after if side == "new" else file.before) or ""
        lines = whole.split("\n")
        text = lines[number - 1] if 0 < number <= len(lines) else ""
        line = Line(number=number, text=text)
        message = f"Callers of what is public break: `{one.symbol}`, {one.breaking}."
        place = _place(
            file.path if side == "new" else file.old_path, line, side, redactors[file.path]
        )
        _note(collected, "public-api", "high", message, place)


def _about_tests(
    collected: dict[str, _Collected],
    files: Sequence[FileChange],
    symbols: Sequence[SymbolChange],
    redactors: dict[str, Redactor],
) -> None:
    tests = [file for file in files if looks_like_test(file.path)]
    code = [
        file
        for file in files
        if _CODE.search(file.path) and file not in tests and file.kind is not FileKind.REMOVED
    ]
    said = set(_NAME.findall("\n".join(line.text for file in tests for line in file.added)))
    for file in code:
        if not file.added or file.path.endswith("__init__.py"):
            continue
        stem = PurePosixPath(file.path).stem
        named = any(stem in PurePosixPath(test.path).stem for test in tests)
        touched = {one.symbol.rpartition(".")[2] for one in symbols if one.file == file.path}
        if named or said & (touched | {stem}):
            continue
        place = _first(file, redactors[file.path])
        message = "Code changes, and no test that names it changes with it."
        _note(collected, "tests-missing", "medium", message, place)
    for file in tests:
        for line in file.removed:
            if re.match(r"\s*(async )?def test_|\s*class Test", line.text) and not _is_moved(
                line, tests
            ):
                message = "Tests are removed."
                place = _place(file.old_path, line, "old", redactors[file.path])
                _note(collected, "tests-removed", "medium", message, place)


def _is_moved(line: Line, tests: Sequence[FileChange]) -> bool:
    name = line.text.partition("(")[0].strip()
    return any(other.text.strip().startswith(name) for file in tests for other in file.added)


def _about_size(
    collected: dict[str, _Collected],
    files: Sequence[FileChange],
    redactors: dict[str, Redactor],
) -> None:
    lines = sum(len(file.added) + len(file.removed) for file in files)
    biggest = sorted(files, key=lambda file: -len(file.added) - len(file.removed))
    if lines > _MANY_LINES or len(files) > _MANY_FILES:
        level = "medium" if lines > 3 * _MANY_LINES else "low"
        message = f"It is large: {lines} lines in {len(files)} files."
        for file in biggest[:_MOST_EVIDENCE]:
            _note(collected, "size", level, message, _first(file, redactors[file.path]))
    for file in files:
        if file.kind is FileKind.BINARY:
            place = Place(file=file.path, line=0, side="new", text="")
            _note(
                collected, "binary", "low", "A binary file changes, which nobody can read.", place
            )
