"""A project's dependencies judged: missing, unused, open, conflicting, licensed, vulnerable."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from sutazai.analysis.dependencies.advisories import Advisories, Advisory, read_advisories
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
from sutazai.analysis.dependencies.installed import Installed, obligations, read_installed
from sutazai.analysis.findings import Confidence, Finding, RawFinding, Severity
from sutazai.analysis.globs import InputError, split_pattern
from sutazai.analysis.merge import merge
from sutazai.analysis.parsing import Module, parse
from sutazai.analysis.protocol import Place
from sutazai.analysis.reading import take
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.source import Source, SourceError
from sutazai.analysis.workspace import Limits, NotReadable, Skipped, Workspace

_LARGEST_DATABASE = 512 * 1024 * 1024
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
    denied_licences: tuple[str, ...] = ()
    allowed_licences: tuple[str, ...] | None = None


class Audit(msgspec.Struct, kw_only=True):
    """The audit: findings, and for each question whether it could be answered and from what."""

    findings: list[Finding]
    dependencies: list[dict[str, Any]]
    vulnerabilities: dict[str, Any]
    licences: dict[str, Any]
    manifests: list[str]
    files: int
    lines: int
    unparsed: list[dict[str, Any]]
    skipped: list[Skipped]
    skipped_total: int


def audit(request: AuditRequest) -> Audit:
    """Audit what a task names. Raises InputError where there is nothing to audit."""
    taken = take(request.what)
    sources = {source.file: source for source in taken.sources}
    declared = read_declarations({file: one.text for file, one in sources.items()})
    modules, unparsed = _parsed(taken.sources)
    if not declared.files and not modules:
        raise InputError(
            "There is neither a manifest (pyproject.toml, requirements*.txt, setup.cfg, Pipfile) "
            "nor a Python file to audit."
        )
    own = own_modules(modules)
    imports = foreign_imports(modules, own)
    place = request.what.place
    workspace = Workspace(place.root, place.excluded, place.limits) if place else None
    installed, environment = read_installed(workspace) if workspace else ({}, None)
    found = _Found(sources)
    _malformed(found, declared)
    if declared.files:
        _missing(found, declared, imports, installed)
    _unused(found, declared, imports, installed, modules)
    _unpinned(found, declared)
    _conflicting(found, declared)
    _sources_of(found, declared)
    advisories = _database(request, place)
    vulnerabilities = _vulnerable(found, declared, installed, advisories)
    licences = _licences(found, request, declared, installed, environment)
    return Audit(
        findings=found.findings(modules),
        dependencies=list(_listed(declared, installed, imports)),
        vulnerabilities=vulnerabilities,
        licences=licences,
        manifests=declared.files,
        files=len(sources),
        lines=sum(len(source.lines) for source in taken.sources),
        unparsed=unparsed,
        skipped=taken.skipped,
        skipped_total=taken.skipped_total,
    )


def _parsed(sources: Sequence[Source]) -> tuple[dict[str, Module], list[dict[str, Any]]]:
    modules: dict[str, Module] = {}
    unparsed: list[dict[str, Any]] = []
    for source in sources:
        if source.is_python:
            try:
                modules[source.file] = parse(source)
            except SourceError as error:
                unparsed.append({"file": source.file, "line": error.line, "reason": error.reason})
    return modules, unparsed


class _Found:
    """What has been found so far, by file."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._raws: dict[str, list[RawFinding]] = defaultdict(list)

    def add(
        self,
        rule: str,
        file: str,
        line: int,
        message: str,
        *,
        column: int = 1,
        severity: str | None = None,
        confidence: str | None = None,
        code: str | None = None,
    ) -> None:
        self._raws[file].append(
            RawFinding(
                engine="sutazai",
                code=code or rule,
                rule=rule,
                line=line,
                column=column,
                end_line=line,
                message=message,
                description=message,
                severity=Severity(severity) if severity else None,
                confidence=Confidence(confidence) if confidence else None,
            )
        )

    def findings(self, modules: Mapping[str, Module]) -> list[Finding]:
        found: list[Finding] = []
        for file, raws in self._raws.items():
            # One line may have several advisories: each is a finding of its own.
            apart: dict[tuple[str, int], list[RawFinding]] = defaultdict(list)
            for raw in raws:
                apart[raw.rule, raw.line].append(raw)
            rounds = max(len(group) for group in apart.values())
            for number in range(rounds):
                some = [group[number] for group in apart.values() if number < len(group)]
                found += _renumbered(merge(self._sources[file], modules.get(file), some)[0], number)
        found.sort(key=lambda finding: finding.sort_key)
        return found


def _renumbered(findings: list[Finding], number: int) -> list[Finding]:
    """Findings of the same line told apart by what they say."""
    if number == 0:
        return findings
    return [
        msgspec.structs.replace(one, fingerprint=f"{one.fingerprint[:30]}{number % 256:02x}")
        for one in findings
    ]


# --- the questions


def _malformed(found: _Found, declared: Declarations) -> None:
    for one in declared.malformed:
        message = f"This requirement cannot be read: {one.reason}"
        found.add("malformed-requirement", one.file, one.line, message)


