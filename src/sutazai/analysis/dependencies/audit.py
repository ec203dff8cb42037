"""A project's dependencies judged: missing, unused, open, conflicting, licensed, vulnerable."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from sutazai.analysis.dependencies.collected import Found
from sutazai.analysis.dependencies.declared import (
    DEVELOPMENT,
    LOCK,
    RUNTIME,
    Declarations,
    Declared,
    read_declarations,
)
from sutazai.analysis.dependencies.imported import (
    Import,
    brings,
    distributions_of,
    foreign_imports,
    named_modules,
    own_modules,
)
from sutazai.analysis.dependencies.installed import Installed, read_installed
from sutazai.analysis.dependencies.known import (
    LicencePolicy,
    find_licences,
    find_vulnerable,
    open_database,
)
from sutazai.analysis.findings import Finding
from sutazai.analysis.globs import InputError
from sutazai.analysis.parsing import Module, parse
from sutazai.analysis.protocol import Unparsed
from sutazai.analysis.reading import take
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.source import Source, SourceError
from sutazai.analysis.workspace import Skipped, Workspace

# Used by being installed, not by being imported.
_TOOLS = frozenset(
    [
        "black",
        "build",
        "coverage",
        "flake8",
        "greenlet",
        "gunicorn",
        "hatchling",
        "hiredis",
        "httptools",
        "isort",
        "mypy",
        "nox",
        "pip",
        "pip-tools",
        "pre-commit",
        "psycopg2-binary",
        "pylint",
        "pyright",
        "pytest",
        "ruff",
        "setuptools",
        "setuptools-scm",
        "sphinx",
        "tox",
        "twine",
        "tzdata",
        "uv",
        "uv-build",
        "uvicorn",
        "uvloop",
        "watchfiles",
        "wheel",
    ]
)
_PLUGIN = ("pytest-", "flake8-", "types-", "sphinx-", "mkdocs", "mypy-", "pylint-")
_PLUGIN_END = ("-stubs", "-plugin", "-dialect")


class AuditRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to audit; `advisories` is a path in the workspace, `database` an absolute one."""

    what: Reviewable
    advisories: str | None = None
    database: str | None = None
    licences: LicencePolicy = LicencePolicy()


class Audit(msgspec.Struct, kw_only=True):
    """The audit: findings, and for each question whether it could be answered and from what.

    `undeclared` is what is imported from elsewhere where no manifest says anything of it.
    """

    findings: list[Finding]
    dependencies: list[dict[str, Any]]
    vulnerabilities: dict[str, Any]
    licences: dict[str, Any]
    manifests: list[str]
    undeclared: list[dict[str, Any]]
    files: int
    lines: int
    unparsed: list[Unparsed]
    skipped: list[Skipped]
    skipped_total: int


def audit(request: AuditRequest) -> Audit:
    """Audit what a task names. Raises InputError where there is nothing to audit."""
    taken = take(request.what)
    sources = {source.file: source for source in taken.sources}
    declared = read_declarations({file: one.text for file, one in sources.items()})
    modules, unparsed = _parsed(taken.sources)
    if not declared.files and not modules:
        if unparsed:
            first = unparsed[0]
            raise InputError(
                f"There is no manifest, and no Python file that can be read ({first.file}, line "
                f"{first.line}: {first.reason})."
            )
        raise taken.nothing(
            "manifest (pyproject.toml, requirements*.txt, setup.cfg, Pipfile) and no Python file"
        )
    place = request.what.place
    workspace = Workspace(place.root, place.excluded, place.limits) if place else None
    imports = foreign_imports(modules, own_modules(modules))
    if workspace and request.what.patterns:
        imports = [one for one in imports if not _lies_around(workspace, one)]
    installed, environment = read_installed(workspace) if workspace else ({}, None)
    found = Found(sources)
    _malformed(found, declared)
    if declared.files:
        _missing(found, declared, imports, installed)
    _unused(found, declared, imports, installed, modules)
    _unpinned(found, declared)
    _conflicting(found, declared)
    _sources_of(found, declared)
    advisories = open_database(request.advisories, request.database, place)
    vulnerabilities = find_vulnerable(found, declared, installed, advisories)
    licences = find_licences(found, request.licences, declared, installed, environment)
    return Audit(
        findings=found.findings(modules),
        dependencies=list(_listed(declared, installed, imports)),
        vulnerabilities=vulnerabilities,
        licences=licences,
        manifests=declared.files,
        undeclared=[] if declared.files else _undeclared(imports),
        files=len(sources),
        lines=sum(len(source.lines) for source in taken.sources),
        unparsed=unparsed,
        skipped=taken.skipped,
        skipped_total=taken.skipped_total,
    )


