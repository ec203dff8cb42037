"""What a result must look like to be taken for findings: agents answer what they like."""

from typing import Annotated, Any

import msgspec

from sutazai.analysis.findings import Confidence, Severity

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Evidence(msgspec.Struct):
    engine: str
    rule: str
    message: str


class _Issue(msgspec.Struct, kw_only=True):
    severity: Severity
    type: str
    file: str
    line: _Count
    column: _Count
    description: str
    suggestion: str
    rule: str
    confidence: Confidence
    fingerprint: str
    end_line: _Count = 0
    code: str = ""
    cwe: int | None = None
    evidence: list[_Evidence] = []
    in_test: bool = False
    fix: dict[str, Any] | None = None


class _Dismissed(msgspec.Struct):
    reason: str


class _DismissedIssue(_Issue, kw_only=True):
    dismissed: _Dismissed


class _Baseline(msgspec.Struct):
    unchanged: list[_Issue]
    absent: list[_Issue]


class _Unparsed(msgspec.Struct):
    file: str
    reason: str
    line: _Count = 0


class _Repository(msgspec.Struct):
    url: str
    commit: str
    branch: str | None = None


class _External(msgspec.Struct):
    tool: str
    rule: str
    level: str
    file: str
    line: _Count
    message: str


class _Findings(msgspec.Struct, kw_only=True):
    issues: list[_Issue]
    dismissed: list[_DismissedIssue] = []
    baseline: _Baseline | None = None
    unparsed: list[_Unparsed] | None = None
    not_analysed: list[_Unparsed] = []
    repository: _Repository | None = None
    external: list[_External] = []


def has_findings(result: Any) -> bool:
    """Whether this is what a code agent answers, through and through."""
    if not isinstance(result, dict) or "issues" not in result:
        return False
    try:
        msgspec.convert(result, _Findings)
    except msgspec.ValidationError:
        return False
    return True
