"""The requirements that a project declares, each with the line that does so; nothing is run."""

import configparser
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

RUNTIME = "runtime"
DEVELOPMENT = "development"
LOCK = "lock"
"""A file that a tool resolved: everything in it is exact, and most of it nobody asked for."""

_REQUIREMENTS = re.compile(r"(?:^|[-_.])(?:requirements|constraints)(?:[-_.].*)?\.(?:txt|in)$")
_IN_FOLDER = re.compile(r"requirements/[^/]+\.(?:txt|in)$")
_DEVELOPMENT = re.compile(r"dev|test|lint|doc|typing|type|check|ci\b|build|bench", re.IGNORECASE)
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_HASH = re.compile(r"\s--hash[= ]\S+")
_OPTION = re.compile(r"\s--[a-z-]+[= ].*$")
_LARGEST_LINE = 4_000


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """One requirement. `name` is normalised; `group` is one of the three above.

    `specifier` is as PEP 440 writes it (`""` for any version), `url` where it is taken from
    instead of an index, `hashed` whether its files' digests are pinned.
    """

    name: str
    specifier: str
    file: str
    line: int
    group: str
    marker: str = ""
    url: str | None = None
    hashed: bool = False
    constraint: bool = False

    @property
    def specifiers(self) -> SpecifierSet:
        """The same as packaging's object."""
        return SpecifierSet(self.specifier)

    @property
    def pinned(self) -> str | None:
        """The one version that fits, None where several may."""
        for one in self.specifiers:
            if one.operator in ("==", "===") and not one.version.endswith(".*"):
                return one.version
        return None


