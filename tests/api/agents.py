"""Agents that behave badly on purpose, or only when told to."""

import asyncio
from collections import Counter
from typing import Any

import msgspec

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


class Chief:
    """Has done what the metadata's `calls` name, one after the other or (`at_once`) together.

    There is room for one task at a time, and there are capabilities enough to go deep.
    """

    description = AgentDescription(
        agent_id="chief-01",
        name="Chief",
        type="specialist",
        capabilities=("chief", *(f"chief-{depth}" for depth in range(1, 8))),
        max_capacity=1,
    )

    def __init__(self) -> None:
        self.handled: Counter[str] = Counter()

    async def handle(self, assignment: Assignment, context: TaskContext) -> Any:
        """Delegate, and say what came of it."""
        self.handled[assignment.task_id] += 1
        wanted = assignment.metadata
        calls = wanted.get("calls", ())
        if wanted.get("at_once"):
            answers = await asyncio.gather(*(self._call(call, context) for call in calls))
        else:
            answers = [await self._call(call, context) for call in calls]
        if wanted.get("crash") and assignment.attempt == 1:
            raise RuntimeError("after all that")
        return {"answers": answers, "attempt": assignment.attempt}

    async def _call(self, call: dict[str, Any], context: TaskContext) -> Any:
        if "fail" in call:
            raise AgentError(call["fail"])
        try:
            if "workflow" in call:
                outcome = await context.execute(call["workflow"], call.get("given", {}))
                return msgspec.to_builtins(outcome)
            return await context.delegate(
                call["type"],
                "delegated",
                call.get("metadata", {}),
                agent=call.get("agent"),
                key=call.get("key"),
                max_attempts=call.get("max_attempts"),
            )
        except AgentError as error:
            if not call.get("caught"):
                raise
            return {"caught": error.message, "code": error.code}
