"""The coordinator: so far it answers `ping`, for health checks and benchmarks."""

from typing import Any

from sutazai.agents.contract import AgentDescription, Assignment, TaskContext


class MasterCoordinator:
    """Answers at once, so it takes many tasks at a time."""

    description = AgentDescription(
        agent_id="master-coordinator",
        name="Master Coordinator",
        type="orchestrator",
        capabilities=("ping",),
        max_capacity=100,
    )

    async def handle(self, assignment: Assignment, context: TaskContext) -> dict[str, Any]:
        """A `ping`'s metadata, unchanged."""
        return assignment.metadata
