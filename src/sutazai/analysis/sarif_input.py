"""Reading SARIF 2.1.0 logs of earlier runs and of other tools, and finding ours in them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from sutazai.analysis.globs import InputError
from sutazai.analysis.sarif import FINGERPRINT

MOST_RUNS = 20
MOST_RESULTS = 25_000
"""Results of a log, and runs: as many as GitHub takes."""

_LONGEST = 2_000


class _Message(msgspec.Struct):
    text: str = ""


class _Location(msgspec.Struct):
    uri: str = ""


class _Region(msgspec.Struct, rename="camel"):
    start_line: int = 0


class _Physical(msgspec.Struct, rename="camel"):
    artifact_location: _Location = msgspec.field(default_factory=_Location)
    region: _Region = msgspec.field(default_factory=_Region)


class _Place(msgspec.Struct, rename="camel"):
    physical_location: _Physical = msgspec.field(default_factory=_Physical)


class _Suppression(msgspec.Struct):
    status: str = "accepted"
    justification: str = ""


class _RuleReference(msgspec.Struct):
    id: str = ""


class _Result(msgspec.Struct, rename="camel"):
    rule_id: str = ""
    rule: _RuleReference = msgspec.field(default_factory=_RuleReference)
    level: Literal["none", "note", "warning", "error"] = "warning"
    message: _Message = msgspec.field(default_factory=_Message)
    locations: list[_Place] = []
    partial_fingerprints: dict[str, str] = {}
    suppressions: list[_Suppression] = []
    baseline_state: str = ""


class _Driver(msgspec.Struct):
    name: str


class _Tool(msgspec.Struct):
    driver: _Driver


class _Run(msgspec.Struct):
    tool: _Tool
    results: list[_Result] | None = None


class _Log(msgspec.Struct):
    version: Literal["2.1.0"]
    runs: list[_Run]


class External(NamedTuple):
    """A result of a log; `file` is relative, `suppressed` is why it was, None if it was not."""

    tool: str
    rule: str
    level: str
    file: str
    line: int
    message: str
    fingerprint: str | None
    suppressed: str | None


def read_sarif(value: Any) -> list[External]:
    """The results of a log, but for those that it calls absent. Raises InputError."""
    try:
        log = msgspec.convert(value, _Log)
    except msgspec.ValidationError as error:
        raise InputError(f"`sarif` is no SARIF 2.1.0 log: {error}.") from None
    if len(log.runs) > MOST_RUNS:
        raise InputError(f"`sarif` has {len(log.runs)} runs; {MOST_RUNS} are the most.")
    if sum(len(run.results or ()) for run in log.runs) > MOST_RESULTS:
        raise InputError(f"`sarif` has more than {MOST_RESULTS} results; send fewer.")
    return [
        _external(run.tool.driver.name, result)
        for run in log.runs
        for result in run.results or ()
        if result.baseline_state != "absent"
    ]


def _external(tool: str, result: _Result) -> External:
    place = result.locations[0].physical_location if result.locations else _Physical()
    accepted = [one for one in result.suppressions if one.status == "accepted"]
    return External(
        tool=tool[:100] or "unnamed",
        rule=(result.rule_id or result.rule.id or "unnamed")[:200],
        level=result.level,
        file=_path(place.artifact_location.uri),
        line=max(0, place.region.start_line),
        message=result.message.text[:_LONGEST],
        fingerprint=result.partial_fingerprints.get(FINGERPRINT),
        suppressed=(accepted[0].justification[:_LONGEST] or "suppressed") if accepted else None,
    )


def _path(uri: str) -> str:
    """A relative path; of an absolute URI its path. Only compared and shown, never opened."""
    try:
        path = unquote(urlsplit(uri).path)
    except ValueError:
        return uri[:_LONGEST]
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/".join(parts)[:_LONGEST]


class Merged(NamedTuple):
    """Issues with what others had said of them, why some were suppressed, and what is not ours."""

    issues: list[dict[str, Any]]
    suppressed: dict[str, str]
    known: frozenset[str]
    rest: list[External]


def merge(issues: Sequence[Mapping[str, Any]], external: Sequence[External]) -> Merged:
    """Find our findings in a log: by their fingerprints, else by file, line and rule.

    What the log has of them becomes evidence; `known` are the fingerprints of those it has.
    """
    by_fingerprint = {one["fingerprint"]: number for number, one in enumerate(issues)}
    by_place: dict[tuple[str, int, str], int] = {}
    for number, issue in enumerate(issues):
        names = {issue["rule"], *(one["rule"] for one in issue.get("evidence") or ())}
        last = min(max(issue["line"], issue.get("end_line") or 0), issue["line"] + 50)
        for line in range(issue["line"], last + 1):
            for name in names:
                by_place.setdefault((issue["file"].lstrip("/"), line, name), number)
    merged = [dict(issue) for issue in issues]
    suppressed: dict[str, str] = {}
    known: set[str] = set()
    rest: list[External] = []
    for one in external:
        found = None if one.fingerprint is None else by_fingerprint.get(one.fingerprint)
        if found is None:
            found = by_place.get((one.file, one.line, one.rule))
        if found is None:
            rest.append(one)
            continue
        issue = merged[found]
        known.add(issue["fingerprint"])
        said = {"engine": one.tool, "rule": one.rule, "message": one.message}
        if one.tool != "SutazAI" and said not in issue["evidence"]:
            issue["evidence"] = [*issue["evidence"], said]
        if one.suppressed is not None:
            suppressed.setdefault(issue["fingerprint"], one.suppressed)
    return Merged(merged, suppressed, frozenset(known), rest)
