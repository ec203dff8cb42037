"""Secrets in any text file: known formats, private keys, and named values that look random."""

import re

from sutazai.analysis.engines.secret_values import looks_like_secret, looks_random
from sutazai.analysis.findings import Confidence, RawFinding, Severity
from sutazai.analysis.source import Source

_MOST = 200

# Each is anchored on a fixed prefix and bounded, so the scan stays linear.
_FORMATS = {
    "private-key": r"-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY-----",
    "aws-access-key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "github-token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b",
    "gitlab-token": r"\bglpat-[A-Za-z0-9_-]{20,64}\b",
    "slack-token": r"\bxox[abposr]-[A-Za-z0-9-]{10,200}",
    "slack-webhook": r"hooks\.slack\.com/services/T\w{6,14}/B\w{6,14}/\w{16,40}",
    "google-api-key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "stripe-key": r"\b[rs]k_live_[0-9A-Za-z]{16,128}\b",
    "openai-key": r"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,200}\b",
    "npm-token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "pypi-token": r"\bpypi-AgE[A-Za-z0-9_-]{40,300}",
    "sendgrid-key": r"\bSG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}\b",
    "json-web-token": (
        r"\beyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{20,500}"
    ),
    "url-password": (
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@'\"]{1,64}:[^\s:/@'\"{}$<>%]{3,128}@[A-Za-z0-9]"
    ),
}
_KNOWN = re.compile(
    "|".join(f"(?P<{name.replace('-', '_')}>{text})" for name, text in _FORMATS.items())
)
_NAMED = re.compile(
    r"(?P<name>[A-Za-z0-9_.-]{0,40}(?:passw(?:or)?d|pwd|secret|token|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|credential)[A-Za-z0-9_.-]{0,20})[\"']?\s{0,4}(?::|=>|=)\s{0,4}"
    r"(?P<value>\"[^\"\n]{6,200}\"|'[^'\n]{6,200}'|[^\s\"'#,;]{6,200})",
    re.IGNORECASE,
)
_HARMLESS_NAME = re.compile(
    r"hash|digest|checksum|integrity|public|_?id$|name$|file|path|url|uri|type|expir|ttl|length"
    r"|policy|field|header|prefix|regex|pattern|env$|placeholder",
    re.IGNORECASE,
)
_END_OF_KEY = "-----END"
_LONGEST_KEY = 200
"""Lines of a private key that are looked for."""
_LINE_BREAK = re.compile(r"\\[nr]")
_BASE64 = re.compile(r"[A-Za-z0-9+/=]{16,}")
_LOCK_FILES = (".lock", "package-lock.json", "pnpm-lock.yaml", "go.sum", ".svg", ".map", ".csv")


def scan_text(source: Source) -> list[RawFinding]:
    """Secrets in the text. Python's named values are left to the rules that see the tree."""
    found = []
    for number, line in enumerate(source.lines, 1):
        for match in _KNOWN.finditer(line):
            if not _is_example(match):
                code = (match.lastgroup or "").replace("_", "-")
                found.append(_raw(number, match.start(), code, _secrets_of(match, source, number)))
        if not source.is_python and not source.file.endswith(_LOCK_FILES):
            found += _named(number, line)
        if len(found) >= _MOST:
            break
    return found


def _named(number: int, line: str) -> list[RawFinding]:
    if len(line) > 2_000:  # generated or minified: names there mean little
        return []
    found = []
    for match in _NAMED.finditer(line):
        value, name = match["value"], match["name"]
        quoted = value[0] in "\"'"
        value = value.strip("\"'")
        if _HARMLESS_NAME.search(name):
            continue
        # Unquoted text is prose or code as often as a value, so more is asked of it.
        if looks_like_secret(value) if quoted else looks_random(value):
            found.append(_raw(number, match.start("value"), "named-secret", (value,)))
    return found


def _is_example(match: re.Match[str]) -> bool:
    text = match.group().lower()
    if match.lastgroup == "url_password":
        return not looks_like_secret(_password_of(text))
    return "example" in text or "xxxx" in text


def _password_of(url: str) -> str:
    return url.rsplit("@", 1)[0].rsplit(":", 1)[1]


def _secrets_of(match: re.Match[str], source: Source, number: int) -> tuple[str, ...]:
    """What of a match must not be repeated; of a private key, which begins there, all its lines."""
    if match.lastgroup == "url_password":
        return (_password_of(match.group()),)
    if match.lastgroup != "private_key":
        return (match.group(),)
    body: list[str] = []
    lines = [match.string[match.end() :], *source.lines[number : number + _LONGEST_KEY]]
    for line in lines:
        text, end, _ = line.partition(_END_OF_KEY)
        for part in _LINE_BREAK.split(text):
            body += _BASE64.findall(part)
        if end:
            break
    return tuple(body)


def _raw(line: int, start: int, code: str, secrets: tuple[str, ...]) -> RawFinding:
    certain = code not in ("named-secret", "url-password")
    return RawFinding(
        engine="sutazai",
        code=code,
        rule="hardcoded-secret",
        line=line,
        column=start + 1,
        end_line=line,
        message=f"The text has the form of a {code.replace('-', ' ')}.",
        severity=Severity.CRITICAL if certain else Severity.HIGH,
        confidence=Confidence.HIGH if certain else Confidence.MEDIUM,
        secrets=secrets,
    )
