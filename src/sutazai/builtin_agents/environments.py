"""The variables that a task gives to code which runs in the sandbox."""

import re
from typing import Any

from sutazai.analysis.globs import InputError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_MOST_VARIABLES = 50
_LONGEST_VALUE = 4_096


def given_environment(value: Any) -> dict[str, str]:
    """What `metadata.environment` holds. Raises InputError."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > _MOST_VARIABLES:
        raise InputError(f"`environment` must be an object of at most {_MOST_VARIABLES} strings.")
    for name, text in value.items():
        fine = isinstance(text, str) and len(text) <= _LONGEST_VALUE and "\x00" not in text
        if not _VARIABLE.fullmatch(name) or not fine:
            raise InputError(f"`environment` has no valid name and string at {name[:60]!r}.")
    return value
