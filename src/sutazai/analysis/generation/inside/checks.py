"""Checks: a case with the assertions that hold after it, which can be run again."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from types import CodeType
from typing import Any

from sutazai.analysis.generation.inside.cases import Case
from sutazai.analysis.generation.inside.forks import Alarm, OutOfTime
from sutazai.analysis.generation.inside.observing import staged
from sutazai.analysis.generation.inside.tracing import Arc
from sutazai.analysis.generation.inside.values import MODULE

_LONGEST_PRODUCED = 40


@dataclass
class Check:
    """A case with the assertions that hold after it."""

    number: int
    case: Case
    lines: list[str]
    told: list[str]
    arcs: frozenset[Arc]
    seconds: float = 0.0
    is_accident: bool = False

    @property
    def target(self) -> str:
        """The qualified name of what it calls."""
        return self.case.target

    @property
    def body(self) -> str:
        """The statements as one text."""
        return "\n".join(self.lines)

    @cached_property
    def code(self) -> CodeType | None:
        """The statements, compiled once for all the times that they are run."""
        try:
            return compile(self.body, "<check>", "exec")
        except SyntaxError:
            return None


class Verdict(Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    LATE = "late"


def verdict(module: Any, check: Check, seconds: float) -> Verdict:
    """How a check ends against this module, within this processor time."""
    if check.code is None:
        return Verdict.FAILED
    try:
        with staged(module) as names, Alarm(seconds):
            exec(check.code, names)  # noqa: S102  # in the sandbox
    except OutOfTime:
        return Verdict.LATE
    except BaseException:  # any way of failing is one
        return Verdict.FAILED
    return Verdict.PASSED


def produced(lines: Sequence[str]) -> list[str | bytes]:
    """Texts and bytes that an assertion expects: what one call gives, another may take."""
    found: list[str | bytes] = []
    for line in lines:
        if line.startswith("assert "):
            test = ast.parse(line.replace(MODULE, "module")).body[0]
            compared = test.test if isinstance(test, ast.Assert) else test
            if isinstance(compared, ast.Compare) and isinstance(
                expected := compared.comparators[-1], ast.Constant
            ):
                value = expected.value
                if isinstance(value, str | bytes) and 3 < len(value) < _LONGEST_PRODUCED:
                    found.append(value)
    return found