def _parsed(sources: Sequence[Source]) -> tuple[dict[str, Module], list[Unparsed]]:
    modules: dict[str, Module] = {}
    unparsed: list[Unparsed] = []
    for source in sources:
        if source.is_python:
            try:
                modules[source.file] = parse(source)
            except SourceError as error:
                unparsed.append(Unparsed(file=source.file, line=error.line, reason=error.reason))
    return modules, unparsed


def _lies_around(workspace: Workspace, one: Import) -> bool:
    """Whether a module lies where Python would look, though the task does not name its file."""
    folder = one.file.strip("/").split("/")[:-1]
    top = one.module.partition(".")[0]
    places = [folder[:depth] for depth in range(len(folder) + 1)] + [["src"], ["lib"]]
    return any(
        workspace.kind(tuple(os.fsencode(part) for part in (*place, name))) is not None
        for place in places
        for name in (top, f"{top}.py")
    )


def _undeclared(imports: Sequence[Import]) -> list[dict[str, Any]]:
    """Each module once, where it is imported first."""
    first: dict[str, Import] = {}
    for one in imports:
        first.setdefault(one.module, one)
    return [
        {
            "module": module,
            "distribution": distributions_of(module)[0],
            "file": first[module].file,
            "line": first[module].line,
        }
        for module in sorted(first)
    ]


# --- the questions


def _malformed(found: Found, declared: Declarations) -> None:
    for one in declared.malformed:
        message = f"This requirement cannot be read: {one.reason}"
        found.add("malformed-requirement", one.file, one.line, message)


def _missing(
    found: Found,
    declared: Declarations,
    imports: Sequence[Import],
    installed: Mapping[str, Installed],
) -> None:
    names = {one.name for one in declared.requirements if not one.constraint} | declared.names
    runtime = {
        one.name for one in declared.requirements if one.group == RUNTIME and not one.constraint
    } | declared.names
    only_locked = {one.name for one in declared.requirements if one.group == LOCK}
    told: set[tuple[str, bool]] = set()
    for one in imports:
        here = _bringing(one.module, names, installed)
        if here & runtime or ((one.in_test or one.typing or one.optional) and here):
            continue
        if (one.module, bool(here)) in told:
            continue
        told.add((one.module, bool(here)))
        wanted = distributions_of(one.module)[0]
        message = f"`{one.module}` is imported, but no requirement brings it (try {wanted})."
        severity, confidence = "high", None
        if here & only_locked:
            message = (
                f"`{one.module}` is imported, but {min(here)} is only there because "
                "something else depends on it."
            )
            severity = "medium"
        elif here:
            message = (
                f"`{one.module}` is imported by code that is shipped, but {min(here)} is a "
                "requirement of development only."
            )
            severity, confidence = "medium", "medium"
        elif one.optional:
            severity, confidence = "info", "medium"
        elif one.in_test or one.typing:
            severity = "medium"
        found.add(
            "missing-dependency",
            one.file,
            one.line,
            message,
            column=one.column,
            severity=severity,
            confidence=confidence,
        )


def _bringing(module: str, names: set[str], installed: Mapping[str, Installed]) -> set[str]:
    """Of these distributions, those that bring a module."""
    top = module.partition(".")[0]
    return {
        name
        for name in names
        if brings(name, module) or (name in installed and top in installed[name].modules)
    }


def _unused(
    found: Found,
    declared: Declarations,
    imports: Sequence[Import],
    installed: Mapping[str, Installed],
    modules: Mapping[str, Module],
) -> None:
    if not modules:
        return
    named = named_modules(modules.values())
    told: set[str] = {*declared.names}
    for one in declared.requirements:
        tool = one.name in _TOOLS or one.name.startswith(_PLUGIN) or one.name.endswith(_PLUGIN_END)
        if one.group != RUNTIME or one.constraint or tool or one.name in told:
            continue
        told.add(one.name)
        used = {*named, *(each.module for each in imports)}
        if any(_bringing(module, {one.name}, installed) for module in used):
            continue
        message = f"{one.name} is required, but nothing imports it."
        found.add("unused-dependency", one.file, one.line, message)


