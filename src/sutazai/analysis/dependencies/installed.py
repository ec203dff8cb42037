"""What an environment in the workspace has installed, read from its metadata; nothing is run."""

import re
from email.errors import MessageError
from email.parser import HeaderParser

import msgspec
from packaging.utils import canonicalize_name

from sutazai.analysis.workspace import NotReadable, Workspace

_ENVIRONMENTS = (".venv", "venv", "env")
_COPYLEFT = re.compile(r"\b(?:AGPL|GPL|Affero|SSPL|EUPL|OSL)", re.IGNORECASE)
_WEAK = re.compile(r"\b(?:LGPL|Lesser|MPL|Mozilla|EPL|Eclipse|CDDL)", re.IGNORECASE)
_PREFIX = "License :: "
_MOST = 5_000


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """One installed distribution: what it says of its licence, as it says it.

    `modules` are the first names that it can be imported by, where it says.
    """

    name: str
    version: str
    licence: str | None
    modules: tuple[str, ...]


def read_installed(workspace: Workspace) -> tuple[dict[str, Installed], str | None]:
    """By normalised name, and the folder it was read from; ({}, None) where there is none."""
    for environment in _ENVIRONMENTS:
        for folder in _site_packages(workspace, environment.encode()):
            found = _folder(workspace, folder)
            if found:
                return found, b"/".join(folder).decode("utf-8", "backslashreplace")
    return {}, None


def _site_packages(workspace: Workspace, environment: bytes) -> list[tuple[bytes, ...]]:
    try:
        versions = workspace.entries((environment, b"lib"))
    except NotReadable:
        return []
    return [
        (environment, b"lib", name, b"site-packages")
        for name, _ in versions
        if name.startswith(b"python3")
    ]


def _folder(workspace: Workspace, folder: tuple[bytes, ...]) -> dict[str, Installed]:
    try:
        entries = workspace.entries(folder)
    except NotReadable:
        return {}
    found: dict[str, Installed] = {}
    for name, _ in entries[: _MOST * 4]:
        if not name.endswith(b".dist-info") or len(found) >= _MOST:
            continue
        try:
            text = workspace.read((*folder, name, b"METADATA")).decode("utf-8", "replace")
        except NotReadable:
            continue
        try:
            headers = HeaderParser().parsestr(text)
        except (MessageError, ValueError):
            continue
        project, version = headers.get("Name"), headers.get("Version")
        if not project or not version:
            continue
        try:
            top = workspace.read((*folder, name, b"top_level.txt")).decode("utf-8", "replace")
        except NotReadable:
            top = ""
        key = canonicalize_name(str(project))
        found[key] = Installed(
            name=key,
            version=str(version),
            licence=_licence(
                str(headers.get("License-Expression") or ""),
                [str(one) for one in headers.get_all("Classifier") or ()],
                str(headers.get("License") or ""),
            ),
            modules=tuple(top.split()[:50]),
        )
    return found


def _licence(expression: str, classifiers: list[str], text: str) -> str | None:
    """The SPDX expression where there is one, else the classifiers, else a short licence field."""
    if expression.strip():
        return expression.strip()[:200]
    named = [one.rsplit(" :: ", 1)[-1] for one in classifiers if one.startswith(_PREFIX)]
    named = [one for one in named if one != "OSI Approved"]
    if named:
        return "; ".join(named)[:200]
    lines = text.strip().splitlines()
    first = lines[0].strip() if lines else ""
    return first[:200] if first and first.upper() != "UNKNOWN" else None


def obligations(licence: str) -> str:
    """`strong` for a copyleft that reaches what links to it, `weak` for one that does not, `none`.

    A choice (`MIT OR GPL-3.0-only`) counts as the mildest of what may be chosen.
    """
    kinds = [_of_one(part) for part in re.split(r"\s+OR\s+", licence)]
    return min(kinds, key=("none", "weak", "strong").index)


def _of_one(licence: str) -> str:
    without_weak = _WEAK.sub("", licence)
    # "GNU Lesser General Public License": the words General Public alone mean the strong one.
    if _COPYLEFT.search(without_weak) or (
        "General Public License" in without_weak and not _WEAK.search(licence)
    ):
        return "strong"
    return "weak" if _WEAK.search(licence) else "none"
