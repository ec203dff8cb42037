"""A result's findings as a SARIF 2.1.0 log, for code scanning and editors.

Per https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/sarif-v2.1.0-errata01-os-complete.html;
what GitHub reads beyond it is in its "SARIF support for code scanning".
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from sutazai.analysis.catalogue import RULES

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
FINGERPRINT = "sutazai/v1"
"""The name of our fingerprints among a result's `partialFingerprints`."""

_LEVELS = {
    "critical": "error",
    "high": "error",
    "medium": "warning",
    "low": "note",
    "info": "note",
}
_SECURITY_SEVERITIES = {
    "critical": "9.5",
    "high": "8.0",
    "medium": "5.5",
    "low": "2.5",
    "info": "0.5",
}
_ROOT = "%SRCROOT%"
_HUNK = re.compile(
    r"^@@ -(?P<first>\d+)(?:,(?P<count>\d+))? \+[\d,]+ @@.*\n(?P<body>(?:[ +\-\\].*(?:\n|$))*)",
    re.MULTILINE,
)

Issue = Mapping[str, Any]


def sarif_log(
    result: Mapping[str, Any],
    *,
    version: str,
    task_type: str,
    dismissals: Mapping[str, str],
) -> dict[str, Any]:
    """The log of a result that has `issues`; `dismissals` are reasons by fingerprint.

    Findings that the result leaves out, as dismissed or known from its baseline, are in the log.
    """
    baseline = result.get("baseline")
    issues: list[tuple[Issue, str | None]] = [
        (issue, None if baseline is None else "new") for issue in result["issues"]
    ]
    dismissed = {issue["fingerprint"]: issue["dismissed"]["reason"] for issue in _left_out(result)}
    issues += [(issue, None) for issue in _left_out(result)]
    if baseline is not None:
        issues += [(issue, "unchanged") for issue in baseline["unchanged"]]
        issues += [(issue, "absent") for issue in baseline["absent"]]
    rules = _rules([issue for issue, _ in issues])
    indexes = {rule["id"]: number for number, rule in enumerate(rules)}
    reasons = {**dismissed, **dismissals}
    driver = {"name": "SutazAI", "semanticVersion": version, "rules": rules}
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "automationDetails": {"id": f"sutazai/{task_type}/"},
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The root of what was reviewed."}}},
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [
                    *(_notification(item) for item in result.get("unparsed") or ()),
                    *(
                        _notification(item, "note", "Not analysed")
                        for item in result.get("not_analysed") or ()
                    ),
                    *(
                        _notification(item, "note", "Skipped")
                        for item in result.get("skipped") or ()
                    ),
                ],
            }
        ],
        "results": [
            _result(issue, indexes, reasons.get(issue["fingerprint"]), state)
            for issue, state in issues
        ],
    }
    repository = result.get("repository")
    if isinstance(repository, Mapping):
        run["versionControlProvenance"] = [_provenance(repository)]
    external = _external_runs(result.get("external") or ())
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run, *external]}


def _left_out(result: Mapping[str, Any]) -> Sequence[Issue]:
    found: Sequence[Issue] = result.get("dismissed") or ()
    return found


def _rules(issues: Iterable[Issue]) -> list[dict[str, Any]]:
    by_id: dict[str, dict[str, Any]] = {}
    for issue in issues:
        if issue["rule"] not in by_id:
            by_id[issue["rule"]] = _rule(issue)
    return [by_id[name] for name in sorted(by_id)]


def _rule(issue: Issue) -> dict[str, Any]:
    known = RULES.get(issue["rule"])
    description = issue["description"] if known is None else known.description
    severity = issue["severity"] if known is None else known.severity.value
    suggestion = issue["suggestion"] if known is None else known.suggestion
    tags = [issue["type"]]
    if issue.get("cwe") is not None:
        tags.append(f"external/cwe/cwe-{issue['cwe']}")
    properties: dict[str, Any] = {"tags": tags}
    if issue["type"] == "security":
        properties["security-severity"] = _SECURITY_SEVERITIES[severity]
    return {
        "id": issue["rule"],
        "shortDescription": {"text": description},
        "help": {"text": suggestion},
        "defaultConfiguration": {"level": _LEVELS[severity]},
        "properties": properties,
    }


