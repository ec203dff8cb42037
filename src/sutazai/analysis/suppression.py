"""Inline comments by which a developer accepts a finding: honoured, and counted in the result."""

import re

from sutazai.analysis.catalogue import BY_CODE, RULES
from sutazai.analysis.findings import FindingType

_COMMENT = re.compile(r"#\s*(noqa|nosec|sutazai:\s*ignore)\b([^#]{0,300})", re.IGNORECASE)
_CODES = re.compile(r"[A-Z]{1,8}\d{3,4}|[a-z]+(?:-[a-z]+)+")
_LONGEST_STATEMENT = 30


class Suppressions:
    """The comments `noqa`, `nosec` and `sutazai: ignore` of one file.

    With ids they accept those classes (any engine's id of a class accepts the class); bare `noqa`
    and `sutazai: ignore` accept every class, bare `nosec` the security ones.
    """

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def accept(self, rule: str, line: int, end_line: int) -> bool:
        """Whether a comment on the finding's lines (from 1) accepts the class `rule`."""
        last = min(max(end_line, line), line + _LONGEST_STATEMENT, len(self._lines))
        return any(self._line_accepts(rule, number) for number in range(line, last + 1))

    def _line_accepts(self, rule: str, number: int) -> bool:
        text = self._lines[number - 1] if number <= len(self._lines) else ""
        if "#" not in text:
            return False
        for match in _COMMENT.finditer(text):
            word, rest = match[1].lower(), match[2].strip(" \t:[")
            codes = _CODES.findall(rest)
            if _names_ids(word, match[2], codes):
                if any(_class_of(code) == rule for code in codes):
                    return True
            elif word != "nosec" or RULES[rule].type is FindingType.SECURITY:
                return True
        return False


def _names_ids(word: str, rest: str, codes: list[str]) -> bool:
    if word == "noqa":
        # With a colon it names ids; followed by prose it is bare.
        return rest.lstrip().startswith(":")
    if word == "nosec":
        return any(code in BY_CODE or re.fullmatch(r"B\d{3}", code) for code in codes)
    return "[" in rest


def _class_of(code: str) -> str | None:
    if code in RULES:
        return code
    rule = BY_CODE.get(code)
    return rule.name if rule else None
