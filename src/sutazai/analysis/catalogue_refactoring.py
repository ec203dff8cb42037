"""The classes of what could be simpler."""

from sutazai.analysis.findings import Confidence, FindingType, Severity
from sutazai.analysis.rule import Rule

REFACTORING = (
    Rule(
        "dead-code",
        FindingType.MAINTAINABILITY,
        Severity.LOW,
        None,
        "Nothing in the project uses it.",
        "Delete it, unless it is there for somebody outside of the project.",
        (),
        Confidence.MEDIUM,
    ),
    Rule(
        "duplicated-code",
        FindingType.MAINTAINABILITY,
        Severity.LOW,
        None,
        "The same statements stand in several places.",
        "Give them a name: one function, with what differs as its parameters.",
        (),
        Confidence.HIGH,
    ),
)
