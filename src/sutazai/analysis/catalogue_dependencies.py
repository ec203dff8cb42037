"""The classes of what a dependency audit finds in a project's manifests and imports."""

from sutazai.analysis.findings import Confidence, FindingType, Severity
from sutazai.analysis.rule import Rule


def _rule(
    kind: str,
    name: str,
    severity: str,
    description: str,
    suggestion: str,
    confidence: str = "high",
    cwe: int | None = None,
) -> Rule:
    return Rule(
        name,
        FindingType(kind),
        Severity(severity),
        cwe,
        description,
        suggestion,
        (),
        Confidence(confidence),
    )


DEPENDENCIES = (
    _rule(
        "security",
        "vulnerable-dependency",
        "high",
        "A dependency has a known vulnerability.",
        "Move to a version without it and run the tests.",
        cwe=1395,
    ),
    _rule(
        "bug",
        "missing-dependency",
        "high",
        "A module is imported that no requirement brings.",
        "Add the distribution that brings it to the project's dependencies.",
        "medium",
    ),
    _rule(
        "maintainability",
        "unused-dependency",
        "low",
        "A requirement is declared, and nothing of it is imported.",
        "Remove it, unless it is a plugin, a command, or imported by name at run time.",
        "low",
    ),
    _rule(
        "maintainability",
        "unpinned-dependency",
        "low",
        "A requirement leaves its version open, so two installations can differ.",
        "Pin it in a lock file, or give it at least a lower and an upper bound.",
    ),
    _rule(
        "bug",
        "conflicting-requirements",
        "high",
        "Two requirements for the same distribution cannot both be met.",
        "Make them agree on a range that both allow.",
    ),
    _rule(
        "security",
        "unverified-source",
        "medium",
        "A dependency is taken from an address that can serve something else tomorrow.",
        "Pin it to a full commit, or to an archive with its digest.",
        cwe=494,
    ),
    _rule(
        "maintainability",
        "licence-to-clear",
        "medium",
        "A dependency's licence asks something of what is built on it.",
        "Have it cleared, or replace the dependency.",
        "medium",
    ),
    _rule(
        "bug",
        "malformed-requirement",
        "medium",
        "A line declares a requirement that tools cannot read.",
        "Write it as PEP 508 has it: `name[extra]>=1.0; marker`.",
    ),
)
