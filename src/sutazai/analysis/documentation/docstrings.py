"""Docstrings as they stand: their sections, in whichever of the usual styles they are written."""

import ast
import re
from enum import StrEnum
from typing import Any

import msgspec

from sutazai.analysis.documentation.model import Symbol

_NUMPY = re.compile(
    r"^[ \t]*(Parameters|Returns|Raises|Yields|Attributes|Examples)[ \t]*\n[ \t]*-{3,}",
    re.MULTILINE,
)
_GOOGLE = re.compile(
    r"^[ \t]*(Args|Arguments|Parameters|Params|Returns|Raises|Yields|Attributes|Keyword Args"
    r"|Examples?|Other Parameters):[ \t]*$",
    re.MULTILINE,
)
_SPHINX = re.compile(
    r"^[ \t]*:(param|parameter|arg|argument|returns?|raises?|rtype|type)\b", re.MULTILINE
)
_LONGEST = 50_000
_DEFAULT = re.compile(
    r"(?:\bdefaults?\s+to\s+|[(,;]\s*default(?:\s+is)?\s*[:=]?\s+|\bdefault\s*[=:]\s*)"
    r"(``[^`]{1,80}``|`[^`]{1,80}`|\"[^\"]{0,80}\"|'[^']{0,80}'|[-+]?\d[\w.]{0,40}|\[\]|\{\}|\(\)"
    r"|True|False|None|true|false|none)",
    re.IGNORECASE,
)


class Style(StrEnum):
    """How a docstring marks its sections."""

    GOOGLE = "google"
    NUMPY = "numpy"
    SPHINX = "sphinx"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One documented parameter, exception, attribute or value; `default` where its form has one."""

    name: str
    type: str | None
    text: str
    default: str | None = None


class Written(msgspec.Struct, kw_only=True):
    """What a docstring says, section by section; a section that is not there is None."""

    style: Style | None
    text: str
    parameters: list[Entry] | None = None
    other_parameters: list[Entry] | None = None
    returns: list[Entry] | None = None
    yields: list[Entry] | None = None
    raises: list[Entry] | None = None
    attributes: list[Entry] | None = None
    examples: str | None = None
    is_plain: bool = True
    """Whether all that it holds is in the fields above, so that it can be written anew."""


def style_of(text: str) -> Style | None:
    """The style of the sections; None for prose alone."""
    if _NUMPY.search(text):
        return Style.NUMPY
    if _GOOGLE.search(text):
        return Style.GOOGLE
    return Style.SPHINX if _SPHINX.search(text) else None


def read_docstring(symbol: Symbol) -> Written:
    """The sections of a symbol's docstring, which must be there."""
    import griffe

    text = symbol.docstring or ""
    style = style_of(text)
    if style is None or len(text) > _LONGEST:
        return Written(style=None, text=text.strip())
    parser = griffe.parsers[griffe.Parser(style.value)]
    options: dict[str, Any] = {"warnings": False}
    if style is not Style.SPHINX:
        options["trim_doctest_flags"] = False
    if style is Style.GOOGLE:
        options |= {"returns_multiple_items": False, "returns_named_value": False}
    sections = parser(griffe.Docstring(text), **options)
    written = Written(style=style, text="")
    prose: list[str] = []
    for section in sections:
        _take(written, section, prose)
    written.text = "\n\n".join(prose).strip()
    return written


def _take(written: Written, section: object, prose: list[str]) -> None:
    kind = getattr(section, "kind", None)
    value = getattr(section, "value", None)
    match getattr(kind, "name", ""):
        case "text":
            if written.parameters or written.returns or written.raises or written.examples:
                written.is_plain = False  # prose between the sections would move
            prose.append(str(value))
        case "parameters":
            written.parameters = _entries(value)
        case "other_parameters":
            written.other_parameters = _entries(value)
        case "returns":
            written.returns = _entries(value)
        case "yields":
            written.yields = _entries(value)
        case "raises":
            written.raises = _entries(value)
        case "attributes":
            written.attributes = _entries(value)
        case "examples" if isinstance(value, list):
            written.examples = "\n\n".join(str(text) for _, text in value)
        case _:
            written.is_plain = False


def _entries(items: object) -> list[Entry]:
    found = []
    for item in items if isinstance(items, list) else []:
        annotation = getattr(item, "annotation", None)
        name = getattr(item, "name", "") or ""
        if not name and annotation is not None and type(item).__name__ == "DocstringRaise":
            name = str(annotation)
        found.append(
            Entry(
                name=name.strip("`"),
                type=str(annotation) if annotation is not None else None,
                text=str(getattr(item, "description", "")).strip(),
                default=getattr(item, "value", None),
            )
        )
    return found


def stated_default(entry: Entry) -> str | None:
    """The default that a parameter's entry names as a literal; None where it names none."""
    if entry.default is not None:
        return str(entry.default)
    found = _DEFAULT.search(f"{entry.type or ''}, {entry.text}")
    return found[1].rstrip(".,;") if found else None


def contradicts(stated: str, default: str | None) -> bool:
    """Whether a stated default is another than the code's; prose is never a contradiction."""
    stated = stated.strip("`").rstrip(".,;")
    if default is None:
        return stated.lower() != "none"
    said, real = _literal(stated), _literal(default)
    if real is None:
        # The default is an expression: only the same text is known to agree, nothing to disagree.
        return False
    if real[0] is None:
        return False  # `None` often stands for what the body puts in its place
    if said is None:
        return isinstance(real[0], str) and stated.isidentifier() and stated != real[0]
    if isinstance(said[0], int | float) and isinstance(real[0], int | float):
        return bool(said[0] != real[0])
    if isinstance(said[0], str) and isinstance(real[0], str):
        # Docstrings that are not raw spell a line feed in more than one way.
        return real[0] not in (said[0], said[0].replace("\\n", "\n").replace("\\t", "\t"))
    if isinstance(real[0], str) and repr(said[0]).lower() == real[0].lower():
        return False
    return repr(said[0]) != repr(real[0])


def _literal(text: str) -> tuple[object] | None:
    capital = {"true": "True", "false": "False", "none": "None"}.get(text, text)
    try:
        return (ast.literal_eval(capital),)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def exception_name(entry: Entry) -> str:
    """The last part of the name of a documented exception."""
    return entry.name.rpartition(".")[2].strip("`:~!")
