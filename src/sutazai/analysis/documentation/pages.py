"""Reference pages in Markdown: what the code says, what its authors say, and what was executed."""

from collections.abc import Iterator, Sequence

import msgspec

from sutazai.analysis.documentation.docstrings import (
    Entry,
    Written,
    contradicts,
    exception_name,
    read_docstring,
    stated_default,
)
from sutazai.analysis.documentation.model import Kind, Output, Parameter, Symbol
from sutazai.analysis.documentation.sentences import first_sentence, sentence

_FIRST_LEVEL = 3
_TITLES = {
    Kind.ATTRIBUTE: "Attributes",
    Kind.CLASS: "Classes",
    Kind.FUNCTION: "Functions",
}


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What was executed of one symbol: examples that hold, and how many do not."""

    holds: tuple[str, ...] = ()
    left_out: int = 0


def page(module: Symbol, shown: dict[str, Shown]) -> str:
    """The page of one module."""
    parts = [f"# `{module.path}`", *_prose(module, shown), f"Source: `{module.file}`"]
    for kind, title in _TITLES.items():
        members = [one for one in module.members if one.public and one.kind is kind]
        if not members:
            continue
        parts.append(f"## {title}")
        if kind is Kind.ATTRIBUTE:
            parts.append(_attributes(members))
            continue
        for member in members:
            parts += _symbol(member, shown, _FIRST_LEVEL)
    if module.exports:
        rows = ["| Name | From |", "|---|---|"]
        rows += [f"| `{name}` | `{path}` |" for name, path in module.exports.items()]
        parts += ["## From other modules", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def index(modules: Sequence[Symbol], folder: str = "") -> str:
    """The page that lists the modules."""
    return f"# Reference\n\n{module_table(modules, folder)}\n"


def module_table(modules: Sequence[Symbol], folder: str = "") -> str:
    """A table of modules with links to their pages below `folder`."""
    rows = ["| Module | What it is |", "|---|---|"]
    for module in modules:
        link = f"[`{module.path}`]({folder}{page_name(module)})"
        rows.append(f"| {link} | {_cell(first_sentence(module.docstring or sentence(module)))} |")
    return "\n".join(rows)


def page_name(module: Symbol) -> str:
    """The file name of a module's page."""
    return f"{module.path}.md"


def _symbol(symbol: Symbol, shown: dict[str, Shown], level: int) -> Iterator[str]:
    owner = symbol.path.split(".")[-2]
    title = symbol.name if level == _FIRST_LEVEL else f"{owner}.{symbol.name}"
    yield f"{'#' * level} `{title}`"
    if symbol.signature:
        yield f"```python\n{symbol.signature}\n```"
    yield from _prose(symbol, shown)
    if symbol.kind is Kind.CLASS:
        if symbol.bases:
            yield "Bases: " + ", ".join(f"`{base}`" for base in symbol.bases)
        attributes = [one for one in symbol.members if one.public and one.kind is Kind.ATTRIBUTE]
        if attributes:
            yield _attributes(attributes)
        for member in symbol.members:
            if member.public and member.kind is not Kind.ATTRIBUTE:
                yield from _symbol(member, shown, min(level + 1, 6))


def _prose(symbol: Symbol, shown: dict[str, Shown]) -> Iterator[str]:
    """What is said of a symbol, the tables of the code's facts, and the executed examples."""
    written = read_docstring(symbol) if symbol.docstring is not None else None
    yield _without_examples(written.text) if written and written.text else sentence(symbol)
    if symbol.parameters:
        yield _parameters(symbol.parameters, written)
    if symbol.kind is not Kind.CLASS:
        for title, output, said in (
            ("Returns", symbol.returns, written.returns if written else None),
            ("Yields", symbol.yields, written.yields if written else None),
        ):
            if output is not None:
                yield _output(title, output, said)
    if symbol.raises:
        yield _raises(symbol, written)
    executed = shown.get(symbol.path)
    if executed is None:
        return
    for text in executed.holds:
        yield f"**Example**\n\n{_fenced(text, 'pycon')}"
    if executed.left_out:
        count = executed.left_out
        subject = "One example" if count == 1 else f"{count} examples"
        yield f"*{subject} of the docstring left out here: the output is another.*"


def _without_examples(text: str) -> str:
    if ">>>" not in text:
        return text.strip()
    import doctest

    try:
        pieces = doctest.DocTestParser().parse(text)
    except ValueError:
        lines = [line for line in text.splitlines() if not line.lstrip().startswith((">>>", "..."))]
        return "\n".join(lines).strip()
    return "".join(piece for piece in pieces if isinstance(piece, str)).strip()


def _parameters(parameters: Sequence[Parameter], written: Written | None) -> str:
    said: dict[str, Entry] = {}
    if written is not None:
        for entry in [*(written.parameters or []), *(written.other_parameters or [])]:
            said |= {name.strip().lstrip("*\\"): entry for name in entry.name.split(",")}
    rows = ["| Parameter | Type | Default | |", "|---|---|---|---|"]
    for one in parameters:
        known = said.get(one.name)
        text = one.use
        if known is not None and known.text:
            stated = stated_default(known)
            wrong = stated is not None and contradicts(stated, one.default)
            text = known.text if not wrong else one.use
        kind = _code(one.annotation) if one.annotation else ""
        default = _code(one.default) if one.default is not None else ""
        if not default and not one.variadic:
            default = "required"
        rows.append(f"| {_code(one.shown)} | {kind} | {default} | {_cell(text)} |")
    return "\n".join(rows)


def _output(title: str, output: Output, said: Sequence[Entry] | None) -> str:
    words = " ".join(entry.text for entry in said or () if entry.text) or output.what
    kind = f"{_code(output.type)} " if output.type else ""
    return f"**{title}:** {kind}{'— ' if kind and words else ''}{' '.join(words.split())}".rstrip()


def _raises(symbol: Symbol, written: Written | None) -> str:
    said = {exception_name(one): one.text for one in (written.raises if written else None) or ()}
    rows = ["| Raises | |", "|---|---|"]
    when: dict[str, list[str]] = {}
    for one in symbol.raises:
        when.setdefault(one.name, []).append(one.when)
    for name, reasons in when.items():
        rows.append(f"| `{name}` | {_cell(said.get(name) or ' '.join(reasons))} |")
    return "\n".join(rows)


def _attributes(members: Sequence[Symbol]) -> str:
    rows = ["| Attribute | Type | Value | |", "|---|---|---|---|"]
    for one in members:
        kind = _code(one.annotation) if one.annotation else ""
        value = _code(one.value) if one.value is not None else ""
        said = _cell(first_sentence(one.docstring or ""))
        rows.append(f"| `{one.name}` | {kind} | {value} | {said} |")
    return "\n".join(rows)


def _code(text: str | None) -> str:
    text = " ".join((text or "").split()).replace("|", "\\|")
    fence = "``" if "`" in text else "`"
    space = " " if fence == "``" else ""
    return f"{fence}{space}{text}{space}{fence}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _fenced(text: str, language: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"
