"""Docstrings put into a file's own text, so that nothing but docstrings changes."""

import ast
import textwrap
from collections.abc import Mapping

import msgspec

from sutazai.analysis.documentation.docstrings import Style
from sutazai.analysis.documentation.model import Documentable, Kind, Stale, Symbol
from sutazai.analysis.documentation.symbols import Documented
from sutazai.analysis.documentation.writing import corrected_docstring, new_docstring
from sutazai.analysis.parsing import parse
from sutazai.analysis.patches import PatchError, applied, unified
from sutazai.analysis.source import Source, SourceError, read_source

_CORRECTED = frozenset(
    {"unknown-parameter", "missing-parameter", "wrong-default", "wrong-type", "never-raised",
     "missing-raise", "returns-nothing", "yields-nothing", "unknown-attribute"}
)  # fmt: skip


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """One docstring put in: `first` to `last` are the lines (from 1) that go, none where equal."""

    first: int
    last: int
    lines: list[str]


class FilePatch(msgspec.Struct, kw_only=True):
    """The diff of one file, and which symbols it gives a docstring or a correct one."""

    diff: str
    added: list[str]
    corrected: list[str]
    reason: str = ""
    """Why there is no diff, where there should be one."""


def patch_docstrings(
    documented: Documented,
    content: bytes,
    style: Style,
    stale: list[Stale],
    examples: dict[str, str],
    heads: Mapping[str, str] | None = None,
) -> FilePatch:
    """The file's diff, proven to apply and to leave all code as it is.

    `heads` are first sentences for docstrings that are new, by symbol.
    """
    heads = heads or {}
    raw = _raw_text(content)
    wanted = [one for one in documented.symbol.walk() if one.counts and one.docstring is None]
    wrong = {one.symbol for one in stale if one.kind in _CORRECTED}
    patch = FilePatch(diff="", added=[], corrected=[])
    edits: list[Edit] = []
    for symbol in wanted:
        head = heads.get(symbol.path, "")
        edit = _insertion(documented, symbol, style, examples.get(symbol.path, ""), head)
        if edit is not None:
            edits.append(edit)
            patch.added.append(symbol.path)
    for symbol in documented.symbol.walk():
        if symbol.path in wrong and symbol.docstring is not None:
            edit = _correction(documented, symbol, stale)
            if edit is not None:
                edits.append(edit)
                patch.corrected.append(symbol.path)
    if not edits:
        return patch
    if raw is None:
        return FilePatch(diff="", added=[], corrected=[], reason="not UTF-8")
    after = _edited(raw, edits)
    diff = unified(documented.source.file, raw, after)
    problem = _problem(documented.source, raw, after, diff)
    if problem:
        return FilePatch(diff="", added=[], corrected=[], reason=problem)
    patch.diff = diff
    return patch


def _raw_text(content: bytes) -> str | None:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    # Old Macintosh line ends are left alone: a diff has no way to write them.
    return None if "\r" in text.replace("\r\n", "") else text


def _problem(source: Source, before: str, after: str, diff: str) -> str:
    """Why a diff must not go out; empty where it may."""
    try:
        if applied(before, diff) != after:
            return "the diff does not give the new text"
        old = parse(source).tree
        new = parse(read_source(source.file, after.encode(), "python")).tree
    except (PatchError, SourceError) as error:
        return f"the patched file cannot be read ({error})"
    if _without_docstrings(old) != _without_docstrings(new):
        return "more than docstrings would change"
    return ""


def _without_docstrings(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, Documentable) and node.body and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _edited(text: str, edits: list[Edit]) -> str:
    end = "\r\n" if "\r\n" in text else "\n"
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    lines = text.removeprefix("\ufeff").split("\n")
    for edit in sorted(edits, key=lambda one: (one.first, one.last), reverse=True):
        new = [line + end.removesuffix("\n") for line in edit.lines]
        lines[edit.first - 1 : edit.last - 1] = new
    return mark + "\n".join(lines)


