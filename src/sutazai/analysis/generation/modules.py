"""Which modules a task means and under which name Python imports each; runs in a worker."""

import ast
import difflib
import re
import stat
from collections.abc import Sequence
from pathlib import PurePosixPath

import msgspec

from sutazai.analysis.generation.inside.reading import read
from sutazai.analysis.globs import InputError
from sutazai.analysis.parsing import parse
from sutazai.analysis.reading import take
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.source import Source, SourceError
from sutazai.analysis.workspace import Skipped, Workspace

_MOST_ROOTS = 4
_MOST_NAMED = 12


class FindModules(msgspec.Struct, frozen=True, kw_only=True):
    """The request: what the task names, and how many modules it may be at most.

    `functions` are names of functions, classes or methods: modules without one are left out.
    """

    what: Reviewable
    most: int
    functions: tuple[str, ...] = ()


class ModuleToTest(msgspec.Struct, frozen=True, kw_only=True):
    """One module. `file` is its path as shown, `name` what it is imported as.

    `roots` are the folders (below the project's root, `""` for itself) that must be on the path.
    `content` is its text if the task gave it inline, None where it is read in the sandbox.
    """

    file: str
    name: str
    roots: tuple[str, ...]
    statements: int
    lines: int
    content: bytes | None = None


class FoundModules(msgspec.Struct, kw_only=True):
    """The modules that can be tested, and the files that are none, with the reason."""

    modules: list[ModuleToTest]
    skipped: list[Skipped]
    skipped_total: int


def find_modules(request: FindModules) -> FoundModules:
    """Read what the task names and keep what has something to test, largest last.

    Raises InputError where nothing has, with the reasons, or where no module has what is named.
    """
    taken = take(request.what)
    place = request.what.place
    workspace = Workspace(place.root, place.excluded, place.limits) if place is not None else None
    inline = {item.name for item in request.what.inline}
    found: list[ModuleToTest] = []
    known: dict[str, None] = {}
    for source in taken.sources:
        reason = _why_not(source)
        if reason is None and request.functions:
            names = _names(source)
            known |= dict.fromkeys(names)
            if not set(request.functions) & set(names):
                reason = "it has none of the functions that are asked for"
        if reason is not None:
            taken.leave(source.file, reason)
        elif len(found) == request.most:
            taken.leave(source.file, f"one task takes {request.most} modules; name it in another")
        else:
            found.append(_module(source, None if source.file in inline else workspace))
    _require(request.functions, list(known))
    if not found:
        reasons = "; ".join(f"{item.file}: {item.reason}" for item in taken.skipped[:3])
        raise InputError(
            f"There is nothing to test in what was named ({reasons or 'it is empty'})."
        )
    return FoundModules(modules=found, skipped=taken.skipped, skipped_total=taken.skipped_total)


def _names(source: Source) -> list[str]:
    """What of a module tests can be asked for, public things first."""
    reading = read(source.text)
    names = [*reading.classes, *reading.routines]
    return sorted(names, key=lambda name: name.startswith("_") or "._" in name)


def _require(wanted: Sequence[str], known: list[str]) -> None:
    missing = [name for name in wanted if name not in known]
    if not missing or not known:
        return
    close = difflib.get_close_matches(missing[0], known, n=_MOST_NAMED)
    listed = list(dict.fromkeys([*close, *known]))
    more = f" and {len(listed) - _MOST_NAMED} more" if len(listed) > _MOST_NAMED else ""
    raise InputError(
        f"There is no function or class {missing[0]!r} in what was named. "
        f"There are {', '.join(listed[:_MOST_NAMED])}{more}."
    )


def _why_not(source: Source) -> str | None:
    if not source.is_python:
        return "not Python"
    if source.is_test:
        return "it is test code"
    try:
        tree = parse(source).tree
        ast.parse(source.text)
    except SourceError as error:
        return f"line {error.line}: {error.reason}"
    except SyntaxError as error:
        # Our parser reads newer Python than this server runs; running it is another matter.
        return f"line {error.lineno}: needs a newer Python than this server's ({error.msg})"
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    if not any(isinstance(node, kinds) for node in ast.walk(tree)):
        return "it has no function and no class"
    return None


def _module(source: Source, workspace: Workspace | None) -> ModuleToTest:
    statements = len(
        {node.lineno for node in ast.walk(parse(source).tree) if isinstance(node, ast.stmt)}
    )
    path = PurePosixPath(source.file)
    if workspace is None:
        name = re.sub(r"\W", "_", path.stem) or "inline"
        name = name if name.isidentifier() and not name[0].isdigit() else f"module_{name}"
        return ModuleToTest(
            file=source.file,
            name=name,
            roots=("",),
            statements=statements,
            lines=len(source.lines),
            content=source.text.encode(),
        )
    folders = list(path.parts[1:-1])
    packages: list[str] = []
    climbs = _climbs(source.text)
    while folders and (_is_package(workspace, folders) or len(packages) < climbs):
        packages.insert(0, folders.pop())
    names = [*packages, *([path.stem] if path.stem != "__init__" else [])]
    root = "/".join(folders)
    roots = [root, "", *(["src"] if _is_folder(workspace, ["src"]) else [])]
    return ModuleToTest(
        file=source.file,
        name=".".join(names),
        roots=tuple(dict.fromkeys(roots))[:_MOST_ROOTS],
        statements=statements,
        lines=len(source.lines),
    )


def _climbs(text: str) -> int:
    """How many packages the module's relative imports need it to lie in."""
    levels = [node.level for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    return max(levels, default=0)


def _is_package(workspace: Workspace, folders: list[str]) -> bool:
    kind = workspace.kind(tuple(part.encode() for part in [*folders, "__init__.py"]))
    return kind is not None and stat.S_ISREG(kind)


def _is_folder(workspace: Workspace, folders: list[str]) -> bool:
    kind = workspace.kind(tuple(part.encode() for part in folders))
    return kind is not None and stat.S_ISDIR(kind)
