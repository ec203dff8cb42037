"""What the analysis tests share: one loaded analyser, and short ways to ask it."""

from functools import cache
from textwrap import dedent

from sutazai.analysis.findings import Finding
from sutazai.analysis.protocol import FileReview
from sutazai.analysis.review import Analyser, Input


@cache
def analyser() -> Analyser:
    return Analyser()


def review(code: str | bytes, file: str = "/shop/module.py") -> FileReview:
    """The review of one piece of code; text is dedented first."""
    content = code if isinstance(code, bytes) else dedent(code).lstrip("\n").encode()
    [result] = analyser().review([Input(file=file, key="k", content=content)], _ignore)
    return result


def found(code: str, file: str = "/shop/module.py") -> list[tuple[str, int]]:
    """Class and line of every finding."""
    return [(finding.rule, finding.line) for finding in review(code, file).findings]


def rules(code: str, file: str = "/shop/module.py") -> set[str]:
    """The classes that were found."""
    return {rule for rule, _ in found(code, file)}


def only(code: str, rule: str, file: str = "/shop/module.py") -> Finding:
    """The one finding of a class."""
    [finding] = [finding for finding in review(code, file).findings if finding.rule == rule]
    return finding


def _ignore(files: int, lines: int, issues: int) -> None:
    """Progress is of no interest here."""
