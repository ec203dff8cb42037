"""What memory makes of a fresh result: what is dismissed, known, or said by others. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from sutazai.analysis.sarif_input import External, merge
from sutazai.findings.model import Baseline

MOST_LISTED = 1_000
"""Others' findings, and absent ones, that a result lists."""

_COUNTED = {"by_severity": "severity", "by_type": "type", "by_rule": "rule"}


def with_external(
    result: dict[str, Any], external: Sequence[External]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], frozenset[str]]:
    """The result with a log merged in; what the log suppresses, and what it knows."""
    merged = merge(result["issues"], external)
    rest = [
        {
            "tool": one.tool,
            "rule": one.rule,
            "level": one.level,
            "file": one.file,
            "line": one.line,
            "message": one.message,
        }
        for one in merged.rest
        if one.suppressed is None
    ]
    after = {
        **result,
        "issues": merged.issues,
        "external": rest[:MOST_LISTED],
        "external_total": len(rest),
    }
    suppressed = {
        fingerprint: {"reason": reason, "by": "sarif", "at": None}
        for fingerprint, reason in merged.suppressed.items()
    }
    return after, suppressed, merged.known


def without_dismissed(
    result: dict[str, Any], dismissals: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """The result with what was dismissed set apart, and not counted."""
    gone = [one for one in result["issues"] if one["fingerprint"] in dismissals]
    if not gone:
        return result
    after = _without(result, gone, f"{len(gone)} dismissed before")
    after["dismissed"] = [{**one, "dismissed": dismissals[one["fingerprint"]]} for one in gone]
    return after


def since(result: dict[str, Any], baseline: Baseline, known: frozenset[str]) -> dict[str, Any]:
    """The result with nothing but what the baseline did not have; the rest is set apart."""
    before = {one["fingerprint"]: one for one in baseline.issues}
    unchanged = [
        one
        for one in result["issues"]
        if one["fingerprint"] in before or one["fingerprint"] in known
    ]
    now = {one["fingerprint"] for one in (*result["issues"], *(result.get("dismissed") or ()))}
    absent = [one for fingerprint, one in before.items() if fingerprint not in now]
    after = _without(result, unchanged, f"{len(unchanged)} known before") if unchanged else result
    return {
        **after,
        "baseline": {
            "task_id": baseline.task_id,
            "commit": baseline.commit,
            "unchanged": unchanged,
            "absent": [_bare(one) for one in absent[:MOST_LISTED]],
            "absent_total": len(absent),
        },
    }


def _bare(issue: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in issue.items() if name not in ("dismissed", "fix")}


def _without(
    result: dict[str, Any], gone: Sequence[Mapping[str, Any]], what: str
) -> dict[str, Any]:
    fingerprints = {one["fingerprint"] for one in gone}
    after = dict(result)
    after["issues"] = [one for one in result["issues"] if one["fingerprint"] not in fingerprints]
    if isinstance(result.get("summary"), str):
        after["summary"] = f"{result['summary']}; {what}, not listed"
    metrics = result.get("metrics")
    if isinstance(metrics, dict):
        after["metrics"] = _fewer(metrics, gone)
    return after


def _fewer(metrics: dict[str, Any], gone: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    after = dict(metrics)
    if isinstance(metrics.get("issues_found"), int):
        after["issues_found"] = max(0, metrics["issues_found"] - len(gone))
    for name, field in _COUNTED.items():
        if isinstance(metrics.get(name), dict):
            left = dict(metrics[name])
            for issue in gone:
                left[issue[field]] = left.get(issue[field], 0) - 1
            after[name] = {key: count for key, count in left.items() if count > 0}
    return after
