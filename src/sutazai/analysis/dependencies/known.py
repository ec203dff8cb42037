"""What is known of a project's dependencies from elsewhere: advisories and licences."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sutazai.analysis.dependencies.advisories import Advisories, Advisory, read_advisories
from sutazai.analysis.dependencies.collected import Found
from sutazai.analysis.dependencies.declared import DEVELOPMENT, Declarations, Declared
from sutazai.analysis.dependencies.installed import Installed, obligations
from sutazai.analysis.globs import InputError, split_pattern
from sutazai.analysis.protocol import Place
from sutazai.analysis.workspace import Limits, NotReadable, Workspace

_LARGEST_DATABASE = 512 * 1024 * 1024


class LicencePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of licences' names; `allowed` None allows every licence that asks for nothing."""

    denied: tuple[str, ...] = ()
    allowed: tuple[str, ...] | None = None


def open_database(
    advisories: str | None, database: str | None, place: Place | None
) -> Advisories | None:
    """The task's database (a path in the workspace), else the server's (absolute), else None."""
    limits = Limits(file_bytes=_LARGEST_DATABASE)
    if advisories is not None:
        if place is None:
            raise InputError("`advisories` names a file of the workspace, and there is none.")
        workspace = Workspace(place.root, place.excluded, limits)
        parts = workspace.resolve(tuple(part.encode() for part in split_pattern(advisories)))
        if workspace.kind(parts) is None:
            raise InputError(f"`advisories`: there is no file {advisories!r} in the workspace.")
        try:
            content = workspace.read(parts)
        except NotReadable as error:
            raise InputError(f"`advisories`: {advisories!r} cannot be read: {error}.") from None
        return read_advisories(content, advisories)
    if database is not None:
        folder, _, name = database.rpartition("/")
        if not Path(database).exists():
            raise InputError(
                f"There is no file {name!r} where this server's SUTAZAI_ADVISORY_DATABASE says "
                "that its advisory database is."
            )
        try:
            content = Workspace(folder or "/", (), limits).read((name.encode(),))
        except NotReadable as error:
            raise InputError(f"The server's advisory database cannot be read: {error}.") from None
        return read_advisories(content, name)
    return None


def find_vulnerable(
    found: Found,
    declared: Declarations,
    installed: Mapping[str, Installed],
    advisories: Advisories | None,
) -> dict[str, Any]:
    """Hold every requirement against the database; what the result says of it."""
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


def find_licences(
    found: Found,
    policy: LicencePolicy,
    declared: Declarations,
    installed: Mapping[str, Installed],
    environment: str | None,
) -> dict[str, Any]:
    """Hold every installed requirement's licence against the policy; what the result says of it."""
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
        if problem := _licence_problem(here, policy):
            severity = "low" if one.group == DEVELOPMENT else None
            found.add("licence-to-clear", one.file, one.line, problem, severity=severity)
    return {
        "checked": True,
        "environment": f"/{environment}",
        "by_licence": {key: sorted(by_licence[key]) for key in sorted(by_licence)},
        "not_installed": sorted(missing),
    }


def _licence_problem(here: Installed, policy: LicencePolicy) -> str | None:
    licence = here.licence
    if licence is None:
        return f"{here.name} {here.version} does not say under which licence it is."
    lowered = licence.lower()
    if any(one.lower() in lowered for one in policy.denied):
        return f"{here.name} {here.version} is under {licence}, which is denied here."
    if policy.allowed is not None:
        if any(one.lower() in lowered for one in policy.allowed):
            return None
        return f"{here.name} {here.version} is under {licence}, which is not among those allowed."
    if obligations(licence) == "strong":
        return (
            f"{here.name} {here.version} is under {licence}: what is shipped together with it may "
            "have to be under the same licence."
        )
    return None
