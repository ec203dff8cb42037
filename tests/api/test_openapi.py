import json
from pathlib import Path
from typing import cast

import schemathesis

from sutazai.api.app import create_v1
from sutazai.api.services import Services
from tests.api.server import JSON, Server

FROZEN = Path(__file__).with_name("openapi.json")
METHODS = {"get", "post", "put", "patch", "delete"}


def document() -> JSON:
    """The document as the server would give it."""

    class Named:
        version = "1.0.0"

    # Only the version is asked for while nothing is served.
    return create_v1(cast(Services, Named())).openapi()


def operations() -> dict[str, JSON]:
    return {
        operation["operationId"]: operation
        for path in document()["paths"].values()
        for method, operation in path.items()
        if method in METHODS
    }


def test_the_document_is_the_frozen_one() -> None:
    """To freeze another on purpose: `python -m tests.api.test_openapi`."""
    assert document() == json.loads(FROZEN.read_text("utf-8"))


def test_the_operations_have_the_specifications_names() -> None:
    assert set(operations()) == {
        "approveStep",
        "beatAgent",
        "cancelExecution",
        "cancelTask",
        "claimAssignments",
        "completeAssignment",
        "createApiKey",
        "createCallbackSecret",
        "createEventTicket",
        "createSchedule",
        "createTask",
        "createUser",
        "createWorkflow",
        "deleteAgent",
        "deleteApiKey",
        "deleteSchedule",
        "deleteUser",
        "deleteWorkflow",
        "dismissFinding",
        "executeWorkflow",
        "failAssignment",
        "getAgent",
        "getAgentConfigHistory",
        "getExecution",
        "getHealth",
        "getMe",
        "getMetrics",
        "getSchedule",
        "getScheduleHistory",
        "getTask",
        "getTaskResult",
        "getUser",
        "getWorkflow",
        "listAgents",
        "listApiKeys",
        "listCallbackDeliveries",
        "listEvents",
        "listExecutions",
        "listFindings",
        "listSchedules",
        "listTasks",
        "listUsers",
        "listWorkflows",
        "login",
        "logout",
        "pauseExecution",
        "planWorkflow",
        "postEvent",
        "refreshToken",
        "registerAgent",
        "releaseAssignment",
        "renewAgentKey",
        "replayCallbackDelivery",
        "reportProgress",
        "restoreFinding",
        "resumeExecution",
        "retryExecution",
        "rollBackAgentConfig",
        "streamEvents",
        "updateAgent",
        "updateAgentConfig",
        "updateSchedule",
        "updateUser",
        "updateWorkflow",
    }


async def test_the_document_is_served_where_the_specification_says(server: Server) -> None:
    answer = await server.anonymous.get("/openapi.json")
    assert answer.status_code == 200
    shown = answer.json()
    assert shown == document()
    assert shown["info"]["title"] == "SutazAI API"
    assert shown["openapi"].startswith("3.1")
    assert [one["url"] for one in shown["servers"]] == ["/api/v1"]
    assert all(path.startswith("/") and "/api" not in path for path in shown["paths"])


def test_the_document_is_valid_openapi() -> None:
    schemathesis.openapi.from_dict(document()).validate()


def test_a_task_request_has_the_specifications_bounds() -> None:
    request = document()["components"]["schemas"]["TaskRequest"]
    assert set(request["required"]) == {"type", "description"}
    priority = request["properties"]["priority"]
    assert (priority["type"], priority["minimum"], priority["maximum"]) == ("integer", 1, 10)
    assert request["additionalProperties"] is False
    created = operations()["createTask"]
    body = created["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/TaskRequest"}


def test_a_task_has_the_specifications_statuses() -> None:
    schemas = document()["components"]["schemas"]
    assert schemas["Task"]["properties"]["task_id"]["format"] == "uuid"
    assert schemas["TaskStatus"]["enum"] == [
        "pending",
        "queued",
        "processing",
        "completed",
        "failed",
        "cancelled",
    ]
    answer = operations()["createTask"]["responses"]["201"]["content"]["application/json"]
    assert answer["schema"] == {"$ref": "#/components/schemas/Task"}


def test_every_error_is_documented_in_the_envelope() -> None:
    for name, operation in operations().items():
        responses: JSON = operation["responses"]
        needed = {"500", "503"}
        if "requestBody" in operation:
            needed |= {"400", "413", "415", "422"}
        if "security" in operation:
            needed |= {"401"}
        assert needed <= set(responses), name
        for status, response in responses.items():
            if status >= "400" and (name, status) != ("getHealth", "503"):
                assert response == {"$ref": f"#/components/responses/Error{status}"}, name
            else:
                assert "X-Request-ID" in response["headers"]
    for response in document()["components"]["responses"].values():
        schema = response["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Error"}
        assert "X-Request-ID" in response["headers"]


def test_only_logging_in_and_health_are_open() -> None:
    opened = {name for name, one in operations().items() if "security" not in one}
    assert opened == {"login", "refreshToken", "getHealth"}


def test_every_creation_takes_an_idempotency_key_and_says_when_it_replays() -> None:
    taking = {
        name
        for name, one in operations().items()
        if any(each["name"] == "Idempotency-Key" for each in one.get("parameters", ()))
    }
    assert taking == {
        "approveStep",
        "createApiKey",
        "createCallbackSecret",
        "createSchedule",
        "createTask",
        "createUser",
        "createWorkflow",
        "dismissFinding",
        "executeWorkflow",
        "login",
        "pauseExecution",
        "postEvent",
        "refreshToken",
        "registerAgent",
        "renewAgentKey",
        "replayCallbackDelivery",
        "resumeExecution",
        "retryExecution",
        "rollBackAgentConfig",
    }
    for name in taking:
        responses = operations()[name]["responses"]
        good = next(responses[status] for status in responses if status < "300")
        assert "Idempotency-Replayed" in good["headers"]


if __name__ == "__main__":
    FROZEN.write_text(json.dumps(document(), indent=1) + "\n", "utf-8")
