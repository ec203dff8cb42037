"""Which types of finding a task asks for."""

from collections.abc import Mapping
from typing import Any

from sutazai.analysis.findings import FindingType
from sutazai.analysis.globs import InputError

ALIASES = {
    "security": FindingType.SECURITY,
    "vulnerability": FindingType.SECURITY,
    "vulnerabilities": FindingType.SECURITY,
    "performance": FindingType.PERFORMANCE,
    "bug": FindingType.BUG,
    "bugs": FindingType.BUG,
    "correctness": FindingType.BUG,
    "maintainability": FindingType.MAINTAINABILITY,
    "quality": FindingType.MAINTAINABILITY,
    "style": FindingType.STYLE,
}
"""The names that `metadata.rules` takes."""

_DEFAULT_TYPES = {"security_analysis": frozenset({FindingType.SECURITY})}


def wanted_types(task_type: str, metadata: Mapping[str, Any]) -> frozenset[FindingType]:
    """The types of finding that `metadata.rules` asks for. Raises InputError for others."""
    rules = metadata.get("rules")
    if rules is None or rules == []:
        return _DEFAULT_TYPES.get(task_type, frozenset(FindingType))
    names = [rules] if isinstance(rules, str) else rules
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("`rules` must be a list of names.")
    unknown = [name for name in names if name.lower() not in (*ALIASES, "all")]
    if unknown:
        raise InputError(
            f"`rules` does not know {', '.join(map(repr, unknown[:5]))}; "
            f"known are {', '.join(FindingType)}."
        )
    if any(name.lower() == "all" for name in names):
        return frozenset(FindingType)
    return frozenset(ALIASES[name.lower()] for name in names)
