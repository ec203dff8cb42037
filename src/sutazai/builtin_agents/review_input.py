"""The metadata of a review task, checked field by field before any work is done."""

from collections.abc import Mapping
from typing import Any

import msgspec

from sutazai.analysis.findings import FindingType
from sutazai.analysis.globs import InputError
from sutazai.analysis.protocol import Inline, Place
from sutazai.analysis.reviewer import Reviewable

_MAX_PATTERNS = 1_000
_INLINE_NAME = "inline.py"

# Fields that name workspace files; several of them may be given, each a string or a list.
_PATH_FIELDS = ("file_path", "file", "files", "paths")

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


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to review, and which types of finding to tell about."""

    what: Reviewable
    types: frozenset[FindingType]


def parse_input(task_type: str, metadata: Mapping[str, Any], place: Place | None) -> Wanted:
    """What a task of `task_type` asks for. Raises InputError naming the wrong field."""
    language = _text(metadata, "language")
    types = _types(metadata.get("rules"), task_type)
    patterns = [pattern for field in _PATH_FIELDS for pattern in _patterns(metadata, field)]
    if "repository" in metadata:
        raise InputError("`repository` is not supported yet; give `code` or `files`.")
    if metadata.get("code") is not None:
        inline = _inline(metadata["code"], language, patterns)
        return Wanted(what=Reviewable(inline=(inline,)), types=types)
    if place is None:
        raise InputError("This server has no workspace; give the code itself as `code`.")
    if len(patterns) > _MAX_PATTERNS:
        raise InputError(f"`files` names {len(patterns)} paths; at most {_MAX_PATTERNS} are taken.")
    return Wanted(what=Reviewable(place=place, patterns=tuple(patterns)), types=types)


def _inline(code: Any, language: str | None, patterns: list[str]) -> Inline:
    if not isinstance(code, str):
        raise InputError("`code` must be a string.")
    if not code.strip():
        raise InputError("`code` is empty.")
    if len(patterns) > 1:
        raise InputError("With `code`, at most one file name may be given.")
    try:
        content = code.encode()
    except UnicodeEncodeError:
        raise InputError("`code` is not valid Unicode: it holds a lone surrogate.") from None
    name = patterns[0] if patterns else _INLINE_NAME
    # Without a name or language, code given to a Python reviewer is Python.
    known = "python" if not patterns and language is None else language
    return Inline(name=name, content=content, language=known)


def _types(rules: Any, task_type: str) -> frozenset[FindingType]:
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


def _text(metadata: Mapping[str, Any], field: str) -> str | None:
    value = metadata.get(field)
    if value is not None and not isinstance(value, str):
        raise InputError(f"`{field}` must be a string.")
    return value.strip().lower() or None if value is not None else None


def _patterns(metadata: Mapping[str, Any], field: str) -> list[str]:
    value = metadata.get(field)
    if value is None:
        return []
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise InputError(f"`{field}` must be a path or a list of paths.")
    if not all(item.strip() for item in values):
        raise InputError(f"`{field}` holds an empty path.")
    return values