def _insertion(
    documented: Documented, symbol: Symbol, style: Style, examples: str, head: str
) -> Edit | None:
    node, lines = symbol.node, documented.source.lines
    if node is None:
        return None
    if isinstance(node, ast.Module):
        text = new_docstring(symbol, style)
        return _module_insertion(documented, node, literal(text, ""))
    first = node.body[0]
    start = min([first.lineno, *(one.lineno for one in getattr(first, "decorator_list", ()))])
    line = lines[start - 1]
    before = line.encode()[: first.col_offset].decode() if start == first.lineno else ""
    if before.strip():
        # The body stands on the header's own line.
        header = lines[node.lineno - 1]
        indent = header[: len(header) - len(header.lstrip())]
        indent += "\t" if indent.startswith("\t") else "    "
        text = _text(documented, symbol, style, examples, head, indent)
        rest = line.encode()[first.col_offset :].decode()
        new = [before.rstrip(), *literal(text, indent), indent + rest]
        return Edit(first=start, last=start + 1, lines=new)
    indent = line[: len(line) - len(line.lstrip())]
    text = _text(documented, symbol, style, examples, head, indent)
    at = start
    while at - 1 > node.lineno and lines[at - 2].lstrip()[:1] in ("", "#"):
        at -= 1
    new = literal(text, indent)
    if isinstance(node, ast.ClassDef):
        new.append("")
    return Edit(first=at, last=at, lines=new)


def _text(
    documented: Documented, symbol: Symbol, style: Style, examples: str, head: str, indent: str
) -> str:
    text = new_docstring(symbol, style, examples, head=head, indent=len(indent.expandtabs(4)))
    return documented.redactor.text(text)


def _module_insertion(documented: Documented, node: ast.Module, new: list[str]) -> Edit:
    lines = documented.source.lines
    at = 0
    while at < len(lines) and lines[at].startswith("#"):
        at += 1
    if not node.body:
        return Edit(first=at + 1, last=at + 1, lines=new)
    first = node.body[0]
    start = min([first.lineno, *(one.lineno for one in getattr(first, "decorator_list", ()))])
    at = min(at, start - 1)
    before = [""] if at and lines[at - 1].strip() else []
    after = [""] if at < len(lines) and lines[at].strip() else []
    return Edit(first=at + 1, last=at + 1, lines=[*before, *new, *after])


def _correction(documented: Documented, symbol: Symbol, stale: list[Stale]) -> Edit | None:
    node, lines = symbol.node, documented.source.lines
    if node is None:
        return None
    statement = node.body[0]
    last = statement.end_lineno or statement.lineno
    line = lines[statement.lineno - 1]
    indent = line[: len(line) - len(line.lstrip())]
    starts = line.encode()[: statement.col_offset].decode()
    ends = lines[last - 1].encode()[statement.end_col_offset :].decode()
    if starts.strip() or ends.strip():
        return None  # it shares its lines with code
    never = {
        one.suggestion.removeprefix("Remove `").removesuffix("`.")
        for one in stale
        if one.symbol == symbol.path and one.kind == "never-raised"
    }
    text = corrected_docstring(symbol, never, indent=len(indent.expandtabs(4)))
    if text is None or text == symbol.docstring:
        return None
    return Edit(first=statement.lineno, last=last + 1, lines=literal(text, indent))


def literal(text: str, indent: str) -> list[str]:
    """The lines of a string literal, indented, that Python reads as this docstring."""
    prefix = ""
    if "\\" in text:
        if '"""' in text or text.endswith("\\"):
            text = text.replace("\\", "\\\\")
        else:
            prefix = "r"
    if '"""' in text:
        text = text.replace('"""', '\\"\\"\\"')
    if text.endswith('"'):
        text += " "
    start = f'{prefix}"""'
    if "\n" not in text:
        return [f'{indent}{start}{text}"""']
    body = textwrap.indent(text, indent).split("\n")
    return [f"{indent}{start}{body[0].lstrip()}", *body[1:], f'{indent}"""']


def covered(symbols: list[Symbol]) -> tuple[int, int]:
    """How many public symbols have a docstring, and how many there are."""
    public = [one for one in symbols if one.counts and one.kind is not Kind.ATTRIBUTE]
    return sum(one.docstring is not None for one in public), len(public)