def _result(
    issue: Issue, indexes: Mapping[str, int], reason: str | None, state: str | None
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "ruleId": issue["rule"],
        "ruleIndex": indexes[issue["rule"]],
        "level": _LEVELS[issue["severity"]],
        "message": {"text": f"{issue['description']} {issue['suggestion']}".strip()},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": _artifact(issue["file"]),
                    "region": _region(issue),
                }
            }
        ],
        # GitHub matches alerts by the first, we by the second.
        "partialFingerprints": {
            "primaryLocationLineHash": issue["fingerprint"],
            FINGERPRINT: issue["fingerprint"],
        },
        "properties": {
            "severity": issue["severity"],
            "confidence": issue["confidence"],
            "inTest": bool(issue.get("in_test")),
            "evidence": [dict(one) for one in issue.get("evidence") or ()],
        },
    }
    if state is not None:
        shown["baselineState"] = state
    if reason is not None:
        shown["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": reason}
        ]
    fix = _fix(issue)
    if fix is not None:
        shown["fixes"] = [fix]
    return shown


def _artifact(file: str) -> dict[str, Any]:
    """Files of a workspace or repository are relative to its root; inline code has only a name."""
    if file.startswith("/"):
        return {"uri": quote(file.lstrip("/"), safe="/"), "uriBaseId": _ROOT}
    return {"uri": quote(file, safe="/")}


def _region(issue: Issue) -> dict[str, Any]:
    line = max(1, issue["line"])
    region: dict[str, Any] = {
        "startLine": line,
        "startColumn": max(1, issue["column"]),
        "endLine": max(line, issue.get("end_line") or line),
    }
    if issue.get("code"):
        region["snippet"] = {"text": issue["code"]}
    return region


def _fix(issue: Issue) -> dict[str, Any] | None:
    """The finding's proven patch as replacements of whole lines; None where there is none."""
    fix = issue.get("fix")
    if not isinstance(fix, Mapping) or not isinstance(fix.get("patch"), str):
        return None
    replacements = []
    for hunk in _HUNK.finditer(fix["patch"]):
        first, count = int(hunk["first"]), int(hunk["count"] or 1)
        if count == 0:
            return None  # nothing but insertions between lines: no region to delete
        lines = hunk["body"].splitlines()
        replacements.append(
            {
                "deletedRegion": {
                    "startLine": first,
                    "startColumn": 1,
                    "endLine": first + count,
                    "endColumn": 1,
                },
                "insertedContent": {
                    "text": "".join(f"{line[1:]}\n" for line in lines if line[:1] in ("+", " "))
                },
            }
        )
    if not replacements:
        return None
    change = {"artifactLocation": _artifact(issue["file"]), "replacements": replacements}
    return {"description": {"text": issue["suggestion"]}, "artifactChanges": [change]}


def _notification(
    item: Mapping[str, Any], level: str = "warning", what: str = "Not parsed"
) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": _artifact(item["file"])}
    if item.get("line"):
        place["region"] = {"startLine": max(1, item["line"])}
    return {
        "level": level,
        "message": {"text": f"{what}: {item['reason']}"},
        "locations": [{"physicalLocation": place}],
    }


def _provenance(repository: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"repositoryUri": repository["url"], "revisionId": repository["commit"]}
    if repository.get("branch"):
        shown["branch"] = repository["branch"]
    return shown


def _external_runs(external: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What other tools had found, and we had not: a run for each tool."""
    by_tool: dict[str, list[dict[str, Any]]] = {}
    for one in external:
        place: dict[str, Any] = {"artifactLocation": _artifact(one["file"])}
        if one.get("line"):
            place["region"] = {"startLine": one["line"]}
        by_tool.setdefault(one["tool"], []).append(
            {
                "ruleId": one["rule"],
                "level": one["level"],
                "message": {"text": one["message"]},
                "locations": [{"physicalLocation": place}],
            }
        )
    return [
        {"tool": {"driver": {"name": tool}}, "results": results}
        for tool, results in by_tool.items()
    ]
