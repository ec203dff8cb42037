"""A whole project looked at for security: across files, in templates, in configuration."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

import msgspec

from sutazai.analysis.findings import Finding, RawFinding
from sutazai.analysis.merge import merge
from sutazai.analysis.parsing import Module, parse
from sutazai.analysis.reading import take
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.security.containers import scan_dockerfile, scan_yaml
from sutazai.analysis.security.flows import find_flows
from sutazai.analysis.security.routes import find_open_routes
from sutazai.analysis.security.settings import scan_lines, scan_settings
from sutazai.analysis.security.templates import is_template, scan_template
from sutazai.analysis.source import Source, SourceError


class Deepened(msgspec.Struct, kw_only=True):
    """What the look at the whole found. `looked_at` counts files by what they are."""

    findings: list[Finding]
    suppressed: int
    looked_at: dict[str, int]


class DeepenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to look at."""

    what: Reviewable


def deepen(request: DeepenRequest) -> Deepened:
    """Look at a project as a whole; what each Python file shows by itself is the review's."""
    sources = {source.file: source for source in take(request.what).sources}
    modules = _parsed(sources)
    raws: dict[str, list[RawFinding]] = defaultdict(list)
    looked_at = dict.fromkeys(("python", "template", "configuration", "other"), 0)
    for file, source in sources.items():
        if file in modules:
            looked_at["python"] += 1
            raws[file] += scan_settings(modules[file])
        elif is_template(source):
            looked_at["template"] += 1
            raws[file] += scan_template(source)
        elif not source.is_python:
            here = list(_configuration(source))
            looked_at["configuration" if is_configuration(source.file) else "other"] += 1
            raws[file] += here
    for found in (find_flows(modules), find_open_routes(modules)):
        for file, more in found.items():
            raws[file] += more
    findings: list[Finding] = []
    suppressed = 0
    for file, several in raws.items():
        here_found, accepted = merge(sources[file], modules.get(file), several)
        findings += here_found
        suppressed += accepted
    findings.sort(key=lambda one: one.sort_key)
    return Deepened(findings=findings, suppressed=suppressed, looked_at=looked_at)


_CONFIGURES = frozenset(
    (".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".json", ".env", ".properties", ".tf")
)


def is_configuration(file: str) -> bool:
    """Whether a file's name says that it configures something."""
    path = PurePosixPath(file.lower())
    named = path.name.startswith((".env", "dockerfile", "containerfile"))
    return named or path.suffix in _CONFIGURES or path.suffix == ".dockerfile"


def _configuration(source: Source) -> Iterator[RawFinding]:
    yield from scan_lines(source)
    yield from scan_dockerfile(source)
    yield from scan_yaml(source)


def _parsed(sources: Mapping[str, Source]) -> dict[str, Module]:
    modules: dict[str, Module] = {}
    for file, source in sources.items():
        if source.is_python:
            try:
                modules[file] = parse(source)
            except SourceError:
                continue  # the review tells of it
    return modules
