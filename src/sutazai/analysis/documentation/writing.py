"""Docstrings in Google or NumPy style, from what the code says and what was well said before."""

import textwrap
from collections.abc import Collection, Sequence

import msgspec

from sutazai.analysis.documentation.docstrings import (
    Entry,
    Style,
    Written,
    contradicts,
    exception_name,
    read_docstring,
    stated_default,
)
from sutazai.analysis.documentation.model import Kind, Output, Parameter, Raise, Symbol
from sutazai.analysis.documentation.sentences import sentence

_WIDTH = 88
_SECTION = {Style.GOOGLE: "Args", Style.NUMPY: "Parameters"}


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A heading and its entries, before they take a style's form."""

    title: str
    entries: list[tuple[str, str | None, str]]


def new_docstring(
    symbol: Symbol, style: Style, examples: str = "", *, head: str = "", indent: int = 0
) -> str:
    """A whole docstring for a symbol that has none; without indentation.

    `head` is its first sentence, where there is a better one than the code gives.
    """
    sections = [*_inputs(symbol, {}), *_results(symbol, None)]
    return _compose(head or sentence(symbol), sections, examples, style, indent)


def corrected_docstring(
    symbol: Symbol, never_raised: Collection[str] = (), *, indent: int = 0
) -> str | None:
    """The docstring with its sections brought in line with the code; None where it cannot be.

    What was said of names that still exist is kept, and so is its style. A docstring that holds
    more than the usual sections, or is in Sphinx's style, is left to its author.
    """
    written = read_docstring(symbol)
    style = written.style
    if not written.is_plain or style is None or style is Style.SPHINX:
        return None
    if written.raises is not None:
        kept_raises = [one for one in written.raises if exception_name(one) not in never_raised]
        written.raises = kept_raises
    said = {
        name.strip().lstrip("*\\"): entry
        for entry in [*(written.parameters or []), *(written.other_parameters or [])]
        for name in entry.name.split(",")
    }
    sections: list[Section] = []
    if written.parameters is not None:
        sections += _inputs(symbol, said)
    if written.attributes is not None:
        real = {member.name for member in symbol.members}
        kept = [entry for entry in written.attributes if not real or entry.name in real]
        rows = [(entry.name, entry.type, entry.text) for entry in kept]
        sections += [Section(title="Attributes", entries=rows)] if rows else []
    sections += _results(symbol, written)
    return _compose(written.text, sections, written.examples or "", style, indent)


def _inputs(symbol: Symbol, said: dict[str, Entry]) -> list[Section]:
    if symbol.kind is Kind.MODULE or not symbol.parameters:
        return []
    rows = [
        (one.shown, one.annotation, _about(one, said.get(one.name))) for one in symbol.parameters
    ]
    return [Section(title="Args", entries=rows)]


def _about(parameter: Parameter, said: Entry | None) -> str:
    default = f"Defaults to `{parameter.default}`." if parameter.default is not None else ""
    if said is not None and said.text:
        stated = stated_default(said)
        if stated is None or not contradicts(stated, parameter.default):
            return said.text
        if parameter.default is not None:
            return said.text.replace(stated, f"`{parameter.default}`", 1)
        return said.text
    sentences = [one for one in (parameter.use, default) if one]
    if sentences:
        return " ".join(sentences)
    if parameter.variadic:
        return "Any number of them." if not parameter.shown.startswith("**") else "By keyword."
    return "Required."


def _results(symbol: Symbol, written: Written | None) -> list[Section]:
    """The sections about what comes out; of an existing docstring only those that it has."""
    sections: list[Section] = []
    if symbol.kind is Kind.CLASS and written is None:
        return _raised(symbol.raises, None)
    fresh = written is None
    if symbol.returns is not None and symbol.kind is not Kind.PROPERTY:
        if fresh:
            sections += _output("Returns", symbol.returns)
        elif written is not None and written.returns:
            sections += _kept("Returns", written.returns)
    if symbol.kind is Kind.PROPERTY and written is not None and written.returns:
        sections += _kept("Returns", written.returns)
    if symbol.yields is not None:
        if fresh:
            sections += _output("Yields", symbol.yields)
        elif written is not None and written.yields:
            sections += _kept("Yields", written.yields)
    if fresh or (written is not None and written.raises is not None):
        sections += _raised(symbol.raises, written.raises if written is not None else None)
    return sections


