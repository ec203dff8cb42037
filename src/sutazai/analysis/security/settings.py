"""Settings in Python files (Django's and Flask's) and in the files of tools and servers."""

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from sutazai.analysis.findings import RawFinding
from sutazai.analysis.parsing import Module
from sutazai.analysis.rules.hit import hit
from sutazai.analysis.security.raw import found
from sutazai.analysis.source import Source

_WEAK_WHEN_FALSE = {
    "SESSION_COOKIE_SECURE": "The session's cookie is sent without TLS, too.",
    "CSRF_COOKIE_SECURE": "The token's cookie is sent without TLS, too.",
    "SESSION_COOKIE_HTTPONLY": "Scripts can read the session's cookie.",
    "SECURE_SSL_REDIRECT": "Requests without TLS are answered as they are.",
    "SECURE_CONTENT_TYPE_NOSNIFF": "Browsers may guess what a file is.",
    "WTF_CSRF_ENABLED": "Forms are accepted without a token against forged requests.",
    "VERIFY_SSL": "Certificates are not checked.",
}
_WEAK_WHEN_TRUE = {
    "DEBUG": "Debug mode shows code and settings to whoever causes an error.",
    "CORS_ALLOW_ALL_ORIGINS": "Every page on the web may read what the API answers.",
    "CORS_ORIGIN_ALLOW_ALL": "Every page on the web may read what the API answers.",
}
_SETTINGS_FILE = re.compile(r"(?:^|/)(?:settings|config|configuration|production|prod)\w*\.py$")
_DEVELOPMENT = re.compile(r"dev|local|test|debug", re.IGNORECASE)


def scan_settings(module: Module) -> Iterator[RawFinding]:
    """Assignments at the top of a settings module, or below a class in it."""
    file = module.source.file
    folder = "/settings/" in file
    if not (_SETTINGS_FILE.search(file) or folder) or _DEVELOPMENT.search(PurePosixPath(file).stem):
        return
    for node in module.of(ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield from _setting(node, target.id, node.value)


def _setting(node: ast.Assign, name: str, value: ast.expr) -> Iterator[RawFinding]:
    constant = value.value if isinstance(value, ast.Constant) else None
    message = _WEAK_WHEN_TRUE.get(name) if constant is True else None
    if constant is False:
        message = _WEAK_WHEN_FALSE.get(name)
    if name == "ALLOWED_HOSTS" and "*" in _texts(value):
        message = "Every Host header is accepted, so links in mails can be made to lead away."
    if name == "SESSION_COOKIE_SAMESITE" and constant in (None, "None") and _is_none(value):
        message = "The session's cookie goes along with requests from any other site."
    if message:
        yield hit(node, "insecure-setting", f"`{name}`: {message}", description=message)


def _texts(value: ast.expr) -> list[object]:
    """The constants that a list or tuple holds."""
    items = value.elts if isinstance(value, ast.List | ast.Tuple) else []
    return [one.value for one in items if isinstance(one, ast.Constant)]


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value in (None, "None")


# --- files of tools and servers, line by line

_LINES: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "nginx": (
        (r"^\s*autoindex\s+on\b", "insecure-setting", "Folders are listed to everybody.", "low"),
        (
            r"^\s*ssl_protocols\b.*\b(?:SSLv[23]|TLSv1(?:\.1)?)(?![.\d])",
            "insecure-setting",
            "Versions of TLS are allowed that are broken.",
            "medium",
        ),
        (
            r"^\s*proxy_ssl_verify\s+off\b",
            "cleartext-download",
            "The certificate of what lies behind is not checked.",
            "medium",
        ),
        (
            r"^\s*add_header\s+[\"']?Access-Control-Allow-Origin[\"']?\s+[\"']?(?:\*|\$http_origin)",
            "insecure-setting",
            "Every page on the web may read the answers.",
            "medium",
        ),
    ),
    "pip": (
        (
            r"^\s*(?:-i|--(?:extra-)?index-url|(?:extra-)?index-url\s*=)[\s=]*http://",
            "cleartext-download",
            "Packages come without TLS, so anybody on the way can change them.",
            "high",
        ),
        (
            r"^\s*(?:--trusted-host\b|trusted-host\s*=)",
            "cleartext-download",
            "Whose packages these are is not checked for this host.",
            "medium",
        ),
    ),
    "npm": (
        (r"^\s*strict-ssl\s*=\s*false", "cleartext-download", "Certificates are not checked.", ""),
        (r"^\s*registry\s*=\s*http://", "cleartext-download", "Packages come without TLS.", "high"),
    ),
    "shell": (
        (
            r"\b(?:curl|wget)\b[^|\n]{0,300}\|\s*(?:sudo\s+(?:-\w+\s+)*)?(?:ba|z|da|k)?sh\b",
            "piped-installer",
            "A download is run by a shell as it comes.",
            "medium",
        ),
        (
            r"\bcurl\b[^|\n;&]{0,200}\s(?:-k|--insecure)\b",
            "cleartext-download",
            "`curl` is told not to check whose server it is.",
            "medium",
        ),
        (
            r"\bwget\b[^|\n;&]{0,200}\s--no-check-certificate\b",
            "cleartext-download",
            "`wget` is told not to check whose server it is.",
            "medium",
        ),
        (
            r"\bgit\b[^\n;&]{0,100}http\.sslVerify[= ]false",
            "cleartext-download",
            "`git` is told not to check whose server it is.",
            "medium",
        ),
    ),
}
_COMPILED = {
    kind: [
        (re.compile(pattern, re.IGNORECASE), rule, message, severity)
        for pattern, rule, message, severity in rules
    ]
    for kind, rules in _LINES.items()
}
_LONGEST = 2_000
_LOCATION = re.compile(r"^\s*location\s+(?:[=^~*]+\s+)?(/[^\s{]*[^/\s{])\s*\{")
_ALIAS = re.compile(r"^\s*alias\s+[^;]+/\s*;")


