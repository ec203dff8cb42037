"""Making a raw finding of a node."""

import ast

from sutazai.analysis.findings import Confidence, RawFinding, Severity


def hit(
    node: ast.expr | ast.stmt,
    rule: str,
    message: str,
    *,
    severity: Severity | None = None,
    confidence: Confidence | None = None,
    description: str | None = None,
    secrets: tuple[str, ...] = (),
) -> RawFinding:
    """One of our own rules' findings, at the start of `node`."""
    return RawFinding(
        engine="sutazai",
        code=rule,
        rule=rule,
        line=node.lineno,
        column=node.col_offset + 1,
        end_line=node.end_lineno or node.lineno,
        message=message,
        severity=severity,
        confidence=confidence,
        description=description,
        secrets=secrets,
    )


def short(text: str, most: int = 60) -> str:
    """Text from the reviewed code, fit to stand in a message."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
