"""What must never be in a log: found by the name it stands under, and by what it looks like."""

import functools
import re
from typing import Any

MASK = "***"
_DEEPEST = 8

_NAMES = r"pass(?:word|wd|phrase)|secret|token|authorization|cookie|credentials?|api[_-]?key|ticket"
_SECRET_NAME = re.compile(rf"(?:^|[^a-z])(?:{_NAMES})s?$", re.IGNORECASE)
_SHAPES = re.compile(
    # A JSON Web Token, which also is what tickets are.
    r"(?P<whole>eyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?"
    # API keys, ours and those of model providers; secrets of Standard Webhooks.
    r"|sk-[\w-]{12,}|whsec_[\w+/=-]+"
    # Tokens of forges, clouds and registries, and private keys.
    r"|(?:gh[oprsu]_|npm_|hf_)[A-Za-z0-9]{30,}|github_pat_\w{30,}|[rs]k_live_[A-Za-z0-9]{16,}"
    r"|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}"
    r"|pypi-[\w-]{16,}|(?<=PRIVATE KEY-----)(?:[^\"'\\-]|\\+[nr]){16,})"
    r"|(?P<scheme>(?i:bearer|basic)\s+)[\w.~+/=-]{6,}"
    # user:password@ of a URL.
    r"|(?P<start>://)[^\s/@\"']*:[^\s/@\"']+(?=@)"
    # name=value and name: value. Where the name is quoted the value must be, or it is no text.
    rf"|(?P<name>(?i:{_NAMES})(?:[\"'\\]+\s*[=:]\s*[bru]?[\"'\\]+|\s*[=:]\s*[\"'\\]*)"
    r"(?:(?i:bearer|basic)\s+)?)"
    r"(?!(?:-?[\d.]+|null|true|false|None|True|False)\b)[^\s\"'\\&,;(){}\[\]]{3,}"
)

_HINTS = (
    *("eyj", "sk-", "whsec_", "bearer", "basic", "://", "password", "passwd", "passphrase"),
    *("secret", "token", "authorization", "cookie", "credential", "apikey", "api_key", "api-key"),
    *("ticket", "gho_", "ghp_", "ghr_", "ghs_", "ghu_", "github_pat_", "k_live_", "npm_", "hf_"),
    *("glpat-", "xox", "akia", "asia", "aiza", "pypi-", "private key"),
)
"""In lower case; what `_SHAPES` matches has one of them."""


@functools.lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether what stands under this name is secret, as with `password` or `refresh_token`."""
    return _SECRET_NAME.search(name) is not None


def without_secrets(value: Any, *, depth: int = 0) -> Any:
    """The value with everything masked that stands under a secret's name, at any depth.

    Numbers stay: a count of tokens is no token.
    """
    if isinstance(value, dict):
        if depth == _DEEPEST:
            return MASK
        return {
            key: MASK
            if is_secret_name(str(key)) and not isinstance(one, int | float | None)
            else without_secrets(one, depth=depth + 1)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        if depth == _DEEPEST:
            return MASK
        parts = [without_secrets(one, depth=depth + 1) for one in value]
        return tuple(parts) if isinstance(value, tuple) else parts
    return value


def redact(text: str) -> str:
    """The text with everything masked that looks like a secret; JSON stays JSON."""
    lowered = text.lower()
    # The expression costs ten times as much, and most lines have nothing for it.
    if not any(hint in lowered for hint in _HINTS):
        return text
    return _SHAPES.sub(_masked, text)


def _masked(match: re.Match[str]) -> str:
    kept = match["scheme"] or match["start"] or match["name"] or ""
    return kept + MASK
