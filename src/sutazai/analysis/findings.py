"""The Finding, and the raw form in which engines hand in what they saw."""

import hashlib
from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """How bad it is when it is true; `confidence` says how sure we are that it is."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for critical, 4 for info: a smaller rank is worse."""
        return _RANKS[self]

    def lowered(self) -> "Severity":
        """One step milder; info stays info."""
        return _ORDER[min(self.rank + 1, len(_ORDER) - 1)]


_ORDER = tuple(Severity)
_RANKS = {severity: rank for rank, severity in enumerate(_ORDER)}


class FindingType(StrEnum):
    """What `metadata.rules` selects by."""

    SECURITY = "security"
    PERFORMANCE = "performance"
    BUG = "bug"
    MAINTAINABILITY = "maintainability"
    STYLE = "style"


class Confidence(StrEnum):
    """How sure the engines are, all taken together."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for high, 2 for low."""
        return (Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW).index(self)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One engine's own words for a finding: its name, its rule id, its message."""

    engine: str
    rule: str
    message: str


class RawFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What one engine saw at one place, already under our class name `rule`.

    Lines and columns start at 1. `severity`, `confidence` and `description` override the
    catalogue where the engine knows better. `secrets` are pieces of the file's text that no finding
    may repeat.
    """

    engine: str
    code: str
    rule: str
    line: int
    message: str
    column: int = 1
    end_line: int = 0
    severity: Severity | None = None
    confidence: Confidence | None = None
    description: str | None = None
    secrets: tuple[str, ...] = ()


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong at one place, with the evidence of every engine that saw it.

    `file` starts with `/` for a workspace file (the workspace's root) and is the bare given name
    for inline code. `line`, `column` and `end_line` start at 1. `code` is line `line` verbatim (at
    most 400 characters of it, around the column), but for the middle of secrets, which is masked
    by as many asterisks, there and in every text. `cwe` is a number, or null where none applies.
    `fingerprint` depends on the content, not on the line number: it survives moved lines.
    """

    severity: Severity
    type: FindingType
    file: str
    line: int
    column: int
    end_line: int
    description: str
    suggestion: str
    rule: str
    cwe: int | None
    confidence: Confidence
    code: str
    fingerprint: str
    evidence: tuple[Evidence, ...]
    in_test: bool = False

    @property
    def sort_key(self) -> tuple[bool, int, int, str, int, int]:
        """Worst first, test files last, then by place: the order of every result."""
        return (
            self.in_test,
            self.severity.rank,
            self.confidence.rank,
            self.file,
            self.line,
            self.column,
        )


def fingerprint(rule: str, file: str, symbol: str, line_text: str, occurrence: int) -> str:
    """32 hex digits naming a finding by what it is about, so that edits elsewhere do not rename it.

    `symbol` is the enclosing function or class; `occurrence` counts equal lines of the same rule
    in the same symbol, from 0.
    """
    normalised = " ".join(line_text.split())
    parts = "\x00".join((rule, file, symbol, normalised, str(occurrence)))
    digest = hashlib.sha256(parts.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]
