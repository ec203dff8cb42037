"""Every operation of the OpenAPI document with generated requests, good ones and bad ones."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import hypothesis
import pytest
import schemathesis
from schemathesis import Case, GenerationMode

from tests.api.server import ADMIN_PASSWORD, JSON
from tests.api.test_openapi import document


def log_in(url: str) -> str:
    body = {"username": "admin", "password": ADMIN_PASSWORD}
    answer = httpx2.post(f"{url}/api/v1/auth/login", json=body, trust_env=False)
    token: str = answer.json()["access_token"]
    return token


@pytest.fixture(scope="session")
def token(battered: str) -> str:
    return log_in(battered)


schema = schemathesis.openapi.from_dict(document())


def make_sensible(case: Case[Any]) -> None:
    """Of a request that should be accepted, replace what a schema cannot say: what there is now."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    (case.query or {}).pop("callback_url", None)
    body: Any = case.body
    if not isinstance(body, dict):
        return
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    sensible: JSON = {
        "run_at": soon,
        "expires_at": soon,
        "agent": "master-coordinator",
        "depends_on": [],
        "steps": [{"step_id": "a", "type": "ping"}],
        # Nobody is to be called, nor asked where that is.
        "callback_url": None,
    }
    match case.operation.definition.raw["operationId"]:
        case "createTask":
            sensible["type"] = "ping"
        case "createApiKey":
            sensible["name"] = "printable"
        case "registerAgent" | "updateAgent":
            sensible |= {"agent_id": "generated-01", "capabilities": ["generated"]}
            if "agent_id" in (case.path_parameters or {}):
                case.path_parameters["agent_id"] = "generated-01"
        case "createSchedule" | "updateSchedule":
            # One of each pair, and what the other one is goes.
            for name in ("at", "workflow"):
                body.pop(name, None)
            body |= {"cron": "@daily", "task": {"type": "ping", "description": "generated"}}
            sensible["timezone"] = "UTC"
    case.body = {key: sensible.get(key, value) for key, value in body.items()}


def settings(examples: int) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


# A stream does not end by itself.
@schema.exclude(operation_id=["login", "streamEvents"]).parametrize()
@settings(examples=25)
def test_every_operation_keeps_to_its_document(case: Case[Any], battered: str, token: str) -> None:
    operation = case.operation.definition.raw["operationId"]
    used = log_in(battered) if operation == "logout" else token
    make_sensible(case)
    case.call_and_validate(
        base_url=f"{battered}/api/v1", headers={"Authorization": f"Bearer {used}"}
    )


# Fewer: the brake holds the answers to wrong passwords back.
@schema.include(operation_id="login").parametrize()
@settings(examples=4)
def test_logging_in_keeps_to_its_document(case: Case[Any], battered: str, token: str) -> None:
    case.call_and_validate(base_url=f"{battered}/api/v1")


def test_the_server_still_answers_after_all_that(battered: str) -> None:
    answer = httpx2.get(f"{battered}/api/v1/health", trust_env=False)
    services = answer.json()["services"]
    # Not all of it: an agent that was registered on the way is offline.
    assert (answer.status_code, services["database"], services["engine"]) == (200, *["healthy"] * 2)
