"""The graph of a workflow's steps, and what an outcome makes of the rest. Pure.

Where an execution stands is a text with a letter for each step, in the order of the definition:
small enough to be rewritten whenever a step ends, and enough to know all that may come next.
"""

import re
from collections.abc import Iterable, Mapping

from sutazai.errors import Detail
from sutazai.events.catalogue import EVENT_TYPES
from sutazai.workflows.expressions import Expression, ExpressionError, compiled
from sutazai.workflows.model import (
    APPROVAL,
    MOST_EXECUTIONS_AT_ONCE,
    SUB_WORKFLOW,
    Compensate,
    Definition,
    ExecutionStatus,
    Step,
    StepStatus,
)

LETTERS: dict[StepStatus, str] = {
    StepStatus.PENDING: "p",
    StepStatus.RUNNING: "r",
    StepStatus.WAITING: "w",
    StepStatus.COMPLETED: "c",
    StepStatus.FAILED: "f",
    StepStatus.SKIPPED: "s",
    StepStatus.CANCELLED: "x",
}
STATUSES = {letter: status for status, letter in LETTERS.items()}


def with_statuses(state: str, changes: Mapping[int, StepStatus]) -> str:
    """The state after steps have changed."""
    letters = list(state)
    for position, status in changes.items():
        letters[position] = LETTERS[status]
    return "".join(letters)


