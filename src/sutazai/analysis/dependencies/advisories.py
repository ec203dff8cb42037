"""Known vulnerabilities, from a database given as a file in the OSV format (OSV schema 1.x)."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from sutazai.analysis.globs import InputError

_MOST_ENTRY_BYTES = 4 * 1024 * 1024
_MOST_BYTES = 512 * 1024 * 1024
_MOST_ENTRIES = 200_000
_SEVERITIES = {"CRITICAL": "critical", "HIGH": "high", "MODERATE": "medium", "MEDIUM": "medium"}


class Span(msgspec.Struct, frozen=True):
    """Versions from `introduced` on, up to but without `fixed`, or up to and with `last`."""

    introduced: str
    fixed: str | None = None
    last: str | None = None


class Advisory(msgspec.Struct, frozen=True, kw_only=True):
    """One advisory about one distribution; `name` is normalised."""

    id: str
    name: str
    summary: str
    severity: str
    aliases: tuple[str, ...]
    spans: tuple[Span, ...]
    versions: frozenset[str]

    def concerns(self, version: str) -> bool:
        """Whether it is about a version; one that PEP 440 cannot read is only looked up."""
        if version in self.versions:
            return True
        read = _version(version)
        return read is not None and any(_covers(span, read) for span in self.spans)

    def may_concern(self, specifier: SpecifierSet) -> bool:
        """Whether some version that it names, or that begins a range of it, fits a specifier."""
        named = {*self.versions, *(span.introduced for span in self.spans)}
        named |= {span.last for span in self.spans if span.last}
        read = (_version("0.0.1" if text == "0" else text) for text in named)
        if any(one is not None and one in specifier for one in read):
            return True
        edges = (_version(one.version.removesuffix(".*")) for one in specifier)
        return any(
            edge is not None
            and edge in specifier
            and any(_covers(span, edge) for span in self.spans)
            for edge in edges
        )

    @property
    def fixed_in(self) -> str | None:
        """The lowest version without it that is above all that have it, None where unknown."""
        fixes = [read for span in self.spans if span.fixed and (read := _version(span.fixed))]
        return str(max(fixes)) if fixes and not any(span.last for span in self.spans) else None


class Advisories(msgspec.Struct, frozen=True, kw_only=True):
    """A database: by normalised name. `newest` is the latest date in it (RFC 3339), as it says."""

    by_name: Mapping[str, tuple[Advisory, ...]]
    count: int
    newest: str | None
    unreadable: int


def read_advisories(content: bytes, name: str) -> Advisories:
    """A database: one OSV entry, a list of them, one a line, or a zip archive of such files.

    Entries of other ecosystems than PyPI, and withdrawn ones, are passed over. Raises InputError
    where the file is none of these.
    """
    by_name: dict[str, list[Advisory]] = {}
    count = unreadable = 0
    newest: str | None = None
    for entry in _entries(content, name):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            unreadable += 1
            continue
        if entry.get("withdrawn"):
            continue
        modified = entry.get("modified")
        if isinstance(modified, str) and (newest is None or modified > newest):
            newest = modified
        count += 1
        for advisory in _advisories(entry):
            by_name.setdefault(advisory.name, []).append(advisory)
    if not count:
        raise InputError(
            f"The advisory database {name} holds no entry in the OSV format. Give an export of "
            "OSV for PyPI: a zip of its JSON files, a JSON list, or one JSON object a line."
        )
    kept = {key: tuple(value) for key, value in by_name.items()}
    return Advisories(by_name=kept, count=count, newest=newest, unreadable=unreadable)


def _entries(content: bytes, name: str) -> Iterator[Any]:
    if content[:4] == b"PK\x03\x04":
        yield from _zipped(content, name)
        return
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        yield from _lines(content)
        return
    if isinstance(whole, dict) and isinstance(whole.get("vulns"), list):
        whole = whole["vulns"]
    yield from whole if isinstance(whole, list) else [whole]


def _lines(content: bytes) -> Iterator[Any]:
    for line in content.splitlines():
        if line.strip():
            yield _decoded(line)


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _zipped(content: bytes, name: str) -> Iterator[Any]:
    total = 0
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            infos = [info for info in archive.infolist() if info.filename.endswith(".json")]
            if len(infos) > _MOST_ENTRIES:
                raise InputError(f"{name} holds {len(infos)} files; at most {_MOST_ENTRIES}.")
            for info in infos:
                # What it says of its size is the archive's word: reading is bounded as well.
                with archive.open(info) as file:
                    text = file.read(_MOST_ENTRY_BYTES + 1)
                total += len(text)
                if total > _MOST_BYTES:
                    raise InputError(f"{name} unpacks to more than {_MOST_BYTES:,} bytes.")
                yield _decoded(text) if len(text) <= _MOST_ENTRY_BYTES else None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"The archive {name} cannot be read: {error}.") from None


def _advisories(entry: dict[str, Any]) -> Iterator[Advisory]:
    affected = entry.get("affected")
    for one in affected if isinstance(affected, list) else ():
        package = one.get("package") if isinstance(one, dict) else None
        if not isinstance(package, dict) or package.get("ecosystem") != "PyPI":
            continue
        versions = one.get("versions")
        aliases = entry.get("aliases")
        yield Advisory(
            id=entry["id"][:100],
            name=canonicalize_name(str(package.get("name", ""))),
            summary=_summary(entry),
            severity=_severity(entry, one),
            aliases=tuple(str(alias) for alias in aliases[:10])
            if isinstance(aliases, list)
            else (),
            spans=tuple(_spans(one)),
            versions=frozenset(
                str(version) for version in (versions if isinstance(versions, list) else ())
            ),
        )


def _summary(entry: dict[str, Any]) -> str:
    text = str(entry.get("summary") or entry.get("details") or "").strip()
    return " ".join(text.split())[:300]


def _severity(entry: dict[str, Any], affected: dict[str, Any]) -> str:
    """What the advisory says of itself; high where it says nothing that we can read."""
    for place in (entry, affected):
        specific = place.get("database_specific")
        said = specific.get("severity") if isinstance(specific, dict) else None
        if isinstance(said, str) and said.upper() in (*_SEVERITIES, "LOW"):
            return _SEVERITIES.get(said.upper(), "low")
    return "high"


def _spans(affected: dict[str, Any]) -> Iterator[Span]:
    ranges = affected.get("ranges")
    for one in ranges if isinstance(ranges, list) else ():
        if not isinstance(one, dict) or one.get("type") != "ECOSYSTEM":
            continue
        introduced: str | None = None
        for event in one.get("events") or ():
            if not isinstance(event, dict):
                continue
            if "introduced" in event:
                introduced = str(event["introduced"])
            elif introduced is not None and ("fixed" in event or "last_affected" in event):
                fixed, last = event.get("fixed"), event.get("last_affected")
                yield Span(introduced, str(fixed) if fixed else None, str(last) if last else None)
                introduced = None
        if introduced is not None:
            yield Span(introduced)


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _covers(span: Span, version: Version) -> bool:
    begins = _version(span.introduced)
    if begins is None or version < begins:
        return False
    if span.fixed is not None:
        fixed = _version(span.fixed)
        return fixed is not None and version < fixed
    if span.last is not None:
        last = _version(span.last)
        return last is not None and version <= last
    return True
