"""The two halves of documenting, which run in a worker: before the examples ran, and after."""

import stat
from collections.abc import Sequence

import msgspec

from sutazai.analysis.documentation import pages, readme
from sutazai.analysis.documentation.docstrings import Style
from sutazai.analysis.documentation.examples import Group, Outcome, collect, shown_call
from sutazai.analysis.documentation.model import AnyFunction, Stale, Undocumented
from sutazai.analysis.documentation.patching import covered, patch_docstrings
from sutazai.analysis.documentation.stale import find_stale
from sutazai.analysis.documentation.symbols import Documented, read_symbols
from sutazai.analysis.globs import InputError
from sutazai.analysis.parsing import Module, parse
from sutazai.analysis.patches import unified
from sutazai.analysis.protocol import Unparsed
from sutazai.analysis.reading import Content, Taken, contents, decoded
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.source import Source, SourceError, excerpt, looks_python, read_source
from sutazai.analysis.workspace import Skipped, Workspace

FOLDER = "docs/reference/"
_MOST_STALE = 2_000
_MOST_UNDOCUMENTED = 9
_MOST_PAGES_BYTES = 8 * 1024 * 1024


class DocFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file to document; `module` is its dotted name, importable from the folder `root`."""

    file: str
    content: bytes
    language: str | None
    module: str
    root: str


class Plan(msgspec.Struct, kw_only=True):
    """What was read: Python files, Markdown texts, the examples to run and where to import from.

    `undocumented` has the longest of the public functions without a docstring.
    """

    files: list[DocFile] = []
    texts: list[DocFile] = []
    groups: list[Group] = []
    undocumented: list[Undocumented] = []
    unparsed: list[Unparsed] = []
    skipped: list[Skipped] = []
    skipped_total: int = 0

    @property
    def roots(self) -> list[str]:
        """The folders that modules are imported from."""
        return sorted({one.root for one in self.files})


class Draft(msgspec.Struct, kw_only=True):
    """What the second half needs: the plan, and how its examples ended; `ran` is whether they ran.

    `whole` says that the plan has all of the project, so that its README can be judged. `heads` are
    first sentences for new docstrings, by symbol.
    """

    plan: Plan
    outcomes: list[Outcome]
    ran: bool
    style: Style
    whole: bool
    heads: dict[str, str] = {}


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One example and its evidence; `status` is passed, failed or not_run."""

    symbol: str
    file: str
    line: int
    source: str
    expected: str
    output: str
    status: str
    generated: bool
    error: str = ""


class Documentation(msgspec.Struct, kw_only=True):
    """The pages, the patch, and what was found on the way."""

    files: dict[str, str]
    files_truncated: bool
    patch: str
    added: list[str]
    corrected: list[str]
    unpatched: list[Skipped]
    readme: str
    documented_before: int
    documented_after: int
    public: int
    attributes: int
    stale: list[Stale]
    stale_truncated: bool
    examples: list[Example]
    not_imported: dict[str, str]
    """Modules for which no example could be made, with the error that importing them raises."""


def plan(what: Reviewable) -> Plan:
    """Read the project and find its examples. Raises InputError where there is nothing to do."""
    taken = Taken()
    named = _Namer(what)
    read: list[tuple[DocFile, Source]] = []
    texts: list[tuple[DocFile, Source]] = []
    for one in contents(what, taken):
        is_python = looks_python(one.file, one.content) or one.language == "python"
        if not is_python and not one.file.lower().endswith(".md"):
            continue
        source = decoded(one, taken)
        if source is not None:
            (read if is_python else texts).append((named.file(one), source))
    documented: list[Documented] = []
    callers: list[Module] = []
    made = Plan(texts=[file for file, _ in texts])
    has_code = any(not source.is_test for _, source in read)
    for file, source in read:
        if source.is_test and has_code:
            callers += _parsed(source)
            taken.leave(source.file, "a test; its calls serve as examples")
            continue
        if source.file.endswith(".pyi"):
            taken.leave(source.file, "a stub")
            continue
        try:
            found = read_symbols(source, file.module, file.root)
        except SourceError as error:
            made.unparsed.append(Unparsed(file=source.file, line=error.line, reason=error.reason))
            continue
        documented.append(found)
        callers.append(found.module)
        made.files.append(file)
    if not made.files:
        raise InputError(_nothing(made.unparsed, taken))
    importable = [one for one in documented if _is_importable(one.symbol.path)]
    made.groups = collect(importable, [(one.file, one.lines) for _, one in texts], callers)
    made.undocumented = _undocumented(documented)
    made.skipped, made.skipped_total = taken.skipped, taken.skipped_total
    return made


