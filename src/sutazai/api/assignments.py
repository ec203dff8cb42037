"""What agents from outside do over HTTP: heartbeat, claim, and report on their assignments."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from starlette.responses import Response

from sutazai import clock
from sutazai.agents.contract import FAILURE_CODE
from sutazai.agents.model import Resources
from sutazai.api.agent_schemas import AssignmentList, Heartbeat, Renewed, Reported
from sutazai.api.requests import (
    Clean,
    CurrentServices,
    Input,
    StrictRoute,
    Whole,
    answer,
    caller_of,
    credential_of,
)
from sutazai.api.schemas import errors
from sutazai.errors import Detail, ErrorCode, SutazaiError
from sutazai.identity.model import Principal, require
from sutazai.tasks.claims import Given

router = APIRouter(tags=["agents"], route_class=StrictRoute)

T = TypeVar("T")

AgentId = Annotated[str, Path(max_length=64), Clean]
AssignmentId = Annotated[
    str, Path(max_length=128, description="as `claimAssignments` answered it"), Clean
]
Caller = Annotated[Principal, Depends(caller_of)]
_Share = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
_MOST_COUNTERS = 20
_COUNTER = re.compile(r"[a-z][a-z0-9_]{0,63}")
# What the events of a task say themselves.
_TAKEN = frozenset({"task_id", "type", "status", "attempt", "assigned_agent"})
_counter_value: TypeAdapter[int] = TypeAdapter(
    Annotated[int, Field(ge=0, le=2**53, strict=True), Whole]
)


def _must_be(principal: Principal, agent_id: str) -> None:
    """Only the agent itself, or who may change agents anyway; FORBIDDEN for everybody else."""
    if principal.agent_id is None:
        require(principal, "write", "agents")
    elif principal.agent_id != agent_id:
        raise SutazaiError(
            ErrorCode.FORBIDDEN,
            f"This is the key of the agent {principal.agent_id!r}, not of {agent_id!r}. An agent "
            "does its own work only.",
        )


async def _acting(agent_id: AgentId, principal: Caller) -> str:
    _must_be(principal, agent_id)
    return agent_id


async def _reporting(principal: Caller) -> str | None:
    if principal.agent_id is None:
        require(principal, "write", "agents")
    return principal.agent_id


Acting = Annotated[str, Depends(_acting)]
"""The agent that the path names, for which the caller may act."""
Reporting = Annotated[str | None, Depends(_reporting)]
"""Whose assignments the caller may report on; None for everybody's."""


class ResourcesInput(Input):
    """What the agent uses: percent of a core, and MiB."""

    cpu_usage: _Share = 0
    memory_usage: _Share = 0
    memory_limit: _Share = 0


class HeartbeatRequest(Input):
    """What an agent may say with a heartbeat."""

    assignments: Annotated[
        list[Annotated[str, Field(max_length=128), Clean]] | None,
        Field(max_length=1000, description="what it is doing; without, all that it holds"),
    ] = None
    resources: ResourcesInput | None = None


@router.post(
    "/agents/{agent_id}/heartbeat",
    operation_id="beatAgent",
    summary="Say that an agent is there",
    response_model=Heartbeat,
    responses=errors(403, 404),
)
async def beat_agent(
    agent_id: Acting,
    services: CurrentServices,
    body: HeartbeatRequest | None = None,
) -> Response:
    """Stay online for 15 s more, and renew the leases of the assignments named (or of all)."""
    said = HeartbeatRequest() if body is None else body
    used = None if said.resources is None else Resources(**said.resources.model_dump())
    pulse = await services.assignments.heartbeat(agent_id, holding=said.assignments, resources=used)
    return answer(
        {
            "agent_id": pulse.agent_id,
            "status": pulse.status,
            "assignments": [
                {
                    "assignment_id": one.assignment_id,
                    "task_id": one.task_id,
                    "lease_expires_at": clock.to_iso(one.lease_expires_at),
                }
                for one in pulse.assignments
            ],
            "cancelled": pulse.cancelled,
            "lease_seconds": pulse.lease_seconds,
        }
    )


@router.post(
    "/agents/{agent_id}/claim",
    operation_id="claimAssignments",
    summary="Take work for an agent",
    response_model=AssignmentList,
    responses=errors(403, 404),
)
async def claim_assignments(
    request: Request,
    agent_id: Acting,
    services: CurrentServices,
    wait: Annotated[
        float, Query(ge=0, le=25, description="seconds to wait at most for something to do")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=100, description="how many to take at most")] = 1,
) -> Response:
    """Up to `limit` assignments, never beyond the agent's capacity. Counts as a heartbeat."""

    async def still_allowed() -> None:
        identity = services.identity
        _must_be(await identity.authenticate_any(credential_of(request)), agent_id)

    given = await _unless_hung_up(
        request,
        services.assignments.claim(agent_id, wait=wait, limit=limit, still_allowed=still_allowed),
    )
    return answer({"assignments": [_given_view(one) for one in given or ()]})


