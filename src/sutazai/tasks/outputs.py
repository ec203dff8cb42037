"""What running attempts show of their work, a few times a second and bounded, as events."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import structlog

from sutazai import clock
from sutazai.agents.contract import Assignment
from sutazai.database import Connection, Database
from sutazai.errors import SutazaiError
from sutazai.events import log
from sutazai.events.model import Origin
from sutazai.tasks import store
from sutazai.tasks.model import TaskStatus
from sutazai.tasks.notices import notice

_logger = structlog.get_logger(__name__)

MOST_SHOWN = 64 * 1024
"""Characters that one attempt shows; the rest is only in its result."""

_PAUSE = 0.25
_MOST_A_TIME = 8 * 1024


class _Piece(NamedTuple):
    attempt: int
    agent_id: str
    call: int
    text: str
    offset: int
    is_truncated: bool


class Output:
    """What one attempt shows. `call` tells apart what belongs together: a model's calls, say."""

    def __init__(self, outputs: "Outputs", assignment: Assignment, agent_id: str) -> None:
        self._outputs = outputs
        self._assignment = assignment
        self._agent_id = agent_id
        self._shown = 0
        self._offset = 0
        self._call = 0

    def show(self, call: int, text: str) -> None:
        """Show a piece; on the event loop."""
        if self._shown > MOST_SHOWN or not text:
            return
        if call != self._call:
            self._call, self._offset = call, 0
        text = text[: MOST_SHOWN - self._shown + 1]
        truncated = self._shown + len(text) > MOST_SHOWN
        if truncated:
            text = text[:-1]
        self._shown += len(text) + truncated
        piece = _Piece(
            self._assignment.attempt, self._agent_id, call, text, self._offset, truncated
        )
        self._offset += len(text)
        self._outputs.add(self._assignment.task_id, piece)

    async def flush(self) -> None:
        """Write what has not been written, so that nothing comes after the task's end."""
        await self._outputs.flush(self._assignment.task_id)


class Outputs:
    """Writes what attempts show, for all together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, list[_Piece]] = {}
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None

    def of(self, assignment: Assignment, agent_id: str) -> Output:
        """For one attempt."""
        return Output(self, assignment, agent_id)

    def add(self, task_id: str, piece: _Piece) -> None:
        """Keep a piece for the next time that something is written."""
        pieces = self._waiting.setdefault(task_id, [])
        last = pieces[-1] if pieces else None
        if (
            last is not None
            and (last.attempt, last.call) == (piece.attempt, piece.call)
            and len(last.text) + len(piece.text) <= _MOST_A_TIME
        ):
            text = last.text + piece.text
            pieces[-1] = last._replace(text=text, is_truncated=piece.is_truncated)
        else:
            pieces.append(piece)
        if self._writer is None:
            self._writer = asyncio.create_task(self._keep_writing())

    async def flush(self, task_id: str) -> None:
        """Write a task's pieces now, and be done with those that are being written."""
        async with self._writing:
            if task_id in self._waiting:
                await self._write({task_id: self._waiting.pop(task_id)})

    async def _keep_writing(self) -> None:
        try:
            while self._waiting:
                async with self._writing:
                    waiting, self._waiting = self._waiting, {}
                    await self._write(waiting)
                await asyncio.sleep(_PAUSE)
        finally:
            self._writer = None

    async def _write(self, waiting: Mapping[str, list[_Piece]]) -> None:
        try:
            await self._database.run(partial(_write, waiting))
        except SutazaiError as error:
            _logger.warning("tasks.output_lost", reason=error.message)


def _write(waiting: Mapping[str, list[_Piece]], connection: Connection) -> None:
    tasks = store.lock(connection, sorted(waiting))
    events = []
    for task_id, pieces in sorted(waiting.items()):
        task = tasks.get(task_id)
        for piece in pieces:
            if task is None or task.status is not TaskStatus.PROCESSING:
                continue
            if task.attempt != piece.attempt:
                continue
            origin = Origin(f"agent:{piece.agent_id}", task.request_id)
            more: dict[str, Any] = {
                "text": piece.text,
                "call": piece.call,
                "offset": piece.offset,
            }
            if piece.is_truncated:
                more["truncated"] = True
            events.append(notice("task.output", task, origin, **more))
    if events:
        log.append(connection, events, now=clock.now())
