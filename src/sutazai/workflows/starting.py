"""How a step begins: its condition, its items, its metadata, from expressions to task drafts."""

from functools import partial
from typing import Any, NamedTuple

import msgspec

from sutazai.database import Connection, aside
from sutazai.tasks.model import DEFAULT_ATTEMPTS, DEFAULT_TIMEOUT_SECONDS, TaskDraft
from sutazai.tasks.service import Tasks
from sutazai.workflows import outputs, store
from sutazai.workflows.expressions import Budget, ExpressionError, compiled, is_true
from sutazai.workflows.graph import STATUSES, Graph
from sutazai.workflows.model import (
    APPROVAL,
    MOST_ITEMS,
    SUB_WORKFLOW,
    Definition,
    EventKey,
    Execution,
    RunKey,
    Step,
    StepStatus,
)

MOST_OUTPUT = 4 * 1024 * 1024
"""Characters of results that the expressions of one step may read together."""
MOST_METADATA = 64 * 1024 * 1024
"""Characters of metadata that the items of one step may have together."""


MOST_CORRELATION_ID = 200
"""Characters of an event's correlation id."""


class Place(NamedTuple):
    """One item of a `for_each`."""

    number: int
    item: Any


class Scope:
    """What the expressions of one execution can read; lives as long as the transaction."""

    def __init__(
        self,
        connection: Connection,
        tasks: Tasks,
        graph: Graph,
        execution: Execution,
        budget: Budget,
    ) -> None:
        self._connection = connection
        self._tasks = tasks
        self._graph = graph
        self._execution = execution
        self._outputs: dict[str, Any] = {}
        self._budget = budget

    def value_of(
        self,
        text: str,
        field: str,
        state: str,
        place: Place | None = None,
        *,
        most_items: int | None = None,
    ) -> Any:
        """What an expression yields now; ExpressionError that names the field."""
        scope: dict[str, Any] = {"input": self._execution.input}
        if place is not None:
            scope |= {"item": place.item, "index": place.number}
        try:
            expression = compiled(text)
            if expression.steps:
                scope["steps"] = {name: self._step(name, state) for name in expression.steps}
            work = partial(expression.evaluate, scope, most_items=most_items, budget=self._budget)
            return aside(self._connection, work)
        except ExpressionError as error:
            raise ExpressionError(f"{field}: {error}") from None

    def check_input(self, step: Step, metadata: dict[str, Any]) -> None:
        """ExpressionError where whoever may do the step's task would refuse its metadata."""
        find = partial(
            self._tasks.input_problem,
            step.type,
            step.agent,
            description_of(step, self._graph.definition),
            metadata,
        )
        if (wrong := aside(self._connection, find)) is not None:
            raise ExpressionError(f"{wrong.field}: {wrong.message}")

    def _step(self, name: str, state: str) -> dict[str, Any]:
        position = self._graph.positions[name]
        status = STATUSES[state[position]]
        shown: dict[str, Any] = {"status": status.value}
        if status is StepStatus.COMPLETED:
            if name not in self._outputs:
                self._outputs[name] = self._output(position)
            shown["output"] = self._outputs[name]
        elif status is StepStatus.FAILED:
            execution_id = self._execution.execution_id
            [run] = store.runs(self._connection, execution_id, positions=[position], item=-1)
            shown["error"] = None if run.error is None else msgspec.structs.asdict(run.error)
            # Who refused an approval has said something, too.
            if run.value is not None and self._graph.steps[position].type == APPROVAL:
                shown["output"] = msgspec.json.decode(run.value)
        return shown

    def _output(self, position: int) -> Any:
        texts = outputs.read(
            self._connection, self._tasks, self._execution, [position], most=MOST_OUTPUT
        )
        if texts is None:
            most = MOST_OUTPUT // (1024 * 1024)
            raise ExpressionError(f"The output it reads is over {most} MiB.")
        return aside(self._connection, partial(msgspec.json.decode, texts[RunKey(position)]))


def is_wanted(step: Step, scope: Scope, state: str) -> bool:
    """Whether the step's condition holds."""
    return step.when is None or is_true(scope.value_of(step.when, "when", state))


def items_of(step: Step, execution: Execution, scope: Scope, state: str) -> list[Any]:
    """The list that the step is done once for each of."""
    assert step.for_each is not None
    items = scope.value_of(step.for_each.items, "for_each.items", state, most_items=MOST_ITEMS)
    if not isinstance(items, list):
        kind = "null" if items is None else type(items).__name__
        raise ExpressionError(f"for_each.items: It yields a {kind}, not a list.")
    each = len(msgspec.json.encode(_base(step, execution)))
    if each * len(items) > MOST_METADATA:
        most = MOST_METADATA // (1024 * 1024)
        message = (
            f"{len(items)} items with {each} bytes of metadata each are over {most} MiB. Give the "
            "step `metadata` of its own, so that it does not take the whole input for each."
        )
        raise ExpressionError(f"for_each.items: {message}")
    return items


def event_of(step: Step, scope: Scope, state: str) -> EventKey | None:
    """The event that answers an approval step."""
    if step.event is None:
        return None
    field = "event.correlation_id"
    text = step.event.correlation_id
    if text is None:
        return EventKey(step.event.event_type, None)
    value = scope.value_of(text, field, state)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise ExpressionError(f"{field}: It yields a {kind}, not a text or a whole number.")
    if not 0 < len(value) <= MOST_CORRELATION_ID or "\0" in value:
        most = MOST_CORRELATION_ID
        raise ExpressionError(f"{field}: It must yield 1 to {most} characters, none of them NUL.")
    return EventKey(step.event.event_type, value)


def _base(step: Step, execution: Execution) -> dict[str, Any]:
    own = execution.input if step.metadata is None else step.metadata
    return {**own, **step.config}


def metadata_of(
    step: Step, execution: Execution, scope: Scope, state: str, place: Place | None = None
) -> dict[str, Any]:
    """The step's own metadata or else the execution's input, then `config`, then `input`."""
    values = {
        name: scope.value_of(text, f"input.{name}", state, place)
        for name, text in step.input.items()
    }
    metadata = {**_base(step, execution), **values}
    if step.type != SUB_WORKFLOW:
        scope.check_input(step, metadata)
    return metadata


def description_of(step: Step, definition: Definition) -> str:
    """What the step's task is called."""
    return step.description or f"{definition.name}: step {step.step_id}"


def draft_of(graph: Graph, step: Step, execution: Execution, metadata: dict[str, Any]) -> TaskDraft:
    """The step's task."""
    return TaskDraft(
        type=step.type,
        description=description_of(step, graph.definition),
        metadata=metadata,
        agent=step.agent,
        timeout_seconds=step.timeout_seconds or DEFAULT_TIMEOUT_SECONDS,
        max_attempts=DEFAULT_ATTEMPTS if step.retry is None else step.retry.max_attempts,
        tags=(execution.execution_id,),
        parent_id=execution.task_id,
    )
