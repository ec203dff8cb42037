"""Every class of finding we know, and which engine's rule ids mean it.

A code that stands in no row here is not reported: selecting is the catalogue's job, so noise
(imports of risky modules, formatting) is left out by leaving it out.
"""

from sutazai.analysis.catalogue_configuration import CONFIGURATION
from sutazai.analysis.catalogue_dependencies import DEPENDENCIES
from sutazai.analysis.catalogue_quality import QUALITY
from sutazai.analysis.catalogue_refactoring import REFACTORING
from sutazai.analysis.catalogue_security import SECURITY
from sutazai.analysis.catalogue_types import TYPES
from sutazai.analysis.rule import Rule

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (*SECURITY, *QUALITY, *DEPENDENCIES, *TYPES, *CONFIGURATION, *REFACTORING)
}

BY_CODE: dict[str, Rule] = {code: rule for rule in RULES.values() for code in rule.codes}
"""Ruff and bandit ids to their class: `S608` and `B608` are both `sql-injection`."""

_BANDIT_PLUGIN_IDS = range(101, 800)


def ruff_codes() -> tuple[str, ...]:
    """The ids to select in ruff, sorted."""
    return tuple(sorted(code for code in BY_CODE if not is_bandit_code(code)))


def bandit_codes() -> tuple[str, ...]:
    """The ids to run in bandit, sorted."""
    return tuple(sorted(code for code in BY_CODE if is_bandit_code(code)))


def is_bandit_code(code: str) -> bool:
    """Whether an id is bandit's: `B` and a number from 101 on, which ruff's bugbear rules share.

    Ruff's B9xx and B0xx stay outside bandit's range, so the two never meet.
    """
    return code[0] == "B" and code[1:].isdigit() and int(code[1:]) in _BANDIT_PLUGIN_IDS
