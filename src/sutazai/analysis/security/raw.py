"""Making a raw finding of a place in a file that is no Python."""

from sutazai.analysis.findings import Confidence, RawFinding, Severity


def found(
    rule: str,
    line: int,
    message: str,
    *,
    column: int = 1,
    severity: str | None = None,
    confidence: str | None = None,
) -> RawFinding:
    """One of our own, at a line and a column (from 1)."""
    return RawFinding(
        engine="sutazai",
        code=rule,
        rule=rule,
        line=line,
        column=column,
        end_line=line,
        message=message,
        description=message,
        severity=Severity(severity) if severity else None,
        confidence=Confidence(confidence) if confidence else None,
    )
