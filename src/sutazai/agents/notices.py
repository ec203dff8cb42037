"""The events that tell of an agent's coming, going and load."""

from sutazai.agents.model import AgentStatus
from sutazai.events.model import SYSTEM, NewEvent

CHANGED = "agents.changed"
"""Signal: who is online, or how an agent is configured, is no longer what it was."""


def status_notice(agent_id: str, status: AgentStatus, *before: str) -> list[NewEvent]:
    """Events that an agent has a status now: those named, then `agent.status`."""
    data = {"agent_id": agent_id, "status": status}
    return [NewEvent(one, data, SYSTEM, "agents") for one in (*before, "agent.status")]
