"""The client against a real server."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from sutazai_client import Conflict, Invalid, NotFound, SutazAIClient, SutazAIError, Unauthorized

from tests.features.sdk.embedding import PASSWORD, Served

SOON_NOT = (datetime.now(UTC) + timedelta(days=1)).isoformat()


def test_a_submitted_task_can_be_waited_for(client: SutazAIClient) -> None:
    task = client.create_task("ping", "anybody there?", metadata={"n": 1}, priority=8)
    ended = client.wait_for_task(task["task_id"], timeout=30)
    assert (ended["status"], ended["priority"]) == ("completed", 8)
    assert client.get_result(task["task_id"])["result"] == {"n": 1}


def test_a_result_can_be_waited_for_at_once(client: SutazAIClient) -> None:
    task = client.create_task("code_review", "review", metadata={"file": "/src/auth.py"})
    result = client.get_result(task["task_id"], wait=60)["result"]
    assert [issue["rule"] for issue in result["issues"]] == ["code-injection"]


def test_waiting_too_long_is_a_timeout_error_and_the_task_goes_on(client: SutazAIClient) -> None:
    task = client.create_task("ping", "later", run_at=SOON_NOT)
    with pytest.raises(TimeoutError, match="did not complete"):
        client.wait_for_task(task["task_id"], timeout=0.2)
    assert client.get_task(task["task_id"])["status"] == "pending"
    assert client.cancel_task(task["task_id"])["status"] == "cancelled"
    assert client.wait_for_task(task["task_id"])["status"] == "cancelled"
    with pytest.raises(Conflict):
        client.get_result(task["task_id"])


def test_the_same_idempotency_key_is_the_same_task(client: SutazAIClient) -> None:
    first = client.create_task("ping", "once", idempotency_key="only-once")
    again = client.create_task("ping", "once", idempotency_key="only-once")
    other = client.create_task("ping", "once")
    assert again["task_id"] == first["task_id"] != other["task_id"]


def test_all_tasks_come_page_after_page(client: SutazAIClient) -> None:
    made = [client.create_task("ping", "page", tags=["pages"])["task_id"] for _ in range(5)]
    assert client.list_tasks(tag="pages", limit=2)["total"] == 5
    found = [task["task_id"] for task in client.iter_tasks(tag="pages", limit=2)]
    assert found == made[::-1]


def test_the_event_log_comes_in_order(client: SutazAIClient) -> None:
    before = [event["id"] for event in client.iter_events()][-1]
    task = client.create_task("ping", "events")
    client.wait_for_task(task["task_id"])
    told = [e["event_type"] for e in client.iter_events(before) if e["data"].get("task_id")]
    assert told[:1] + told[-1:] == ["task.created", "task.completed"]


def test_an_error_says_what_is_wrong_with_which_field(client: SutazAIClient) -> None:
    with pytest.raises(Invalid) as caught:
        client.create_task("ping", "too urgent", priority=11)
    error = caught.value
    assert (error.code, error.status) == ("VALIDATION_ERROR", 422)
    assert [detail["field"] for detail in error.details] == ["priority"]
    assert error.request_id
    assert "priority" in str(error)


def test_an_id_cannot_name_another_path(client: SutazAIClient) -> None:
    for task_id in ("../health", "..", "?wait=1", "%2e%2e/health"):
        with pytest.raises((Invalid, NotFound)):
            client.get_task(task_id)


def test_agents_tell_what_they_do(client: SutazAIClient) -> None:
    listed = {agent["agent_id"]: agent for agent in client.list_agents()["agents"]}
    assert "code_review" in listed["code-reviewer-01"]["capabilities"]
    assert client.get_agent("master-coordinator")["metrics"]["error_rate"] in (None, 0)
    with pytest.raises(Invalid):
        client.update_agent_config("code-reviewer-01", no_such_setting=1)


def test_accounts_are_managed(client: SutazAIClient, server: Served) -> None:
    made = client.create_user("carol", "carols password", roles=["viewer"])
    assert client.get_user(made["user_id"])["roles"] == ["viewer"]
    assert made["user_id"] in [user["user_id"] for user in client.list_users()["users"]]
    client.update_user(made["user_id"], password="carols new one")
    with SutazAIClient(server.url) as carols:
        with pytest.raises(Unauthorized):
            carols.login("carol", "carols password")
        carols.login("carol", "carols new one")
        assert carols.me()["username"] == "carol"
    client.delete_user(made["user_id"])
    with pytest.raises(NotFound):
        client.get_user(made["user_id"])


def test_an_api_key_needs_no_login_until_it_is_deleted(
    client: SutazAIClient, server: Served
) -> None:
    made = client.create_api_key("ci")
    with SutazAIClient(server.url, api_key=made["api_key"]) as keyed:
        assert keyed.me()["username"] == "admin"
        assert made["key_id"] in [key["key_id"] for key in keyed.list_api_keys()["keys"]]
        client.delete_api_key(made["key_id"])
        with pytest.raises(Unauthorized):
            keyed.me()


def test_health_needs_no_login(server: Served) -> None:
    with SutazAIClient(server.url) as client:
        assert client.health()["services"]["database"] == "healthy"
        with pytest.raises(Unauthorized):
            client.me()


def test_a_given_token_is_used_and_shown(client: SutazAIClient, server: Served) -> None:
    with SutazAIClient(server.url, token=client.token) as other:
        assert other.me()["username"] == "admin"
        assert other.token == client.token
        with pytest.raises(SutazAIError, match="Log in"):
            other.refresh()


def test_a_logged_out_session_is_over(server: Served) -> None:
    with SutazAIClient(server.url) as client:
        token = client.login("admin", PASSWORD)
        client.logout()
        assert client.token is None
    with SutazAIClient(server.url, token=token) as late, pytest.raises(Unauthorized):
        late.me()


def test_what_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="http://localhost:10010"):
        SutazAIClient("localhost:10010")


def test_the_client_needs_nothing_of_the_server() -> None:
    code = (
        "import sys, sutazai_client; "
        "print({'sutazai', 'fastapi', 'requests', 'pydantic'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "set()"


def test_findings_are_dismissed_restored_and_read_as_sarif(client: SutazAIClient) -> None:
    metadata = {"file": "/src/auth.py", "project": "of the client"}
    task_id = client.create_task("code_review", "review", metadata=metadata)["task_id"]
    client.wait_for_task(task_id, timeout=60)
    [found] = client.list_findings(task_id)["findings"]
    made = client.dismiss_finding(task_id, found["fingerprint"], "a constant")
    assert made["reason"] == "a constant"
    [result] = client.get_sarif(task_id)["runs"][0]["results"]
    assert result["suppressions"][0]["justification"] == "a constant"
    client.restore_finding(task_id, found["fingerprint"])
    assert client.list_findings(task_id, dismissed=True)["total"] == 0
