"""`sutazai agent register`, `key`, `delete` against a real server."""

import pytest
from sutazai_client import SutazAIClient, Unauthorized

from tests.features.cli.conftest import Run, decoded
from tests.features.sdk.embedding import Served


def test_an_agent_joins_gets_a_new_key_and_leaves(logged_in: Run, server: Served) -> None:
    made = logged_in("agent", "register", "cli-agent", "--type", "cli-type", "--capacity", 2)
    key = made.stdout.strip()
    assert key.startswith("sk-sutazai-agent-")
    again = logged_in("agent", "register", "cli-agent", "--type", "cli-type", "--capacity", 2)
    assert again.exit_code == 0
    assert again.stdout == ""
    assert "sutazai agent key cli-agent" in again.stderr
    assert "cli-agent" in logged_in("agent", "list").stdout
    shown = decoded(logged_in("agent", "show", "cli-agent", "--format", "json"))
    assert (shown["max_capacity"], shown["transport"]) == (2, "http")
    renewed = logged_in("agent", "key", "cli-agent").stdout.strip()
    with SutazAIClient(server.url, api_key=key) as old, pytest.raises(Unauthorized):
        old.me()
    assert renewed != key
    assert logged_in("agent", "delete", "cli-agent").exit_code == 0
    assert logged_in("agent", "show", "cli-agent").exit_code == 2


def test_what_cannot_join_is_told_why(logged_in: Run) -> None:
    refused = logged_in("agent", "register", "master-coordinator", "--type", "x")
    assert refused.exit_code == 2
    assert "server's own" in refused.stderr
    refused = logged_in("agent", "register", "a b", "--type", "x")
    assert "agent_id" in refused.stderr
