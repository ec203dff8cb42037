"""The shapes of the answers to agents from outside, for the OpenAPI document."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from sutazai.agents.model import AgentStatus, Transport
from sutazai.tasks.model import TaskStatus


class OutsideAgent(BaseModel):
    """An agent from outside as it introduced itself."""

    agent_id: str
    name: str
    type: str
    capabilities: list[str]
    max_capacity: int
    transport: Transport


class RegisteredAgent(OutsideAgent):
    """An agent that has joined, with its own key, which is shown this once; null later."""

    api_key: str | None


class AgentConfigurationVersion(BaseModel):
    """A version of an agent's configuration; the newest is in force."""

    version: int
    configuration: dict[str, Any]
    updated_fields: list[str]
    rolled_back_to: int | None
    changed_by: str
    changed_at: datetime


class AgentConfigurationHistory(BaseModel):
    """Newest first; empty where nothing was ever changed."""

    agent_id: str
    versions: list[AgentConfigurationVersion]


class AgentKey(BaseModel):
    """An agent's new key, which is shown this once."""

    agent_id: str
    api_key: str


class Assignment(BaseModel):
    """One attempt at one task, given to one agent.

    `traceparent` (W3C Trace Context) is the attempt's place in the trace of who submitted the task.
    """

    assignment_id: str
    task_id: UUID
    type: str
    description: str
    metadata: dict[str, Any]
    attempt: int
    configuration: dict[str, Any]
    lease_expires_at: datetime
    traceparent: str | None = None


class AssignmentList(BaseModel):
    """What an agent has been given to do; empty when there was nothing in time."""

    assignments: list[Assignment]


class HeldAssignment(BaseModel):
    """An assignment that the agent holds."""

    assignment_id: str
    task_id: UUID
    lease_expires_at: datetime


class Heartbeat(BaseModel):
    """What the agent holds, and which of those it named it holds no longer: stop these.

    Whatever is not renewed for `lease_seconds` is given to others.
    """

    agent_id: str
    status: AgentStatus
    assignments: list[HeldAssignment]
    cancelled: list[str]
    lease_seconds: float


class Renewed(BaseModel):
    """An assignment whose lease was renewed."""

    assignment_id: str
    lease_expires_at: datetime


class Reported(BaseModel):
    """An assignment that is over, and what has become of its task."""

    assignment_id: str
    status: TaskStatus
