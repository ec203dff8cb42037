"""All engines' raw findings of one file to one Finding per place and class."""

import ast
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from sutazai.analysis.catalogue import RULES
from sutazai.analysis.findings import (
    Confidence,
    Evidence,
    Finding,
    RawFinding,
    Severity,
    fingerprint,
)
from sutazai.analysis.noise import is_noise
from sutazai.analysis.parsing import Module
from sutazai.analysis.redaction import Redactor
from sutazai.analysis.source import Source, excerpt
from sutazai.analysis.suppression import Suppressions

# Ours knows most about the place, then ruff, whose columns are exact.
_ABSORBS = {
    "weak-password-hash": "weak-hash",
    "server-side-request-forgery": "url-scheme-unchecked",
}
# Their word on severity and confidence stands; that of others is weighed with the catalogue's.
_KNOWS_BEST = {"sutazai", "mypy", "vulture"}
_ENGINE_RANK = {"sutazai": 0, "ruff": 1, "bandit": 2, "mypy": 3, "vulture": 4}


def merge(
    source: Source, module: Module | None, raws: Sequence[RawFinding]
) -> tuple[list[Finding], int]:
    """The findings of one file in source order, and how many more inline comments accepted."""
    lines = max(len(source.lines), 1)
    kept = [raw for raw in raws if 1 <= raw.line <= lines and not is_noise(raw, source, module)]
    if not kept:
        return [], 0
    places = _Places(module)
    groups: dict[tuple[str, int], list[RawFinding]] = defaultdict(list)
    for raw in kept:
        groups[raw.rule, places.statement(raw.line)].append(raw)
    _absorb(groups)
    suppressions = Suppressions(source.lines)
    found: list[tuple[RawFinding, list[RawFinding]]] = []
    suppressed = 0
    for (rule, start), group in groups.items():
        for place in _one_per_place(group):
            first = place[0]
            end = max(raw.end_line for raw in place)
            if suppressions.accept(rule, min(start, first.line), end):
                suppressed += 1
            else:
                found.append((first, place))
    found.sort(key=lambda pair: (pair[0].line, pair[0].column, pair[0].rule))
    return _finish(source, places, Redactor(source, raws), found), suppressed


def _absorb(groups: dict[tuple[str, int], list[RawFinding]]) -> None:
    """Let the more telling of two classes at one place take in the other's evidence."""
    for (rule, start), group in list(groups.items()):
        weaker = _ABSORBS.get(rule)
        if weaker is not None:
            absorbed = groups.pop((weaker, start), [])
            group += [msgspec.structs.replace(raw, rule=rule) for raw in absorbed]


def _one_per_place(group: list[RawFinding]) -> list[list[RawFinding]]:
    """Split one statement's findings of one class into places.

    The engine that tells most places apart defines them; the others' findings join the nearest.
    """
    by_engine: dict[str, dict[int, RawFinding]] = defaultdict(dict)
    for raw in sorted(group, key=lambda raw: (_ENGINE_RANK[raw.engine], raw.line, raw.column)):
        by_engine[raw.engine].setdefault(raw.line, raw)
    leader = max(by_engine, key=lambda engine: (len(by_engine[engine]), -_ENGINE_RANK[engine]))
    places = {line: [raw] for line, raw in by_engine.pop(leader).items()}
    lines = sorted(places)
    for others in by_engine.values():
        for raw in others.values():
            places[_nearest(lines, raw.line)].append(raw)
    for place in places.values():
        place.sort(key=lambda raw: _ENGINE_RANK[raw.engine])
    return list(places.values())


def _nearest(lines: list[int], line: int) -> int:
    """Of sorted `lines`, the one closest to `line`."""
    after = bisect_left(lines, line)
    around = lines[max(0, after - 1) : after + 1]
    return min(around, key=lambda other: abs(other - line))


def _finish(
    source: Source,
    places: "_Places",
    redactor: Redactor,
    found: list[tuple[RawFinding, list[RawFinding]]],
) -> list[Finding]:
    seen: dict[tuple[str, str, str], int] = defaultdict(int)
    findings = []
    for first, place in found:
        rule = RULES[first.rule]
        line_text = source.lines[first.line - 1] if source.lines else ""
        symbol = places.symbol(first.line)
        same = (rule.name, symbol, " ".join(line_text.split()))
        severity = _severity(place)
        findings.append(
            Finding(
                severity=severity.lowered() if source.is_test else severity,
                type=rule.type,
                file=source.file,
                line=first.line,
                column=max(1, min(first.column, len(line_text) + 1)),
                end_line=max(first.line, min(first.end_line, len(source.lines))),
                description=redactor.text(first.description or rule.description),
                suggestion=rule.suggestion,
                rule=rule.name,
                cwe=rule.cwe,
                confidence=_confidence(place),
                code=excerpt(redactor.line(first.line), first.column),
                fingerprint=fingerprint(rule.name, source.file, symbol, line_text, seen[same]),
                evidence=tuple(
                    Evidence(engine=raw.engine, rule=raw.code, message=redactor.text(raw.message))
                    for raw in place
                ),
                in_test=source.is_test,
            )
        )
        seen[same] += 1
    return findings


def _severity(place: list[RawFinding]) -> Severity:
    own = [raw.severity for raw in place if raw.engine in _KNOWS_BEST and raw.severity]
    if own:
        return min(own, key=lambda severity: severity.rank)
    stated = [raw.severity for raw in place if raw.severity]
    default = RULES[place[0].rule].severity
    return max((default, *stated), key=lambda severity: severity.rank)


def _confidence(place: list[RawFinding]) -> Confidence:
    own = [raw.confidence for raw in place if raw.engine in _KNOWS_BEST and raw.confidence]
    if own:
        return own[0]
    usual = RULES[place[0].rule].confidence
    doubted = any(raw.confidence is Confidence.LOW for raw in place)
    return Confidence.LOW if doubted and usual is not Confidence.HIGH else usual


class _Places:
    """Which statement and which symbol a line belongs to."""

    def __init__(self, module: Module | None) -> None:
        self._statements: dict[int, int] = {}
        self._symbols: dict[int, str] = {}
        if module is not None:
            self._fill(module)

    def statement(self, line: int) -> int:
        """The first line of the innermost statement (or header of one) that holds `line`."""
        return self._statements.get(line, line)

    def symbol(self, line: int) -> str:
        """The dotted name of the innermost class or function around `line`."""
        return self._symbols.get(line, "")

    def _fill(self, module: Module) -> None:
        for node in module.nodes:  # outer before inner, so inner ones overwrite
            if not isinstance(node, ast.stmt):
                continue
            end = node.end_lineno or node.lineno
            body = getattr(node, "body", None) or getattr(node, "cases", None)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                above = module.symbol(node)
                name = f"{above}.{node.name}" if above else node.name
                self._symbols.update(dict.fromkeys(range(node.lineno, end + 1), name))
            if body:
                first = body[0]
                begins = getattr(first, "lineno", None) or first.pattern.lineno
                end = max(node.lineno, begins - 1)
            self._statements.update(dict.fromkeys(range(node.lineno, end + 1), node.lineno))