class Graph:
    """A valid definition's steps with their neighbours; positions count from 0."""

    def __init__(self, definition: Definition) -> None:
        """`problems(definition)` must be empty."""
        self.definition = definition
        self.steps = definition.steps
        self.positions = {step.step_id: number for number, step in enumerate(self.steps)}
        self.needs = [[self.positions[one] for one in step.depends_on] for step in self.steps]
        self.dependents: list[list[int]] = [[] for _ in self.steps]
        for position, needed in enumerate(self.needs):
            for one in needed:
                self.dependents[one].append(position)
        self._compensation: dict[int, int] = {}
        for position, step in enumerate(self.steps):
            if isinstance(step.on_failure, Compensate):
                self._compensation[position] = self.positions[step.on_failure.compensate]
        self.compensations = frozenset(self._compensation.values())
        self.initial_state = LETTERS[StepStatus.PENDING] * len(self.steps)

    def _passed(self, state: str, position: int) -> bool:
        """Whether dependents of the step may run."""
        letter = state[position]
        return letter in "cs" or (letter == "f" and self.steps[position].on_failure == "continue")

    def is_failing(self, state: str) -> bool:
        """Whether a step has failed that the execution cannot do without."""
        return "f" in state and any(
            letter == "f" and self.steps[position].on_failure != "continue"
            for position, letter in enumerate(state)
        )

    def ready(
        self, state: str, changed: Iterable[int] | None = None, *, stops: bool = False
    ) -> list[int]:
        """The pending steps that may begin now, in order; when it stops only compensations.

        With `changed` only those that its steps' ends let go; without, all of them.
        """
        candidates: Iterable[int]
        if changed is None:
            candidates = range(len(self.steps))
        else:
            near = set()
            for position in changed:
                near.update(self.dependents[position])
                if position in self._compensation:
                    near.add(self._compensation[position])
            candidates = sorted(near)
        stops = stops or self.is_failing(state)
        called = {after for one, after in self._compensation.items() if state[one] == "f"}
        return [
            position
            for position in candidates
            if state[position] == "p"
            and (
                position in called
                if position in self.compensations
                else not stops and all(self._passed(state, one) for one in self.needs[position])
            )
        ]

    def to_stop(self, state: str) -> list[int]:
        """The steps under way that end without having begun, or as soon as may be, when it stops.

        Whatever compensates for a failure is done all the same.
        """
        return [
            position
            for position, letter in enumerate(state)
            if letter in "rw" and position not in self.compensations
        ]

    def closed(self, state: str, *, stops: bool = False) -> tuple[str, ExecutionStatus | None]:
        """The state with what will never run marked, and how the execution has ended.

        None, and the state as it was, while something is running, waiting or ready. `stops`: what
        this execution is a step of has failed, so that it begins nothing more.
        """
        if "r" in state or "w" in state or ("p" in state and self.ready(state, stops=stops)):
            return state, None
        failing = self.is_failing(state)
        changes = {
            position: StepStatus.SKIPPED
            if position in self.compensations or not (failing or stops)
            else StepStatus.CANCELLED
            for position, letter in enumerate(state)
            if letter == "p"
        }
        state = with_statuses(state, changes)
        if failing:
            return state, ExecutionStatus.FAILED
        return state, ExecutionStatus.CANCELLED if "x" in state else ExecutionStatus.COMPLETED

    def to_retry(self, state: str) -> list[int]:
        """The steps to do again so that a failed or cancelled execution can complete."""
        return [
            position
            for position, letter in enumerate(state)
            if letter == "x"
            or (letter == "f" and self.steps[position].on_failure != "continue")
            or position in self.compensations
        ]

    def stages(self) -> list[list[int]]:
        """The ordinary steps by when each can run at the earliest; those of a stage at once."""
        level: dict[int, int] = {}
        for position in order_of(self.needs):
            level[position] = 1 + max((level[one] for one in self.needs[position]), default=-1)
        stages: list[list[int]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
        for position in sorted(level):
            if position not in self.compensations:
                stages[level[position]].append(position)
        return stages


def order_of(needs: list[list[int]]) -> list[int]:
    """Positions with everything after what it needs; those in or behind a cycle are left out."""
    missing = [len(set(needed)) for needed in needs]
    dependents: list[list[int]] = [[] for _ in needs]
    for position, needed in enumerate(needs):
        for one in set(needed):
            dependents[one].append(position)
    order = [position for position, count in enumerate(missing) if count == 0]
    for position in order:  # grows while it is read
        for one in dependents[position]:
            missing[one] -= 1
            if missing[one] == 0:
                order.append(one)
    return order


# --- validation


def problems(definition: Definition) -> list[Detail]:
    """What is wrong with the definition by itself, each by its place: `steps.2.depends_on`."""
    found = _duplicates(definition)
    if found:
        return found
    positions = {step.step_id: number for number, step in enumerate(definition.steps)}
    for number, step in enumerate(definition.steps):
        found += _neighbours(number, step, positions)
        found += _kind(number, step)
    if found:
        return found
    found = _compensations(definition, positions)
    needs = [[positions[one] for one in step.depends_on] for step in definition.steps]
    order = order_of(needs)
    if len(order) < len(needs):
        return found + _cycles(definition, needs, order)
    before = [0] * len(needs)
    for position in order:
        for one in needs[position]:
            before[position] |= before[one] | (1 << one)
    behind = {
        step.on_failure.compensate: number
        for number, step in enumerate(definition.steps)
        if isinstance(step.on_failure, Compensate)
    }
    for number, step in enumerate(definition.steps):
        known = before[number]
        if step.step_id in behind:
            failed = behind[step.step_id]
            known |= before[failed] | (1 << failed)
        earlier = {name for name, position in positions.items() if known >> position & 1}
        found += _expressions(number, step, earlier, positions)
    return found


def _detail(number: int, field: str, message: str) -> Detail:
    return Detail(f"steps.{number}.{field}", message)


def _duplicates(definition: Definition) -> list[Detail]:
    seen: dict[str, int] = {}
    found = []
    for number, step in enumerate(definition.steps):
        first = seen.setdefault(step.step_id, number)
        if first != number:
            message = f"The step {step.step_id!r} is there already, as steps.{first}"
            found.append(_detail(number, "step_id", message))
    return found


def _neighbours(number: int, step: Step, positions: Mapping[str, int]) -> list[Detail]:
    found = []
    for one in step.depends_on:
        if one == step.step_id:
            found.append(_detail(number, "depends_on", f"The step {one!r} depends on itself"))
        elif one not in positions:
            found.append(_detail(number, "depends_on", f"There is no step {one!r}"))
    if len(set(step.depends_on)) < len(step.depends_on):
        found.append(_detail(number, "depends_on", "Name each step once"))
    if isinstance(step.on_failure, Compensate) and step.on_failure.compensate not in positions:
        message = f"There is no step {step.on_failure.compensate!r}"
        found.append(_detail(number, "on_failure.compensate", message))
    return found


EVENT_TYPE = r"^[a-z0-9_]+(\.[a-z0-9_]+)*$"
"""The form of an event type that can be posted."""

MOST_EVENT_TYPE = 64

_OWN_EVENTS = frozenset(event.name for event in EVENT_TYPES)


def event_type_problem(name: str) -> str | None:
    """Why no event of this type can be posted."""
    if len(name) > MOST_EVENT_TYPE or not re.fullmatch(EVENT_TYPE, name):
        return (
            f"Must be at most {MOST_EVENT_TYPE} lower-case letters, digits and underscores, in "
            "words with dots between them, as `change.decided`"
        )
    if name in _OWN_EVENTS:
        return f"{name!r} is an event of the server's own; choose another type"
    return None


_UNUSED = {
    APPROVAL: ("agent", "config", "metadata", "for_each", "retry", "input"),
    SUB_WORKFLOW: ("agent", "retry", "timeout_seconds"),
}


def _kind(number: int, step: Step) -> list[Detail]:
    """Fields that the step's type has no use for, and those that it lacks."""
    found = []
    if (step.workflow_id is not None) != (step.type == SUB_WORKFLOW):
        message = f"Goes with the type {SUB_WORKFLOW!r}, and only with it"
        found.append(_detail(number, "workflow_id", message))
    if step.event is not None:
        if step.type != APPROVAL:
            message = f"Goes with the type {APPROVAL!r}, and only with it"
            found.append(_detail(number, "event", message))
        problem = event_type_problem(step.event.event_type)
        if problem is not None:
            found.append(_detail(number, "event.event_type", problem))
    each = step.for_each
    is_workflow = step.type == SUB_WORKFLOW
    if is_workflow and each is not None and each.concurrency > MOST_EXECUTIONS_AT_ONCE:
        message = f"Workflows are executed for at most {MOST_EXECUTIONS_AT_ONCE} items at once"
        found.append(_detail(number, "for_each.concurrency", message))
    found += [
        _detail(number, name, f"A step of the type {step.type!r} has none")
        for name in _UNUSED.get(step.type, ())
        if getattr(step, name)
    ]
    return found


def _compensations(definition: Definition, positions: Mapping[str, int]) -> list[Detail]:
    found = []
    named: dict[str, int] = {}
    needed = {one for step in definition.steps for one in step.depends_on}
    for number, step in enumerate(definition.steps):
        if not isinstance(step.on_failure, Compensate):
            continue
        name = step.on_failure.compensate
        other = definition.steps[positions[name]]
        message = None
        if name in named:
            message = f"The step {name!r} compensates for steps.{named[name]} already"
        elif name == step.step_id:
            message = "A step cannot compensate for itself"
        elif other.depends_on or name in needed:
            message = f"The step {name!r} stands apart: it depends on none, and none depends on it"
        elif isinstance(other.on_failure, Compensate):
            message = f"The step {name!r} has no compensation of its own"
        if message is not None:
            found.append(_detail(number, "on_failure.compensate", message))
        named.setdefault(name, number)
    return found


def _cycles(definition: Definition, needs: list[list[int]], order: list[int]) -> list[Detail]:
    """A detail for every step of every cycle met; there is at least one."""
    left = set(range(len(needs))) - set(order)
    found = []
    while left:
        path: list[int] = []
        position = min(left)
        while position not in path:
            path.append(position)
            position = next((one for one in needs[position] if one in left), -1)
            if position < 0:
                break
        left -= set(path)
        if position < 0:  # leads only to a cycle that was told of
            continue
        cycle = path[path.index(position) :]
        names = " → ".join(definition.steps[one].step_id for one in [*cycle, cycle[0]])
        found += [
            _detail(one, "depends_on", f"These steps wait for each other: {names}")
            for one in sorted(cycle)
        ]
    return found


def _expressions(
    number: int, step: Step, earlier: set[str], positions: Mapping[str, int]
) -> list[Detail]:
    found = []
    inner = {"input", "steps"}
    if step.for_each is not None:
        inner |= {"item", "index"}
    texts = [(f"input.{name}", text, inner) for name, text in step.input.items()]
    if step.when is not None:
        texts.append(("when", step.when, {"input", "steps"}))
    if step.for_each is not None:
        texts.append(("for_each.items", step.for_each.items, {"input", "steps"}))
    if step.event is not None and step.event.correlation_id is not None:
        text = step.event.correlation_id
        texts.append(("event.correlation_id", text, {"input", "steps"}))
    for field, text, names in texts:
        try:
            expression = compiled(text)
        except ExpressionError as error:
            found.append(_detail(number, field, str(error)))
            continue
        found += [
            _detail(number, field, message)
            for message in _references(expression, names, earlier, positions)
        ]
    return found


def _references(
    expression: Expression, names: set[str], earlier: set[str], positions: Mapping[str, int]
) -> list[str]:
    there = ", ".join(sorted(names))
    found = [f"There is no {name!r}, only {there}" for name in sorted(expression.names - names)]
    for name in sorted(expression.steps - earlier):
        if name in positions:
            found.append(f"It reads the step {name!r}, which it does not depend on")
        else:
            found.append(f"There is no step {name!r}")
    return found