class Malformed(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a manifest that declares nothing a tool could read."""

    file: str
    line: int
    reason: str


class Declarations(msgspec.Struct, kw_only=True):
    """All of a project: what it declares, what could not be read, which files were looked at.

    `names` are those of the distributions that the project itself makes, `modules` what its build
    configuration says it ships.
    """

    requirements: list[Declared] = []
    malformed: list[Malformed] = []
    files: list[str] = []
    names: set[str] = set()


def is_manifest(file: str) -> bool:
    """Whether a path is that of a file that declares requirements."""
    name = PurePosixPath(file).name
    in_folder = _IN_FOLDER.search(file.lstrip("/")) is not None
    return (
        name in ("pyproject.toml", "setup.cfg", "Pipfile", "uv.lock", "poetry.lock")
        or _REQUIREMENTS.search(name) is not None
        or in_folder
    )


def read_declarations(files: Mapping[str, str]) -> Declarations:
    """What the manifests among `files` (path to text) declare."""
    found = Declarations()
    for file in sorted(files):
        if not is_manifest(file):
            continue
        found.files.append(file)
        name = PurePosixPath(file).name
        text = files[file]
        if name in ("pyproject.toml", "Pipfile", "uv.lock", "poetry.lock"):
            _toml(found, file, text)
        elif name == "setup.cfg":
            _setup_cfg(found, file, text)
        else:
            _requirements(found, file, text)
    return found


# --- requirements files


def _requirements(found: Declarations, file: str, text: str) -> None:
    name = PurePosixPath(file).name
    group = DEVELOPMENT if _DEVELOPMENT.search(name.rsplit(".", 1)[0]) else RUNTIME
    constraint = "constraints" in name
    entries = list(_logical_lines(text))
    # Resolved by a tool: every entry carries its files' digests.
    if entries and all(_HASH.search(line) for _, line in entries if not line.startswith("-")):
        group = LOCK
    for number, line in entries:
        if line.startswith("-"):
            _option_line(found, file, number, line, group)
            continue
        hashed = _HASH.search(line) is not None
        bare = _OPTION.sub("", _HASH.sub("", line)).strip()
        _add(found, bare, file, number, group, hashed=hashed, constraint=constraint)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations joined and comments dropped, each with its first number."""
    held, since = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = _COMMENT.sub("", raw[:_LARGEST_LINE]).rstrip()
        since = since or number
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        whole = (held + line).strip()
        if whole:
            yield since, whole
        held, since = "", 0
    if held.strip():
        yield since, held.strip()


def _option_line(found: Declarations, file: str, number: int, line: str, group: str) -> None:
    option, _, rest = line.partition(" ")
    if option in ("-e", "--editable") and "#egg=" in rest:
        url, _, egg = rest.strip().partition("#egg=")
        name = re.split(r"[&\[\s]", egg, maxsplit=1)[0]
        declared = Declared(
            name=canonicalize_name(name),
            specifier="",
            file=file,
            line=number,
            group=group,
            url=url.strip(),
        )
        found.requirements.append(declared)


def _add(
    found: Declarations,
    text: str,
    file: str,
    line: int,
    group: str,
    *,
    hashed: bool = False,
    constraint: bool = False,
) -> None:
    if text.startswith((".", "/")) or re.match(r"[a-z+]+://", text):
        return  # a path or a bare URL: it names no project
    try:
        one = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        found.malformed.append(Malformed(file=file, line=line, reason=reason[:200]))
        return
    found.requirements.append(
        Declared(
            name=canonicalize_name(one.name),
            specifier=str(one.specifier),
            file=file,
            line=line,
            group=group,
            marker=str(one.marker or ""),
            url=one.url,
            hashed=hashed,
            constraint=constraint,
        )
    )


# --- TOML


def _toml(found: Declarations, file: str, text: str) -> None:
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = re.search(r"line (\d+)", str(error))
        line = int(place[1]) if place else 1
        found.malformed.append(Malformed(file=file, line=line, reason=f"not TOML: {error}"[:200]))
        return
    lines = text.splitlines()
    name = PurePosixPath(file).name
    if name.endswith(".lock"):
        _locked(found, file, lines, data)
    elif name == "Pipfile":
        for key, group in (("packages", RUNTIME), ("dev-packages", DEVELOPMENT)):
            _table(found, file, lines, data.get(key), group)
    else:
        _pyproject(found, file, lines, data)


def _pyproject(found: Declarations, file: str, lines: list[str], data: dict[str, Any]) -> None:
    project = _dict(data.get("project"))
    if isinstance(project.get("name"), str):
        found.names.add(canonicalize_name(project["name"]))
    _list(found, file, lines, project.get("dependencies"), RUNTIME)
    for extra, wanted in _dict(project.get("optional-dependencies")).items():
        group = DEVELOPMENT if _DEVELOPMENT.search(str(extra)) else RUNTIME
        _list(found, file, lines, wanted, group)
    for wanted in _dict(data.get("dependency-groups")).values():
        _list(found, file, lines, wanted, DEVELOPMENT)
    poetry = _dict(_dict(data.get("tool")).get("poetry"))
    if isinstance(poetry.get("name"), str):
        found.names.add(canonicalize_name(poetry["name"]))
    _table(found, file, lines, poetry.get("dependencies"), RUNTIME)
    _table(found, file, lines, poetry.get("dev-dependencies"), DEVELOPMENT)
    for group in _dict(poetry.get("group")).values():
        _table(found, file, lines, _dict(group).get("dependencies"), DEVELOPMENT)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(found: Declarations, file: str, lines: list[str], wanted: Any, group: str) -> None:
    for text in wanted if isinstance(wanted, list) else ():
        if isinstance(text, str):
            _add(found, text, file, _line_of(lines, text), group)


def _table(found: Declarations, file: str, lines: list[str], wanted: Any, group: str) -> None:
    """Poetry's and Pipenv's form: a table of names to versions."""
    for name, said in _dict(wanted).items():
        if name == "python":
            continue
        version = said if isinstance(said, str) else _dict(said).get("version", "*")
        url = None if isinstance(said, str) else _dict(said).get("git") or _dict(said).get("url")
        line = _line_of(lines, name, key=True)
        try:
            specifier = str(SpecifierSet(_from_poetry(str(version))))
        except InvalidSpecifier:
            reason = f"{version!r} is no version specifier"
            found.malformed.append(Malformed(file=file, line=line, reason=reason))
            continue
        declared = Declared(
            name=canonicalize_name(name),
            specifier=specifier,
            file=file,
            line=line,
            group=group,
            url=url if isinstance(url, str) else None,
        )
        found.requirements.append(declared)


def _from_poetry(version: str) -> str:
    """Poetry's `^1.2`, `~1.2` and `1.2` in PEP 440's words."""
    parts = []
    for one in version.replace(" ", "").split(","):
        if one in ("*", ""):
            continue
        if one[0] in "^~" and not one.startswith("~="):
            parts += _caret_or_tilde(one)
        elif one[0].isdigit():
            parts.append(f"=={one}")
        else:
            parts.append(one)
    return ",".join(parts)


def _caret_or_tilde(text: str) -> list[str]:
    numbers = [int(part) for part in re.findall(r"\d+", text.split("-", maxsplit=1)[0])] or [0]
    if text[0] == "~":
        at = min(1, len(numbers) - 1)
    else:
        at = next((n for n, part in enumerate(numbers) if part), len(numbers) - 1)
    above = [*numbers[:at], numbers[at] + 1]
    return [f">={text[1:]}", "<" + ".".join(map(str, above))]


def _locked(found: Declarations, file: str, lines: list[str], data: dict[str, Any]) -> None:
    packages = data.get("package")
    for one in packages if isinstance(packages, list) else ():
        name, version = _dict(one).get("name"), _dict(one).get("version")
        if isinstance(name, str) and isinstance(version, str):
            line = _line_of(lines, f'name = "{name}"')
            _add(found, f"{name}=={version}", file, line, LOCK, hashed=True)


def _line_of(lines: list[str], text: str, *, key: bool = False) -> int:
    """The first line that holds a requirement's text, or begins with a table's key."""
    for number, line in enumerate(lines, 1):
        bare = line.strip()
        if key and re.match(rf"[\"']?{re.escape(text)}[\"']?\s*=", bare):
            return number
        if not key and text in bare and not bare.startswith("#"):
            return number
    return 1


# --- setup.cfg


def _setup_cfg(found: Declarations, file: str, text: str) -> None:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        reason = f"not an INI file: {str(error).splitlines()[0]}"
        found.malformed.append(Malformed(file=file, line=1, reason=reason[:200]))
        return
    lines = text.splitlines()
    wanted = [(parser.get("options", "install_requires", fallback=""), RUNTIME)]
    if parser.has_section("options.extras_require"):
        for extra, said in parser.items("options.extras_require"):
            group = DEVELOPMENT if _DEVELOPMENT.search(extra) else RUNTIME
            wanted.append((said, group))
    for said, group in wanted:
        # A list has lines; on one line, semicolons part what it names.
        for one in said.splitlines() if "\n" in said else said.split(";"):
            if bare := one.strip():
                _add(found, bare, file, _line_of(lines, bare), group)
    if name := parser.get("metadata", "name", fallback=""):
        found.names.add(canonicalize_name(name))
