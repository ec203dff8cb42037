"""What is known about one class of finding, whichever engine sees it."""

import msgspec

from sutazai.analysis.findings import Confidence, FindingType, Severity


class Rule(msgspec.Struct, frozen=True):
    """One class of finding. `codes` are the ids under which ruff and bandit report it."""

    name: str
    type: FindingType
    severity: Severity
    cwe: int | None
    description: str
    suggestion: str
    codes: tuple[str, ...] = ()
    confidence: Confidence = Confidence.MEDIUM
