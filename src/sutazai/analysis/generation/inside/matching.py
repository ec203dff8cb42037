"""Texts that a pattern matches: what a parser wants to be given."""

import random
import re
from importlib import import_module
from typing import Any


def matching(pattern: str, seed: int = 0, *, verbose: bool = False) -> str | None:
    """A short text that `pattern` matches, another for another seed; None where it is too odd."""
    parser: Any = import_module("re._parser")  # nothing else reads patterns
    try:
        parsed = parser.parse(pattern, re.VERBOSE if verbose else 0)
    except (re.error, RecursionError, OverflowError):
        return None
    chance = random.Random(seed)  # noqa: S311  # not for secrets
    try:
        text = _text(parsed, chance, {})
        flags = re.VERBOSE if verbose else 0
        return text if len(text) < 80 and re.search(pattern, text, flags) else None
    except (KeyError, ValueError, RecursionError, re.error):
        return None


def _text(parsed: Any, chance: random.Random, groups: dict[int, str]) -> str:
    pieces: list[str] = []
    for code, argument in parsed:
        name = str(code)
        if name == "LITERAL":
            pieces.append(chr(argument))
        elif name == "NOT_LITERAL":
            pieces.append("x" if argument != ord("x") else "y")
        elif name == "ANY":
            pieces.append(chance.choice("ab 1"))
        elif name == "IN":
            pieces.append(_one_of(argument, chance))
        elif name == "BRANCH":
            pieces.append(_text(chance.choice(argument[1]), chance, groups))
        elif name == "SUBPATTERN":
            text = _text(argument[-1], chance, groups)
            if argument[0] is not None:
                groups[argument[0]] = text
            pieces.append(text)
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, inner = argument
            count = chance.randint(least, min(int(most), least + 2))
            pieces += [_text(inner, chance, groups) for _ in range(count)]
        elif name == "GROUPREF":
            pieces.append(groups[argument])
        elif name == "ATOMIC_GROUP":
            pieces.append(_text(argument, chance, groups))
        elif name not in ("AT", "ASSERT", "ASSERT_NOT"):
            raise ValueError(name)
    return "".join(pieces)


_CATEGORIES = {
    "CATEGORY_DIGIT": "0179",
    "CATEGORY_SPACE": " ",
    "CATEGORY_WORD": "ab1_",
    "CATEGORY_NOT_SPACE": "ab1",
    "CATEGORY_NOT_DIGIT": "ab ",
    "CATEGORY_NOT_WORD": " -",
}


def _one_of(options: Any, chance: random.Random) -> str:
    negated = str(options[0][0]) == "NEGATE"
    allowed: set[str] = set()
    for code, argument in options:
        name = str(code)
        if name == "LITERAL":
            allowed.add(chr(argument))
        elif name == "RANGE":
            last = min(argument[1], argument[0] + 9)
            allowed |= {chr(one) for one in range(argument[0], last + 1)}
        elif name == "CATEGORY":
            allowed |= set(_CATEGORIES[str(argument)])
    if negated:
        allowed = set("ab1 x,") - allowed or {"\u00e9"}
    return chance.choice(sorted(allowed))
