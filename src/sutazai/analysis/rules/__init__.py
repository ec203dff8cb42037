"""Our own rules over the syntax tree: what ruff and bandit lack."""

from collections.abc import Callable, Iterator

from sutazai.analysis.findings import RawFinding
from sutazai.analysis.parsing import Module
from sutazai.analysis.rules.flow import find_injections
from sutazai.analysis.rules.mistakes import find_mistakes
from sutazai.analysis.rules.performance import find_performance_traps
from sutazai.analysis.rules.safety import find_unsafe_habits
from sutazai.analysis.rules.secrets import find_secrets

_RULES: tuple[Callable[[Module], Iterator[RawFinding]], ...] = (
    find_performance_traps,
    find_injections,
    find_secrets,
    find_unsafe_habits,
    find_mistakes,
)


def run_own_rules(module: Module) -> list[RawFinding]:
    """What our rules see in one file."""
    found = [raw for rule in _RULES for raw in rule(module)]
    module.confirmed = {(raw.rule, raw.line) for raw in found}
    return found