def _undocumented(documented: list[Documented]) -> list[Undocumented]:
    found: list[tuple[int, Undocumented]] = []
    for symbol in (one for whole in documented for one in whole.symbol.walk()):
        node = symbol.node
        if symbol.docstring is not None or not symbol.counts or not isinstance(node, AnyFunction):
            continue
        one = Undocumented(
            path=symbol.path,
            file=symbol.file,
            line=node.lineno,
            raises=sorted({raised.name for raised in symbol.raises}),
            has_output=symbol.returns is not None or symbol.yields is not None,
        )
        found.append(((node.end_lineno or node.lineno) - node.lineno, one))
    found.sort(key=lambda pair: (-pair[0], pair[1].file, pair[1].line))
    return [one for _, one in found[:_MOST_UNDOCUMENTED]]


def document(draft: Draft) -> Documentation:
    """Write pages, patch and report."""
    documented = [
        read_symbols(read_source(one.file, one.content, one.language), one.module, one.root)
        for one in draft.plan.files
    ]
    texts = [read_source(one.file, one.content) for one in draft.plan.texts]
    evidence = _Evidence(draft, documented, texts)
    stale: list[Stale] = []
    diffs: list[str] = []
    added: list[str] = []
    corrected: list[str] = []
    unpatched: list[Skipped] = []
    for file, one in zip(draft.plan.files, documented, strict=True):
        wrong = find_stale(one)
        stale += wrong
        made = patch_docstrings(
            one, file.content, draft.style, wrong, evidence.generated, draft.heads
        )
        if made.reason:
            unpatched.append(Skipped(file=file.file, reason=made.reason))
        if made.diff:
            diffs.append(made.diff)
        added += made.added
        corrected += made.corrected
    symbols = [symbol for one in documented for symbol in one.symbol.walk()]
    public = [one.symbol for one in documented if one.symbol.public]
    before, total = covered(symbols)
    written, truncated = _pages(documented, evidence)
    section = readme.section(public, FOLDER, evidence.first)
    if draft.whole:
        for source in texts:
            stale += readme.find_stale(source, documented)
        diffs += _readme_diff(draft, section)
    stale += evidence.wrong
    return Documentation(
        files=written,
        files_truncated=truncated,
        patch="".join(diffs),
        added=added,
        corrected=corrected,
        unpatched=unpatched,
        readme=section,
        documented_before=before,
        documented_after=before + len(added),
        public=total,
        attributes=sum(one.public and one.node is None for one in symbols),
        stale=stale[:_MOST_STALE],
        stale_truncated=len(stale) > _MOST_STALE,
        examples=evidence.examples,
        not_imported=evidence.not_imported,
    )


class _Namer:
    """Gives files their module's dotted name, by the `__init__.py` files above them."""

    def __init__(self, what: Reviewable) -> None:
        place = what.place
        self._workspace = (
            Workspace(place.root, place.excluded, place.limits) if place is not None else None
        )
        self._packages: dict[tuple[bytes, ...], bool] = {}

    def file(self, one: Content) -> DocFile:
        parts = one.parts or tuple(part.encode() for part in one.file.split("/") if part)
        start = len(parts) - 1
        while one.parts and start > 0 and self._is_package(parts[:start]):
            start -= 1
        names = [part.decode("utf-8", "backslashreplace") for part in parts[start:]]
        names[-1] = names[-1].rpartition(".")[0] or names[-1]
        if names[-1] == "__init__" and len(names) > 1:
            names.pop()
        root = b"/".join(parts[:start]).decode("utf-8", "backslashreplace")
        return DocFile(
            file=one.file,
            content=one.content,
            language=one.language,
            module=".".join(names),
            root=root if one.parts else "",
        )

    def _is_package(self, folder: tuple[bytes, ...]) -> bool:
        if folder not in self._packages:
            kind = self._workspace.kind((*folder, b"__init__.py")) if self._workspace else None
            self._packages[folder] = kind == stat.S_IFREG
        return self._packages[folder]


