"""Telling a secret from a word: entropy, shape, and the placeholders people write."""

import math
import re
from collections import Counter

_MIN_LENGTH = 6
_MAX_LENGTH = 512
_PLACEHOLDER = re.compile(
    r"^(x+|\*+|\.+|0+|1234\w*|change.?me.*|your[-_ ].*|my[-_ ].*|.*example.*|.*placeholder.*"
    r"|.*dummy.*|.*redacted.*|none|null|true|false|todo.*|test|default|undefined|password|passwd"
    r"|secret|token|env|string|bearer|basic|<.*>|\[.*\]|\$\{?.*|\{.*\}|%.*|.*\$\{.*)$",
    re.IGNORECASE,
)
_WORDS = re.compile(r"^[-_.]*[A-Za-z]+([-_./: ][A-Za-z]+)*[-_.:/?!=]*$")
_REFERENCE = re.compile(r"^(/|\./|https?://[^@]*$|[a-z]+://[^:@]*$)|[{}<>()]|\s")


def entropy(value: str) -> float:
    """Bits per character, from 0 for one repeated character."""
    total = len(value)
    counts = Counter(value).values()
    return -sum(count / total * math.log2(count / total) for count in counts) if total else 0.0


def looks_like_secret(value: str) -> bool:
    """Whether a string under a secret's name is a real value: no word, placeholder or reference."""
    if not _MIN_LENGTH <= len(value) <= _MAX_LENGTH:
        return False
    if _PLACEHOLDER.match(value) or _REFERENCE.search(value):
        return False
    if _WORDS.match(value):
        return False
    return entropy(value) >= 2.0


def looks_random(value: str) -> bool:
    """Whether a string looks machine-made: long, mixed, and close to evenly spread."""
    if not 20 <= len(value) <= _MAX_LENGTH or _REFERENCE.search(value) or _WORDS.match(value):
        return False
    digits = sum(character.isdigit() for character in value)
    letters = sum(character.isalpha() for character in value)
    if digits < 3 or letters < 3:
        return False
    return entropy(value) >= (3.0 if re.fullmatch(r"[0-9a-f]+", value) else 3.7)
