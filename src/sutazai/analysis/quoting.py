"""Text from anywhere as a result may quote it: cut, and without the secrets in it."""

import re

from sutazai.analysis.engines.secrets import scan_text
from sutazai.analysis.redaction import Redactor, masked
from sutazai.analysis.source import Source

_LONGEST = 500
_BEARER = re.compile(
    r"(?i)\b(bearer|basic|token|cookie:|set-cookie:)\s{1,3}([A-Za-z0-9._~+/=;-]{12,2000})"
)


def quoted(text: str) -> str:
    """At most 500 characters of a text, with the middle of secrets masked."""
    text = text[:_LONGEST]
    lines = text.split("\n")
    source = Source(file="quote", text=text, lines=lines, is_python=False, is_test=False)
    text = Redactor(source, scan_text(source)).text(text)
    return _BEARER.sub(lambda found: f"{found[1]} {masked(found[2])}", text)
