"""The README: a section made from the code, and names in it that the code does not have."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence

from sutazai.analysis.documentation.model import Kind, Stale, Symbol
from sutazai.analysis.documentation.pages import module_table
from sutazai.analysis.documentation.symbols import Documented
from sutazai.analysis.engines.secrets import scan_text
from sutazai.analysis.redaction import Redactor
from sutazai.analysis.source import Source, excerpt

START = "<!-- reference: start (made from the code) -->"
END = "<!-- reference: end -->"
_DOTTED = re.compile(r"(?<![\w./-])([A-Za-z_]\w{0,60}(?:\.[A-Za-z_]\w{0,60}){1,6})(?![\w/-])")
_IMPORTED = re.compile(r"^\s*from\s+([\w.]{1,200})\s+import\s+([\w, ]{1,300})", re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]{1,300})`")
_FENCE = re.compile(r"^[ \t]*(```|~~~)")
# `shop.py` names a file, `shop.example` or `shop.com` a host.
_NOT_CODE = {
    "py", "pyi", "md", "toml", "json", "yaml", "yml", "txt", "cfg", "ini", "sh", "db", "log", "sql",
    "html", "css", "js", "ts", "com", "org", "net", "io", "dev", "example", "test", "local", "git",
    "zip", "gz", "whl", "png", "svg", "lock", "env", "service", "conf", "csv", "xml", "rst", "pth",
}  # fmt: skip


def section(modules: Sequence[Symbol], folder: str, example: tuple[str, str] | None) -> str:
    """The README's part about the code; `example` is a module and a text that was executed."""
    parts = [START, "## Reference", module_table(modules, folder)]
    if example is not None:
        module, text = example
        name = text.removeprefix(">>> ").partition("(")[0]
        shown = f">>> from {module} import {name}\n{text}" if module else text
        parts += ["For example:", f"```pycon\n{shown}\n```"]
    parts.append(END)
    return "\n\n".join(parts) + "\n"


def with_section(readme: str, new: str) -> str:
    """The README with the section in its place, or at its end where it had none."""
    before, found, rest = readme.partition(START)
    if found:
        _, ended, after = rest.partition(END + "\n")
        if ended:
            return before + new + after
        before = readme
    return (before.rstrip("\n") + "\n\n" if before.strip() else "") + new


def find_stale(source: Source, modules: Sequence[Documented]) -> list[Stale]:
    """Names below the project's own modules that its code does not have."""
    redactor = Redactor(source, scan_text(source))
    known = {symbol.path: symbol for one in modules for symbol in one.symbol.walk()}
    owners = {one.symbol.path: one for one in modules}
    found: dict[tuple[int, str], Stale] = {}
    for number, text in _code_in(source.lines):
        names = [match[1] for match in _DOTTED.finditer(text)]
        for imported in _IMPORTED.finditer(text):
            wanted = (one.split()[0] for one in imported[2].split(",") if one.split())
            names += [f"{imported[1]}.{one}" for one in wanted]
        for name in names:
            if name in known or name.rpartition(".")[2].lower() in _NOT_CODE:
                continue
            owner = _lacking(name, known, owners)
            if owner is None:
                continue
            found.setdefault(
                (number, name),
                Stale(
                    kind="unknown-symbol",
                    file=source.file,
                    line=number,
                    symbol=name,
                    quote=excerpt(redactor.line(number), 1),
                    message=f"`{name}` is named, but `{owner}` has no such name.",
                    suggestion="Name what took its place, or remove it.",
                ),
            )
    return list(found.values())


def _lacking(
    name: str, known: Mapping[str, Symbol], owners: Mapping[str, Documented]
) -> str | None:
    """Who of ours lacks a name, for certain; None where the name is there, or is not ours."""
    owner = name
    while owner and owner not in known:
        owner = owner.rpartition(".")[0]
    if not owner:
        return None
    first = name[len(owner) + 1 :].partition(".")[0]
    symbol = known[owner]
    if symbol.kind is Kind.CLASS:
        return None if symbol.bases or symbol.labels or first.startswith("__") else owner
    if symbol.kind is not Kind.MODULE or owner not in owners:
        return None
    module = owners[owner].module
    # A package holds modules that were not read; imported names are names of the module, too.
    if symbol.file.endswith("__init__.py") or first in module.imported:
        return None
    stars = any(one.name == "*" for node in module.of(ast.ImportFrom) for one in node.names)
    return None if stars or f"{owner}.__getattr__" in known else owner


def _code_in(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    inside = False
    for number, line in enumerate(lines, 1):
        if _FENCE.match(line):
            inside = not inside
        elif inside:
            yield number, line[:2_000]
        else:
            for span in _SPAN.finditer(line[:2_000]):
                yield number, span[1]