def _output(title: str, output: Output) -> list[Section]:
    what = output.what or ("As annotated." if output.type else "")
    return [Section(title=title, entries=[("", output.type, what)])] if what else []


def _kept(title: str, entries: Sequence[Entry]) -> list[Section]:
    rows = [(entry.name, entry.type, entry.text) for entry in entries]
    return [Section(title=title, entries=rows)]


def _raised(raises: Sequence[Raise], said: Sequence[Entry] | None) -> list[Section]:
    rows: dict[str, str] = {}
    texts = {exception_name(entry): entry for entry in said or []}
    for one in raises:
        if one.name in texts:
            rows[one.name] = texts[one.name].text
        elif said is not None and one.via:
            continue
        elif one.name in rows:
            rows[one.name] = f"{rows[one.name]} {one.when}"
        else:
            rows[one.name] = one.when
    for name, entry in texts.items():
        rows.setdefault(name, entry.text)
    entries: list[tuple[str, str | None, str]] = [(name, None, text) for name, text in rows.items()]
    return [Section(title="Raises", entries=entries)] if entries else []


def _compose(
    head: str, sections: Sequence[Section], examples: str, style: Style, indent: int
) -> str:
    width = max(40, _WIDTH - indent)
    blocks = ["\n".join(textwrap.wrap(head, width)) if "\n" not in head else head]
    form = _google if style is Style.GOOGLE else _numpy
    blocks += [form(section, width) for section in sections]
    if examples:
        blocks.append(
            "Examples:\n" + textwrap.indent(examples, "    ")
            if style is Style.GOOGLE
            else "Examples\n--------\n" + examples
        )
    return "\n\n".join(blocks)


def _google(section: Section, width: int) -> str:
    lines = [f"{section.title}:"]
    for name, kind, text in section.entries:
        if section.title in ("Returns", "Yields"):
            start = f"{kind}: " if kind else ""
        elif section.title == "Raises":
            start = f"{name}: "
        else:
            start = f"{name} ({kind}): " if kind else f"{name}: "
        lines.append(_hung(f"{start}{text}", width, "    ", "        "))
    return "\n".join(lines)


def _numpy(section: Section, width: int) -> str:
    title = _SECTION[Style.NUMPY] if section.title == "Args" else section.title
    lines = [title, "-" * len(title)]
    for name, kind, text in section.entries:
        if section.title in ("Returns", "Yields"):
            lines.append(f"{name} : {kind}" if name and kind else name or kind or "object")
        elif section.title == "Raises":
            lines.append(name)
        else:
            lines.append(f"{name} : {kind}" if kind else name)
        if text:
            lines.append(_hung(text, width, "    ", "    "))
    return "\n".join(lines)


def _hung(text: str, width: int, first: str, rest: str) -> str:
    paragraphs = text.split("\n\n")
    if any(_is_laid_out(line) for line in text.splitlines()[1:]):
        head, _, tail = text.partition("\n")
        return first + head + "\n" + textwrap.indent(textwrap.dedent(tail), rest)
    wrapped = [
        textwrap.fill(
            " ".join(paragraph.split()),
            width,
            initial_indent=first if number == 0 else rest,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for number, paragraph in enumerate(paragraphs)
    ]
    return "\n\n".join(wrapped)


def _is_laid_out(line: str) -> bool:
    """Whether a line is part of a list or of a block, which must not be filled."""
    return line.startswith((" ", "\t", ">>>", "|")) or line.lstrip()[:2] in ("- ", "* ", "+ ")
