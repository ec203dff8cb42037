"""Safe automatic fixes: ruff's, applied by ourselves, so that each can be looked at before."""

import ast
import difflib
import re
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from ruff import find_ruff_bin  # type: ignore[import-untyped]  # ships no types

from sutazai.analysis.patches import PatchError, applied, unified
from sutazai.analysis.source import Source

# Unused imports and variables, comparisons, comprehensions, and code said in a roundabout way.
# Nothing that is a matter of taste or of the Python version.
_RULES = (
    "F401,F541,F632,F841,E711,E713,E714,B009,B010,C4,PIE790,PIE794,PIE804,PIE808,PIE810,"
    "PLR0402,PLR1711,PLR5501,RET505,RET506,RET507,RET508,SIM"
)
_BROKEN = "E9,F63,F7,F82"
_TIMEOUT_SECONDS = 60.0
_ROUNDS = 6
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_UNUSED_IMPORT = re.compile(r"`([^`]+)` imported but unused")
_TARGETS = re.compile(r">=\s*3\.(\d+)")
_OLDEST, _NEWEST = 7, 14


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """One fix: ruff's rule, where it was found, and what it said."""

    file: str
    line: int
    rule: str
    message: str


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One file as it was and as the fixes make it; `patch` has been applied and gives the same."""

    file: str
    before: str
    after: str
    patch: str
    fixes: list[Fix]


class _Place(msgspec.Struct):
    row: int
    column: int


class _Edit(msgspec.Struct):
    content: str
    location: _Place
    end_location: _Place


class _Fixed(msgspec.Struct):
    applicability: str
    edits: list[_Edit]


class _Message(msgspec.Struct):
    filename: str
    message: str
    location: _Place
    code: str | None = None
    fix: _Fixed | None = None


class Fixer:
    """Fixes the files of one project in `folder`, which is empty and private."""

    def __init__(self, sources: Sequence[Source], project: Sequence[Source], folder: Path) -> None:
        self._texts = {source.file: source.text for source in sources}
        self._paths = {
            source.file: folder / f"{number:05d}" / _file_name(source.file)
            for number, source in enumerate(sources)
        }
        self._folder = folder
        self._target = f"py3{_minor(project)}"
        self._imports = _Imports(project)

    def changes(self) -> list[Change]:
        """What can be fixed, each file's patch proven to apply and to leave valid Python."""
        broken = self._codes(self._texts, _BROKEN)
        texts, fixes = dict(self._texts), defaultdict[str, list[Fix]](list)
        left = set(texts)
        for _ in range(_ROUNDS):
            changed = self._round({file: texts[file] for file in sorted(left)}, fixes)
            texts |= changed
            left = set(changed)
            if not left:
                break
        found = []
        for file in sorted(fixes):
            change = _proven(file, self._texts[file], texts[file], fixes[file])
            if change is not None:
                found.append(change)
        after = self._codes({one.file: one.after for one in found}, _BROKEN)
        return [one for one in found if after[one.file] <= broken[one.file]]

    def _round(self, texts: Mapping[str, str], fixes: dict[str, list[Fix]]) -> dict[str, str]:
        """Apply what does not overlap; the texts that changed."""
        changed = {}
        for file, messages in self._ruff(texts, _RULES).items():
            edits: list[_Edit] = []
            for message in self._accepted(file, texts[file], messages):
                assert message.fix is not None
                if not any(_overlap(one, other) for one in message.fix.edits for other in edits):
                    edits += message.fix.edits
                elif not _same(message.fix.edits, edits):
                    continue
                line = _line_before(self._texts[file], texts[file], message.location.row)
                fixes[file].append(
                    Fix(file=file, line=line, rule=message.code or "", message=message.message)
                )
            if edits:
                changed[file] = _edited(texts[file], edits)
        return changed

    def _accepted(self, file: str, text: str, messages: Iterable[_Message]) -> list[_Message]:
        """Those whose fix is safe here. One edit may serve several, of which all must be."""
        refused: list[list[_Edit]] = []
        kept = []
        for message in messages:
            if message.fix is None:
                continue
            safe = message.fix.applicability == "safe" or message.code == "F841"
            if safe and (message.code != "F401" or self._imports.may_go(file, message.message)):
                kept.append(message)
            else:
                refused.append(message.fix.edits)
        if not refused:
            return kept
        return [
            one for one in kept if one.fix and not any(_same(one.fix.edits, no) for no in refused)
        ]

    def _codes(self, texts: Mapping[str, str], rules: str) -> dict[str, set[tuple[str, str]]]:
        return {
            file: {(one.code or "", one.message) for one in messages}
            for file, messages in self._ruff(texts, rules).items()
        }

    def _ruff(self, texts: Mapping[str, str], rules: str) -> dict[str, list[_Message]]:
        found: dict[str, list[_Message]] = {file: [] for file in texts}
        if not texts:
            return found
        names = {}
        for file, text in texts.items():
            path = self._paths[file]
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8", errors="surrogatepass", newline="")
            names[str(path)] = file
        done = subprocess.run(
            [
                *(find_ruff_bin(), "check", "--isolated", "--no-cache", "--exit-zero", "--quiet"),
                *("--no-respect-gitignore", "--output-format=json-lines"),
                *(f"--target-version={self._target}", f"--select={rules}", *names),
            ],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        for message in msgspec.json.Decoder(_Message).decode_lines(done.stdout):
            if message.filename in names:
                found[names[message.filename]].append(message)
        return found


class _Imports:
    """What the project imports from where, so that no import is removed that another needs."""

    def __init__(self, project: Sequence[Source]) -> None:
        self._own = {
            part
            for source in project
            if source.is_python
            for part in source.file.removesuffix(".py").split("/")[:-1]
        } | {_stem(source.file) for source in project if source.is_python}
        self._taken: set[tuple[str, str]] = set()
        for source in project:
            if source.is_python:
                self._note(source)

    def _note(self, source: Source) -> None:
        try:
            tree = ast.parse(source.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                module = (node.module or "").rpartition(".")[2] or _folder(source.file)
                self._taken.update((module, one.name) for one in node.names)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                self._taken.add((node.value.id, node.attr))

    def may_go(self, file: str, message: str) -> bool:
        """Whether an unused import can be removed without changing anything for others."""
        found = _UNUSED_IMPORT.search(message)
        if found is None:
            return False
        imported = found[1].split(" as ")[0]
        bound = found[1].rpartition(" as ")[2].rpartition(".")[2]
        # A module of the project may be imported for what its import does.
        if imported.lstrip(".").split(".")[0] in self._own or imported.startswith("."):
            return False
        module = _folder(file) if _stem(file) == "__init__" else _stem(file)
        return (module, bound) not in self._taken and (module, "*") not in self._taken


def _proven(file: str, before: str, after: str, fixes: list[Fix]) -> Change | None:
    """The change, if its patch applies to the one and gives the other, and that is Python."""
    patch = unified(file, before, after)
    try:
        ast.parse(after)
        if not patch or applied(before, patch) != after:
            return None
    except (PatchError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return Change(file=file, before=before, after=after, patch=patch, fixes=fixes)


def _line_before(before: str, now: str, line: int) -> int:
    """Where a line was before the earlier rounds moved it."""
    if before == now:
        return line
    matcher = difflib.SequenceMatcher(None, before.split("\n"), now.split("\n"), autojunk=False)
    for old, new, size in reversed(matcher.get_matching_blocks()):
        if new < line:
            return old + min(line - new, size)
    return 1


def _edited(text: str, edits: Sequence[_Edit]) -> str:
    starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def offset(place: _Place) -> int:
        return min(starts[min(place.row, len(starts)) - 1] + place.column - 1, len(text))

    for edit in sorted(
        edits, key=lambda one: (one.location.row, one.location.column), reverse=True
    ):
        text = text[: offset(edit.location)] + edit.content + text[offset(edit.end_location) :]
    return text


def _span(edit: _Edit) -> tuple[tuple[int, int], tuple[int, int]]:
    start, end = edit.location, edit.end_location
    return (start.row, start.column), (end.row, end.column)


def _overlap(one: _Edit, other: _Edit) -> bool:
    (start, end), (begin, finish) = _span(one), _span(other)
    return start <= finish and begin <= end


def _same(some: Sequence[_Edit], others: Sequence[_Edit]) -> bool:
    known = {(_span(one), one.content) for one in others}
    return all((_span(one), one.content) in known for one in some)


def _file_name(file: str) -> str:
    name = file.rpartition("/")[2]
    return name if _NAME.fullmatch(name) and name not in (".", "..") else "module.py"


def _stem(file: str) -> str:
    return file.rpartition("/")[2].removesuffix(".py")


def _folder(file: str) -> str:
    return file.rpartition("/")[0].rpartition("/")[2]


def _minor(project: Sequence[Source]) -> int:
    """The oldest Python that the project says it runs on, as far as ruff knows it."""
    for source in project:
        if source.file.lstrip("/") == "pyproject.toml":
            try:
                said: Any = tomllib.loads(source.text).get("project", {}).get("requires-python")
            except (tomllib.TOMLDecodeError, AttributeError):
                continue
            if isinstance(said, str) and (found := _TARGETS.search(said)):
                return min(max(int(found[1]), _OLDEST), _NEWEST)
    return 11
