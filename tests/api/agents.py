"""Agents that behave badly on purpose, or only when told to."""

import asyncio
from typing import Any

from sutazai.agents.contract import AgentDescription, AgentError, Assignment, TaskContext


class Obedient:
    """Does what the metadata's `do` says; runs one task at a time so that order shows."""

    def __init__(self) -> None:
        self.description = AgentDescription(
            agent_id="obedient-01",
            name="Obedient",
            type="specialist",
            capabilities=("obey",),
            max_capacity=1,
        )
        self.order: list[str] = []
        self.running = asyncio.Event()
        self.gate = asyncio.Event()
        self.stopped: list[str] = []

    def forget(self) -> None:
        """Begin anew: for the next test."""
        self.order.clear()
        self.stopped.clear()
        self.running = asyncio.Event()
        self.gate = asyncio.Event()

    async def handle(self, assignment: Assignment, context: TaskContext) -> Any:
        """Obey."""
        wanted = assignment.metadata
        self.order.append(assignment.description)
        self.running.set()
        try:
            return await self._obey(wanted, assignment, context)
        except asyncio.CancelledError:
            self.stopped.append(assignment.task_id)
            raise

    async def _obey(
        self, wanted: dict[str, Any], assignment: Assignment, context: TaskContext
    ) -> Any:
        match wanted.get("do"):
            case "hang":
                await asyncio.Event().wait()
            case "wait":
                await self.gate.wait()
            case "report":
                await context.progress(65, lines_processed=450, issues_found=3)
                await self.gate.wait()
            case "fail":
                raise AgentError("It cannot be done.", retryable=bool(wanted.get("retryable")))
            case "crash":
                raise RuntimeError("a secret of the inside")
            case "crash once" if assignment.attempt == 1:
                raise RuntimeError("only the first time")
            case "answer much":
                return {"much": "x" * (33 * 1024 * 1024)}
            case "answer nonsense":
                return {"nonsense": object()}
            case "not stop":
                return await self._hold_on()
        return {"attempt": assignment.attempt, "configuration": assignment.configuration}

    async def _hold_on(self) -> dict[str, Any]:
        """Ignore cancellation until the gate opens, then answer as if nothing had been."""
        while not self.gate.is_set():
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                continue
        return {"late": True}


class Twin:
    """A second agent of the same capability, to pin tasks to one of the two."""

    description = AgentDescription(
        agent_id="twin-01",
        name="Twin",
        type="specialist",
        capabilities=("twin",),
        max_capacity=4,
    )

    async def handle(self, assignment: Assignment, context: TaskContext) -> Any:
        """Say who it was."""
        return {"by": "twin-01"}