class _Evidence:
    """What the executed examples prove, by symbol."""

    def __init__(self, draft: Draft, documented: list[Documented], texts: list[Source]) -> None:
        self.examples: list[Example] = []
        self.wrong: list[Stale] = []
        self.generated: dict[str, str] = {}
        self.shown: dict[str, pages.Shown] = {}
        self.first: tuple[str, str] | None = None
        self.not_imported: dict[str, str] = {}
        self._lines = {one.source.file: one.source.lines for one in documented}
        self._lines |= {one.file: one.lines for one in texts}
        self._redactors = {one.source.file: one.redactor for one in documented}
        outcomes = {one.id: one for one in draft.outcomes} if draft.ran else {}
        for group in draft.plan.groups:
            outcome = outcomes.get(group.id)
            if group.generated:
                if outcome is not None:
                    self._generated(group, outcome)
            elif outcome is None:
                self._not_run(group)
            else:
                self._existing(group, outcome)

    def _generated(self, group: Group, outcome: Outcome) -> None:
        if outcome.unimported:
            self.not_imported[group.module] = self._masked(group.file, outcome.error)
        text = shown_call(group, outcome)
        if text is None or group.symbol in self.generated:
            return
        text = self._masked(group.file, text)
        self.generated[group.symbol] = text
        self.shown[group.symbol] = pages.Shown(holds=(text,))
        self.first = self.first or (group.module, text)
        output = outcome.examples[0].got
        self.examples.append(self._example(group, group.line, group.text, "", output, "passed"))

    def _existing(self, group: Group, outcome: Outcome) -> None:
        holds: list[str] = []
        wrong = 0
        line = group.line
        if outcome.error:
            wrong += 1
            self.examples.append(
                self._example(group, line, group.text, "", "", "failed", outcome.error)
            )
            self._stale(group, line, f"It does not run: {outcome.error}")
        for one in outcome.examples:
            line = self._place(group, one.source, line)
            status = "passed" if one.ok else "failed"
            self.examples.append(self._example(group, line, one.source, one.want, one.got, status))
            if one.ok:
                holds.append(_as_prompt(one.source) + one.want)
            else:
                wrong += 1
                self._stale(group, line, f"The output is {one.got.strip()[:200]!r}.")
        if group.symbol:
            text = self._masked(group.file, "".join(holds).rstrip("\n"))
            # What follows from a wrong line may hold only because of it.
            shown = (text,) if holds and not wrong else ()
            if shown and text.startswith(f">>> {group.symbol.rpartition('.')[2]}("):
                self.first = self.first or (group.module, text)
            self.shown[group.symbol] = pages.Shown(holds=shown, left_out=wrong)

    def _not_run(self, group: Group) -> None:
        self.examples.append(self._example(group, group.line, group.text, "", "", "not_run"))

    def _place(self, group: Group, source: str, after: int) -> int:
        """The line of an example: where its first line stands, at or after the one before."""
        first = source.split("\n", 1)[0].strip()
        lines = self._lines.get(group.file, [])
        for number in range(after, min(after + 2_000, len(lines)) + 1):
            if number >= 1 and first in lines[number - 1]:
                return number
        return after

    def _stale(self, group: Group, line: int, message: str) -> None:
        lines = self._lines.get(group.file, [])
        quote = excerpt(lines[line - 1], 1) if 1 <= line <= len(lines) else ""
        self.wrong.append(
            Stale(
                kind="wrong-example",
                file=group.file,
                line=line,
                symbol=group.symbol,
                quote=self._masked(group.file, quote),
                message=self._masked(group.file, f"An example does not hold. {message}"),
                suggestion="Correct the example, or the code that it shows.",
            )
        )

    def _example(
        self,
        group: Group,
        line: int,
        source: str,
        want: str,
        got: str,
        status: str,
        error: str = "",
    ) -> Example:
        return Example(
            symbol=group.symbol,
            file=group.file,
            line=line,
            source=self._masked(group.file, source[:2_000]),
            expected=self._masked(group.file, want),
            output=self._masked(group.file, got),
            status=status,
            generated=group.generated,
            error=error,
        )

    def _masked(self, file: str, text: str) -> str:
        redactor = self._redactors.get(file)
        return redactor.text(text) if redactor is not None else text


def _pages(documented: list[Documented], evidence: _Evidence) -> tuple[dict[str, str], bool]:
    public = [one for one in documented if one.symbol.public]
    written: dict[str, str] = {}
    size = 0
    for one in public:
        text = one.redactor.text(pages.page(one.symbol, evidence.shown))
        size += len(text)
        if size > _MOST_PAGES_BYTES:
            return written, True
        written[FOLDER + pages.page_name(one.symbol)] = text
    if public:
        written[f"{FOLDER}index.md"] = pages.index([one.symbol for one in public])
    return written, False


def _readme_diff(draft: Draft, section: str) -> list[str]:
    for one in draft.plan.texts:
        if one.file.lower() == "/readme.md":
            try:
                before = one.content.decode("utf-8")
            except UnicodeDecodeError:
                return []
            if "\r" in before:
                section = section.replace("\n", "\r\n")
            return [unified(one.file, before, readme.with_section(before, section))]
    return [unified("README.md", None, section)]


def _as_prompt(source: str) -> str:
    lines = source.rstrip("\n").split("\n")
    return "".join(f"{'...' if number else '>>>'} {line}\n" for number, line in enumerate(lines))


def _parsed(source: Source) -> list[Module]:
    try:
        return [parse(source)]
    except SourceError:
        return []


def _is_importable(module: str) -> bool:
    return all(part.isidentifier() for part in module.split("."))


def _nothing(unparsed: Sequence[Unparsed], taken: Taken) -> str:
    left = [(one.file, f"line {one.line}: {one.reason}") for one in unparsed]
    left += [(one.file, one.reason) for one in taken.skipped]
    if not left:
        return "There is no Python code to document in what was named."
    reasons = "; ".join(f"{file}: {reason}" for file, reason in left[:3])
    return f"Nothing that was named can be documented ({reasons})."