def _missing(
    found: _Found,
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
    found: _Found,
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


def _unpinned(found: _Found, declared: Declarations) -> None:
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


def _conflicting(found: _Found, declared: Declarations) -> None:
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


def _sources_of(found: _Found, declared: Declarations) -> None:
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


# --- vulnerabilities


def _database(request: AuditRequest, place: Place | None) -> Advisories | None:
    limits = Limits(file_bytes=_LARGEST_DATABASE)
    if request.advisories is not None:
        if place is None:
            raise InputError("`advisories` names a file of the workspace, and there is none.")
        workspace = Workspace(place.root, place.excluded, limits)
        parts = tuple(part.encode() for part in split_pattern(request.advisories))
        try:
            content = workspace.read(workspace.resolve(parts))
        except NotReadable as error:
            raise InputError(f"`advisories`: {request.advisories} is {error}.") from None
        return read_advisories(content, request.advisories)
    if request.database is not None:
        folder, _, name = request.database.rpartition("/")
        try:
            content = Workspace(folder or "/", (), limits).read((name.encode(),))
        except NotReadable as error:
            raise InputError(f"The server's advisory database cannot be read: {error}.") from None
        return read_advisories(content, name)
    return None


def _vulnerable(
    found: _Found,
    declared: Declarations,
    installed: Mapping[str, Installed],
    advisories: Advisories | None,
) -> dict[str, Any]:
    if advisories is None:
        return {
            "checked": False,
            "reason": "No advisory database was given, so nothing is known of vulnerabilities. "
            "Give one in the OSV format as `metadata.advisories` (a file of the workspace), or to "
            "the server as SUTAZAI_ADVISORY_DATABASE.",
        }
    pinned = {one.name: one.pinned for one in declared.requirements if one.pinned}
    affected: set[str] = set()
    unknown: set[str] = set()
    told: set[tuple[str, str, str]] = set()
    for one in declared.requirements:
        known = one.pinned or pinned.get(one.name)
        here = installed.get(one.name)
        version = known or (here.version if here else None)
        if version is None:
            unknown.add(one.name)
        for advisory in advisories.by_name.get(one.name, ()):
            concerned = (
                advisory.concerns(version) if version else advisory.may_concern(one.specifiers)
            )
            key = (one.name, advisory.id, one.file)
            if not concerned or key in told:
                continue
            told.add(key)
            affected.add(one.name)
            found.add(
                "vulnerable-dependency",
                one.file,
                one.line,
                _told_of(one, advisory, version),
                severity=advisory.severity,
                confidence="high" if version else "low",
                code=advisory.id,
            )
    return {
        "checked": True,
        "advisories": advisories.count,
        "newest_advisory": advisories.newest,
        "unreadable_entries": advisories.unreadable,
        "affected": sorted(affected),
        "without_exact_version": sorted(unknown),
    }


def _told_of(one: Declared, advisory: Advisory, version: str | None) -> str:
    names = ", ".join((advisory.id, *advisory.aliases[:3]))
    what = f"{one.name} {version}" if version else f"{one.name} {one.specifier or '(any version)'}"
    verb = "has" if version else "allows versions with"
    fixed = f" Fixed in {advisory.fixed_in}." if advisory.fixed_in else ""
    return f"{what} {verb} {names}: {advisory.summary}{fixed}"


# --- licences


def _licences(
    found: _Found,
    request: AuditRequest,
    declared: Declarations,
    installed: Mapping[str, Installed],
    environment: str | None,
) -> dict[str, Any]:
    if environment is None:
        return {
            "checked": False,
            "reason": "Licences are read from installed metadata, and the workspace has no "
            ".venv, venv or env with packages in it. Install the project there, then audit again.",
        }
    seen: set[str] = set()
    by_licence: dict[str, list[str]] = defaultdict(list)
    missing: list[str] = []
    for one in declared.requirements:
        if one.name in seen:
            continue
        seen.add(one.name)
        here = installed.get(one.name)
        if here is None:
            missing.append(one.name)
            continue
        by_licence[here.licence or "unknown"].append(one.name)
        if problem := _licence_problem(here, request):
            severity = "low" if one.group == DEVELOPMENT else None
            found.add("licence-to-clear", one.file, one.line, problem, severity=severity)
    return {
        "checked": True,
        "environment": f"/{environment}",
        "by_licence": {key: sorted(by_licence[key]) for key in sorted(by_licence)},
        "not_installed": sorted(missing),
    }


def _licence_problem(here: Installed, request: AuditRequest) -> str | None:
    licence = here.licence
    if licence is None:
        return f"{here.name} {here.version} does not say under which licence it is."
    lowered = licence.lower()
    if any(one.lower() in lowered for one in request.denied_licences):
        return f"{here.name} {here.version} is under {licence}, which is denied here."
    if request.allowed_licences is not None:
        if any(one.lower() in lowered for one in request.allowed_licences):
            return None
        return f"{here.name} {here.version} is under {licence}, which is not among those allowed."
    if obligations(licence) == "strong":
        return (
            f"{here.name} {here.version} is under {licence}: what is shipped together with it may "
            "have to be under the same licence."
        )
    return None


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
