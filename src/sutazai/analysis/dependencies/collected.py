"""Findings in the making: one place may have several, one for each advisory."""

from collections import defaultdict
from collections.abc import Mapping

import msgspec

from sutazai.analysis.findings import Confidence, Finding, RawFinding, Severity
from sutazai.analysis.merge import merge
from sutazai.analysis.parsing import Module
from sutazai.analysis.source import Source


class Found:
    """What has been found so far, by file; `sources` are the files, by path."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._raws: dict[str, list[RawFinding]] = defaultdict(list)

    def add(
        self,
        rule: str,
        file: str,
        line: int,
        message: str,
        *,
        column: int = 1,
        severity: str | None = None,
        confidence: str | None = None,
        code: str | None = None,
    ) -> None:
        """Note one place (from 1) of the class `rule`; `code` names it more closely."""
        self._raws[file].append(
            RawFinding(
                engine="sutazai",
                code=code or rule,
                rule=rule,
                line=line,
                column=column,
                end_line=line,
                message=message,
                description=message,
                severity=Severity(severity) if severity else None,
                confidence=Confidence(confidence) if confidence else None,
            )
        )

    def findings(self, modules: Mapping[str, Module]) -> list[Finding]:
        """All of it, worst first."""
        found: list[Finding] = []
        for file, raws in self._raws.items():
            # One line may have several advisories: each is a finding of its own.
            apart: dict[tuple[str, int], list[RawFinding]] = defaultdict(list)
            for raw in raws:
                apart[raw.rule, raw.line].append(raw)
            rounds = max(len(group) for group in apart.values())
            for number in range(rounds):
                some = [group[number] for group in apart.values() if number < len(group)]
                found += _renumbered(merge(self._sources[file], modules.get(file), some)[0], number)
        found.sort(key=lambda finding: finding.sort_key)
        return found


def _renumbered(findings: list[Finding], number: int) -> list[Finding]:
    """Findings of the same line told apart by what they say."""
    if number == 0:
        return findings
    return [
        msgspec.structs.replace(one, fingerprint=f"{one.fingerprint[:30]}{number % 256:02x}")
        for one in findings
    ]