def kinds_of(file: str) -> set[str]:
    """Which of the tables above a file is held against, by its name."""
    path = PurePosixPath(file.lower())
    name, suffix = path.name, path.suffix
    kinds: set[str] = set()
    if "nginx" in str(path) and suffix in (".conf", ".nginx", ".tpl", ".template", ""):
        kinds.add("nginx")
    if name in ("pip.conf", "pip.ini") or name.startswith(("requirements", "constraints")):
        kinds.add("pip")
    if name == ".npmrc":
        kinds.add("npm")
    if suffix in (".sh", ".bash", ".zsh") or is_dockerfile(file) or name == "makefile":
        kinds |= {"shell"}
    if suffix in (".yml", ".yaml"):
        kinds.add("shell")
    return kinds


def is_dockerfile(file: str) -> bool:
    """Whether a file is a recipe for an image, by its name."""
    name = PurePosixPath(file.lower()).name
    return name in ("dockerfile", "containerfile") or name.startswith(
        ("dockerfile.", "containerfile.")
    )


def scan_lines(source: Source) -> Iterator[RawFinding]:
    """What single lines of such files say."""
    rules = [rule for kind in sorted(kinds_of(source.file)) for rule in _COMPILED[kind]]
    for number, line in enumerate(source.lines, 1):
        text = line[:_LONGEST]
        if text.lstrip().startswith("#"):
            continue
        for pattern, rule, message, severity in rules:
            if match := pattern.search(text):
                column = match.start() + 1
                yield found(rule, number, message, column=column, severity=severity or None)
    if "nginx" in kinds_of(source.file):
        yield from _aliases(source)


def _aliases(source: Source) -> Iterator[RawFinding]:
    """`location /files { alias /srv/files/; }`: `/files../` leads out of the folder."""
    since = 0
    for number, line in enumerate(source.lines, 1):
        if _LOCATION.match(line[:_LONGEST]):
            since = number
        elif "}" in line:
            since = 0
        elif since and _ALIAS.match(line[:_LONGEST]):
            message = (
                "The location lacks the slash that the alias ends with, so `..` right behind it "
                "leads out of the folder."
            )
            yield found("insecure-setting", number, message, severity="high", confidence="high")
