"""Templates of pages: where a value gets into the page unescaped, and forms without a token."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from sutazai.analysis.findings import RawFinding
from sutazai.analysis.security.raw import found
from sutazai.analysis.source import Source

_SUFFIXES = {".html", ".htm", ".j2", ".jinja", ".jinja2", ".djhtml", ".vue", ".svelte", ".hbs"}
_SUFFIXES |= {".handlebars", ".mustache", ".ejs", ".mako"}
_LONGEST = 4_000
_SAFE = re.compile(r"\{\{[^{}]{0,300}\|\s*safe\b[^{}]{0,100}\}\}")
_UNESCAPED = (
    (re.compile(r"\{%-?\s*autoescape\s+(?:false|off)\s*-?%\}"), "Escaping is switched off here."),
    (re.compile(r"\{\{\{[^{}]{1,300}\}\}\}"), "Three braces write the value as it is."),
    (re.compile(r"<%-[^%]{1,300}%>"), "`<%-` writes the value as it is."),
    (re.compile(r"\bv-html\s*="), "`v-html` writes the value as it is."),
    (re.compile(r"\{@html\s"), "`{@html}` writes the value as it is."),
)
_TRUSTED = re.compile(
    r"tojson|json_script|static|csrf|url_for|bleach|sanitize|markdown_safe", re.IGNORECASE
)
_VALUE = re.compile(r"\{\{-?\s*([^{}]{1,200}?)\s*-?\}\}")
_BARE_ATTRIBUTE = re.compile(r"\s[\w:-]{1,40}=\{\{")
_FORM = re.compile(r"<form\b[^>]{0,500}", re.IGNORECASE)
_POST = re.compile(r"method\s*=\s*[\"']?post", re.IGNORECASE)
_ELSEWHERE = re.compile(r"action\s*=\s*[\"']?\s*https?://", re.IGNORECASE)
_TOKEN = re.compile(r"csrf|_token|authenticity|form\.hidden_tag|xsrf", re.IGNORECASE)


def is_template(source: Source) -> bool:
    """Whether a file is a page's template, by its name."""
    suffixes = PurePosixPath(source.file.lower()).suffixes
    return bool(suffixes) and not source.is_python and bool(_SUFFIXES.intersection(suffixes[-2:]))


def scan_template(source: Source) -> Iterator[RawFinding]:
    """What one template does that a page should not."""
    in_script = False
    for number, line in enumerate(source.lines, 1):
        text = line[:_LONGEST]
        for match in _SAFE.finditer(text):
            if not _TRUSTED.search(match.group()):
                message = "`|safe` writes the value as it is."
                yield found("unescaped-output", number, message, column=match.start() + 1)
        for pattern, message in _UNESCAPED:
            if hit := pattern.search(text):
                yield found("unescaped-output", number, message, column=hit.start() + 1)
        lowered = text.lower()
        opens = lowered.rfind("<script")
        if opens >= 0 and "</script" not in lowered[opens:]:
            in_script = True
        elif "</script" in lowered:
            in_script = False
        elif in_script:
            yield from _in_script(number, text)
        if hit := _BARE_ATTRIBUTE.search(text):
            message = "Without quotes, a value with a space in it begins attributes of its own."
            yield found("unescaped-output", number, message, column=hit.start() + 2)
    yield from _forms(source)


def _in_script(number: int, text: str) -> Iterator[RawFinding]:
    for match in _VALUE.finditer(text):
        if "|" in match[1] or _TRUSTED.search(match[1]):
            continue
        message = "Escaping for HTML does not protect a value inside of a script."
        yield found("unescaped-output", number, message, column=match.start() + 1)


def _forms(source: Source) -> Iterator[RawFinding]:
    whole = "\n".join(line[:_LONGEST] for line in source.lines)
    if "{%" not in whole and "{{" not in whole:
        return  # a static page: what fills in its forms is not ours to see
    for match in _FORM.finditer(whole):
        if not _POST.search(match.group()) or _ELSEWHERE.search(match.group()):
            continue
        end = whole.find("</form", match.end())
        body = whole[match.start() : end if end >= 0 else match.end() + 20_000]
        if not _TOKEN.search(body):
            line = whole.count("\n", 0, match.start()) + 1
            message = "This form is sent by POST and carries no token against forged requests."
            yield found("missing-csrf-token", line, message)