def _unpinned(found: Found, declared: Declarations) -> None:
    locked = {one.name for one in declared.requirements if one.group == LOCK}
    for one in declared.requirements:
        if one.group == LOCK or one.url or one.constraint or one.name in locked:
            continue
        operators = {each.operator for each in one.specifiers}
        if not operators:
            message, severity = f"{one.name} may be any version at all.", "medium"
        elif not operators & {"==", "===", "~=", "<", "<="}:
            message, severity = f"{one.name} has no upper bound ({one.specifier}).", "low"
        else:
            continue
        if one.group == DEVELOPMENT:
            severity = "low" if severity == "medium" else "info"
        found.add("unpinned-dependency", one.file, one.line, message, severity=severity)


def _conflicting(found: Found, declared: Declarations) -> None:
    by_name: dict[str, list[Declared]] = defaultdict(list)
    for one in declared.requirements:
        if not one.url and one.specifier:
            by_name[one.name].append(one)
    for name, several in by_name.items():
        for at, later in enumerate(several):
            if not satisfiable(later.specifiers):
                message = f"No version of {name} can satisfy {later.specifier}."
                found.add("conflicting-requirements", later.file, later.line, message)
                continue
            for earlier in several[:at]:
                if later.marker != earlier.marker or not satisfiable(earlier.specifiers):
                    continue
                if satisfiable(later.specifiers & earlier.specifiers):
                    continue
                message = (
                    f"{name} {later.specifier} here and {earlier.specifier} in {earlier.file} "
                    f"(line {earlier.line}) cannot both be met."
                )
                found.add("conflicting-requirements", later.file, later.line, message)
                break


def satisfiable(specifiers: SpecifierSet) -> bool:
    """Whether some version fits: the edges are tried, and what lies right beside and between."""
    edges: set[Version] = set()
    for one in specifiers:
        try:
            edge = Version(one.version.removesuffix(".*"))
        except InvalidVersion:
            return True  # `===` with something that is no version: not for us to judge
        release = edge.release
        edges |= {
            edge,
            Version(f"{edge.public}.post1") if not edge.is_postrelease and not edge.dev else edge,
            Version(".".join(map(str, (*release, 1)))),
            Version(".".join(map(str, (*release[:-1], release[-1] + 1)))),
            Version(".".join(map(str, _below(release)))),
        }
    ordered = sorted(edges)
    # Halfway between two neighbours there may be room that neither edge shows.
    between = {Version(f"{one.base_version}.0.1") for one in ordered}
    return not edges or any(
        specifiers.contains(version, prereleases=True) for version in {*edges, *between}
    )


def _below(release: tuple[int, ...]) -> tuple[int, ...]:
    numbers = list(release)
    for at in range(len(numbers) - 1, -1, -1):
        if numbers[at] > 0:
            numbers[at] -= 1
            return (*numbers[: at + 1], 999_999)
    return (0,)


def _sources_of(found: Found, declared: Declarations) -> None:
    for one in declared.requirements:
        url = one.url
        if url is None:
            continue
        _, _, reference = url.partition("://")[2].partition("@")
        commit = reference.split("#")[0]
        exact = len(commit) == 40 and all(char in "0123456789abcdef" for char in commit)
        if url.startswith("http:"):
            message = f"{one.name} is fetched over plain HTTP, so anybody on the way can change it."
            found.add("unverified-source", one.file, one.line, message, severity="high")
        elif not exact and "sha256=" not in url:
            message = f"{one.name} is fetched from an address whose content may change."
            found.add("unverified-source", one.file, one.line, message)


# --- the list


def _listed(
    declared: Declarations, installed: Mapping[str, Installed], imports: Sequence[Import]
) -> Iterator[dict[str, Any]]:
    by_name: dict[str, list[Declared]] = defaultdict(list)
    for one in declared.requirements:
        by_name[one.name].append(one)
    for name in sorted(by_name):
        several = by_name[name]
        here = installed.get(name)
        used = {each.module for each in imports if _bringing(each.module, {name}, installed)}
        yield {
            "name": name,
            "required": [
                {"file": one.file, "line": one.line, "specifier": one.specifier, "group": one.group}
                for one in several
            ],
            "installed": here.version if here else None,
            "licence": here.licence if here else None,
            "imported_as": sorted(used),
        }
