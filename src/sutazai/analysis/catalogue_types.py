"""The classes of what a type checker finds."""

from sutazai.analysis.findings import Confidence, FindingType, Severity
from sutazai.analysis.rule import Rule

TYPES = (
    Rule(
        "type-error",
        FindingType.BUG,
        Severity.MEDIUM,
        None,
        "The types do not fit.",
        "Change the code or the annotation, whichever is wrong.",
        (),
        Confidence.HIGH,
    ),
    Rule(
        "missing-type",
        FindingType.MAINTAINABILITY,
        Severity.LOW,
        None,
        "A type is not stated, so nothing checks it.",
        "Annotate it; the patch in the result has what could be inferred.",
        (),
        Confidence.HIGH,
    ),
)