async def _unless_hung_up(request: Request, work: Awaitable[T]) -> T | None:
    """What the work brings; None, with the work cancelled, once nobody listens any more."""
    working = asyncio.ensure_future(work)
    listening = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait([working, listening], return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, listening):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(listening, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _given_view(given: Given) -> dict[str, Any]:
    assignment = given.assignment
    return {
        "assignment_id": assignment.assignment_id,
        "task_id": assignment.task_id,
        "type": assignment.type,
        "description": assignment.description,
        "metadata": assignment.metadata,
        "attempt": assignment.attempt,
        "configuration": assignment.configuration,
        "lease_expires_at": clock.to_iso(given.lease_expires_at),
        "traceparent": assignment.traceparent,
    }


# --- reports


class ProgressRequest(Input):
    """How far it is, with whatever the agent counts: whole numbers under names of its own."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 2**53},
            "propertyNames": {
                "pattern": f"^{_COUNTER.pattern}$",
                "not": {"enum": [*sorted(_TAKEN)]},
            },
            "maxProperties": _MOST_COUNTERS + 1,
        },
    )

    progress: Annotated[int, Field(ge=0, le=100, strict=True), Whole]

    def counters(self) -> dict[str, int]:
        """What it counts; VALIDATION_ERROR by name."""
        extra = self.model_extra or {}
        wrong = []
        counted = {}
        for name, value in list(extra.items())[: _MOST_COUNTERS + 1]:
            if not _COUNTER.fullmatch(name) or name in _TAKEN:
                problem = "is no name for a counter: small letters, digits and '_', and not taken"
                wrong.append(Detail(name[:64].replace("\0", ""), problem))
                continue
            try:
                counted[name] = _counter_value.validate_python(value)
            except ValidationError:
                wrong.append(Detail(name, "must be a whole number from 0 to 2^53"))
        if len(extra) > _MOST_COUNTERS:
            wrong.append(Detail("body", f"has more than {_MOST_COUNTERS} counters"))
        if wrong:
            raise SutazaiError(ErrorCode.VALIDATION_ERROR, "Invalid input data", details=wrong)
        return counted


class CompleteRequest(Input):
    """What came of it."""

    result: dict[str, Any]


class AgentFailure(Input):
    """Why it cannot be done; only a `retryable` failure uses up further attempts.

    `code` is one of the server's codes, or one of the agent's own.
    """

    code: Annotated[
        str, Field(pattern=f"^{FAILURE_CODE}$", examples=["VALIDATION_ERROR", "OUT_OF_DISK"])
    ] = ErrorCode.INTERNAL_ERROR.value
    message: Annotated[str, Field(min_length=1, max_length=20_000), Clean]
    retryable: Annotated[bool, Field(strict=True)] = False


class FailRequest(Input):
    """Why it cannot be done: in words, or with a code."""

    error: AgentFailure | Annotated[str, Field(min_length=1, max_length=20_000), Clean]


class ReleaseRequest(Input):
    """Why it is given back, and how long nobody is to take it."""

    reason: Annotated[str, Field(max_length=1000), Clean] = ""
    delay_seconds: Annotated[float, Field(ge=0, le=86_400, strict=True)] = 0


@router.post(
    "/assignments/{assignment_id}/progress",
    operation_id="reportProgress",
    summary="Say how far an assignment is",
    response_model=Renewed,
    responses=errors(403, 404, 409),
)
async def report_progress(
    assignment_id: AssignmentId,
    body: ProgressRequest,
    services: CurrentServices,
    reporting: Reporting,
) -> Response:
    """Shown at the task and told as `task.progress`; renews the lease."""
    until = await services.assignments.progress(
        reporting, assignment_id, body.progress, body.counters()
    )
    return answer({"assignment_id": assignment_id, "lease_expires_at": clock.to_iso(until)})


@router.post(
    "/assignments/{assignment_id}/complete",
    operation_id="completeAssignment",
    summary="Hand in the result of an assignment",
    response_model=Reported,
    responses=errors(403, 404, 409),
)
async def complete_assignment(
    assignment_id: AssignmentId,
    body: CompleteRequest,
    services: CurrentServices,
    reporting: Reporting,
) -> Response:
    """Recorded exactly once: the same result again is answered the same way, another with 409."""
    status = await services.assignments.complete(reporting, assignment_id, body.result)
    return answer({"assignment_id": assignment_id, "status": status})


@router.post(
    "/assignments/{assignment_id}/fail",
    operation_id="failAssignment",
    summary="Say that an assignment cannot be done",
    response_model=Reported,
    responses=errors(403, 404, 409),
)
async def fail_assignment(
    assignment_id: AssignmentId,
    body: FailRequest,
    services: CurrentServices,
    reporting: Reporting,
) -> Response:
    """The task fails with this error, or is tried again where that was called retryable."""
    error = body.error if isinstance(body.error, AgentFailure) else AgentFailure(message=body.error)
    status = await services.assignments.fail(
        reporting,
        assignment_id,
        code=error.code,
        message=error.message,
        retryable=error.retryable,
    )
    return answer({"assignment_id": assignment_id, "status": status})


@router.post(
    "/assignments/{assignment_id}/release",
    operation_id="releaseAssignment",
    summary="Give an assignment back",
    response_model=Reported,
    responses=errors(403, 404, 409),
)
async def release_assignment(
    assignment_id: AssignmentId,
    services: CurrentServices,
    reporting: Reporting,
    body: ReleaseRequest | None = None,
) -> Response:
    """Somebody else, or the same agent later, does it; no attempt is used up."""
    said = ReleaseRequest() if body is None else body
    status = await services.assignments.release(
        reporting,
        assignment_id,
        reason=said.reason,
        delay_seconds=said.delay_seconds,
    )
    return answer({"assignment_id": assignment_id, "status": status})
