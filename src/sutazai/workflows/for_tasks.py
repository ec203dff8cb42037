"""What workflows do for tasks whose agents have one executed; see `sutazai.tasks.children`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sutazai.agents.contract import StepOutcome, WorkflowOutcome
from sutazai.database import Connection
from sutazai.errors import Detail, ErrorCode, SutazaiError, invalid
from sutazai.events.model import Origin
from sutazai.tasks.children import NewExecution, Owner
from sutazai.workflows import definitions, store
from sutazai.workflows.advancing import Advancer
from sutazai.workflows.changes import new_execution
from sutazai.workflows.definitions import Definitions
from sutazai.workflows.executions import MOST_INPUT, Executions
from sutazai.workflows.graph import STATUSES
from sutazai.workflows.model import (
    APPROVAL,
    MOST_STEPS,
    SUB_WORKFLOW,
    Definition,
    ExecutionDetails,
    RunKey,
)

_STEP_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LONGEST_NAME = 200


class ForTasks:
    """Executes workflows that agents make up."""

    def __init__(
        self, *, definitions: Definitions, executions: Executions, advancer: Advancer
    ) -> None:
        self._definitions = definitions
        self._executions = executions
        self._advancer = advancer

    async def checked(self, workflow: Mapping[str, Any]) -> Definition:
        """See `tasks.children.Executing`, as the rest."""
        try:
            definition = msgspec.convert(dict(workflow), Definition)
        except msgspec.ValidationError as error:
            raise invalid("workflow", str(error)) from error
        wrong = _misshapen(definition)
        if wrong:
            raise SutazaiError(ErrorCode.VALIDATION_ERROR, "Invalid input data", details=wrong)
        await self._definitions.check(definition)
        return definition

    def steps_of(self, definition: Definition) -> Sequence[tuple[str, str | None]]:
        """The type and agent of every step that is a task."""
        return [
            (step.type, step.agent)
            for step in definition.steps
            if step.type not in (APPROVAL, SUB_WORKFLOW)
        ]

    def begin(
        self, connection: Connection, definition: Definition, given: dict[str, Any], owner: Owner
    ) -> NewExecution:
        """Execute a checked definition for a task."""
        if len(msgspec.json.encode(given)) > MOST_INPUT:
            raise invalid("input", f"Must be at most {MOST_INPUT} bytes of JSON.")
        workflow = definitions.add_unlisted(connection, definition, owner.submitted_by)
        execution = new_execution(
            workflow.workflow_id,
            workflow.version,
            given,
            submitted_by=owner.submitted_by,
            request_id=owner.request_id,
            task_id=owner.task_id,
        )
        origin = Origin(f"agent:{owner.agent_id}", owner.request_id)
        after = self._advancer.begin(connection, execution, origin)
        return NewExecution(after.execution_id, after.status.is_final)

    def outcome(self, connection: Connection, execution_id: str) -> WorkflowOutcome:
        """How it ended, step by step."""
        return _outcome(self._executions.read_details(execution_id, connection))

    def lock(self, connection: Connection, execution_ids: Sequence[str]) -> None:
        """Lock them, by the outermost ones above them."""
        if execution_ids:
            self._advancer.lock_first(connection, execution_ids)

    def cancel(self, connection: Connection, execution_id: str, origin: Origin) -> None:
        """End it, if it goes on."""
        execution = store.get_execution(connection, execution_id, lock=True)
        if execution is not None and not execution.status.is_final:
            self._advancer.cancel(connection, execution, origin)


def _misshapen(definition: Definition) -> list[Detail]:
    """What the API's schema would refuse."""
    found = []
    if not 0 < len(definition.name) <= _LONGEST_NAME:
        found.append(Detail("name", f"Must have 1 to {_LONGEST_NAME} characters"))
    if not 0 < len(definition.steps) <= MOST_STEPS:
        found.append(Detail("steps", f"Must be 1 to {MOST_STEPS}"))
    for number, step in enumerate(definition.steps):
        if not _STEP_ID.fullmatch(step.step_id):
            message = "Must be 1 to 64 letters, digits, dots, hyphens and underscores"
            found.append(Detail(f"steps.{number}.step_id", message))
    return found


def _outcome(details: ExecutionDetails) -> WorkflowOutcome:
    execution, definition, runs, outputs, made = details
    by_position = {run.position: run for run in runs if run.item < 0}
    steps = []
    for position, step in enumerate(definition.steps):
        run = by_position.get(position)
        text = None
        if run is not None:
            text = run.value or (outputs or {}).get(run.task_id or "")
            text = text or (made or {}).get(RunKey(position))
        steps.append(
            StepOutcome(
                step_id=step.step_id,
                type=step.type,
                status=STATUSES[execution.state[position]].value,
                task_id=None if run is None else run.task_id,
                error=None if run is None or run.error is None else run.error.message,
                output=None if text is None else msgspec.json.decode(text),
            )
        )
    return WorkflowOutcome(
        execution_id=execution.execution_id,
        status=execution.status.value,
        workflow=msgspec.to_builtins(definition),
        steps=tuple(steps),
        error=None if execution.error is None else execution.error.message,
        error_code=None if execution.error is None else execution.error.code,
    )
