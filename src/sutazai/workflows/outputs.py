"""What steps have put out: a task's result, an answer, or what is made of several of these.

The output of a step that is done for each item is the list of the items' outputs; that of an
executed workflow has the outputs of its steps by name, null for those that have none.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from sutazai.database import Connection
from sutazai.tasks.service import Tasks
from sutazai.workflows import finding_store, store
from sutazai.workflows.model import Definition, Execution, Run, RunKey, StepStatus, Version

MOST_RUNS = 50_000
"""Steps and items, down to the lowest workflow, of which outputs are put together."""
_AT_ONCE = 1_000

T = TypeVar("T")


def read(
    connection: Connection,
    tasks: Tasks,
    execution: Execution,
    positions: Sequence[int],
    *,
    most: int,
) -> dict[RunKey, str] | None:
    """Inside a unit: the outputs of those of these steps that are completed, as JSON texts.

    With those of items that are workflows. None where they are more than `most` characters
    together, or made of more than `MOST_RUNS`.
    """
    if not positions:
        return {}
    own = store.runs(connection, execution.execution_id, positions=positions)
    below = _read_below(connection, own)
    if below is None:
        return None
    results = _read_results(connection, tasks, [*own, *below.all_runs()], most=most)
    if results is None:
        return None
    writer = _Writer(below, results)
    found = {}
    for steps_runs in _by_position(own).values():
        whole, *items = steps_runs
        if whole.status is StepStatus.COMPLETED:
            found[RunKey(whole.position)] = writer.step(steps_runs)
        for one in items:
            if one.child_id is not None and one.status is StepStatus.COMPLETED:
                found[RunKey(one.position, one.item)] = writer.run(one)
    return found if sum(map(len, found.values())) <= most else None


class _Below(NamedTuple):
    """The executions below some runs, at any depth, with what was done for them."""

    executions: dict[str, Execution]
    definitions: dict[Version, Definition]
    runs: dict[str, dict[int, list[Run]]]

    def all_runs(self) -> Iterator[Run]:
        for by_position in self.runs.values():
            for some in by_position.values():
                yield from some


def _read_below(connection: Connection, runs: Sequence[Run]) -> _Below | None:
    """None where there are too many."""
    below = _Below({}, {}, {})
    level = _children(runs)
    number = len(runs)
    while level and number <= MOST_RUNS:
        following: list[str] = []
        for some in _parts(level):
            for one in finding_store.find_executions(connection, some):
                below.executions[one.execution_id] = one
            found = finding_store.all_runs(connection, some, limit=MOST_RUNS + 1 - number)
            for execution_id, theirs in found.items():
                number += len(theirs)
                below.runs[execution_id] = _by_position(theirs)
                following += _children(theirs)
            if number > MOST_RUNS:
                return None
        level = following
    versions = {Version(one.workflow_id, one.version) for one in below.executions.values()}
    for part in _parts(sorted(versions)):
        below.definitions.update(finding_store.find_definitions(connection, part))
    return below if number <= MOST_RUNS else None


def _children(runs: Sequence[Run]) -> list[str]:
    return [
        run.child_id
        for run in runs
        if run.child_id is not None and run.status is StepStatus.COMPLETED
    ]


def _read_results(
    connection: Connection, tasks: Tasks, runs: Sequence[Run], *, most: int
) -> dict[str, str] | None:
    ids = [run.task_id for run in runs if run.task_id and run.status is StepStatus.COMPLETED]
    found: dict[str, str] = {}
    for part in _parts(ids):
        results = tasks.read_results(connection, part, most=most)
        if results is None:
            return None
        most -= sum(map(len, results.values()))
        found |= results
    return found


class _Writer:
    """Puts the texts together."""

    def __init__(self, below: _Below, results: Mapping[str, str]) -> None:
        self._below = below
        self._results = results

    def step(self, runs: Sequence[Run]) -> str:
        whole, *items = runs
        if whole.value is not None:
            return whole.value
        if whole.items is not None:
            return f"[{','.join(map(self.run, items))}]"
        return self.run(whole)

    def run(self, run: Run) -> str:
        if run.child_id is not None:
            return self._execution(run.child_id)
        return self._results.get(run.task_id or "", "null")

    def _execution(self, execution_id: str) -> str:
        execution = self._below.executions.get(execution_id)
        if execution is None:
            return "null"
        version = Version(execution.workflow_id, execution.version)
        runs = self._below.runs.get(execution_id, {})
        said = []
        for position, step in enumerate(self._below.definitions[version].steps):
            name = msgspec.json.encode(step.step_id).decode()
            of_step = runs.get(position)
            is_done = of_step is not None and of_step[0].status is StepStatus.COMPLETED
            said.append(f"{name}:{self.step(of_step) if of_step and is_done else 'null'}")
        return f"{{{','.join(said)}}}"


def _by_position(runs: Sequence[Run]) -> dict[int, list[Run]]:
    """The runs of each step, the step's own first, then its items'."""
    found: dict[int, list[Run]] = {}
    for run in runs:
        found.setdefault(run.position, []).append(run)
    return found


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), _AT_ONCE):
        yield items[first : first + _AT_ONCE]
