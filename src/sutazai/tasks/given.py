"""Input that is looked at when a task is submitted, because its agent may see it much later."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from sutazai.agents.service import AgentDirectory
from sutazai.errors import Detail


class InputCheck(NamedTuple):
    """What one agent takes for one type.

    `problem` is given description and metadata, and says which field is wrong and how; None where
    none is. It runs on a thread. `examples` has a right value of each field, for what is not known.
    """

    agent_id: str
    problem: Callable[[str, Mapping[str, Any]], tuple[str, str] | None]
    examples: Mapping[str, Any]


class InputChecks:
    """The checks that there are, by type of task."""

    def __init__(self, checks: Mapping[str, InputCheck], directory: AgentDirectory) -> None:
        self._checks = checks
        self._directory = directory
        self.types = frozenset(checks)

    def problem(
        self,
        task_type: str,
        agent_id: str | None,
        description: str,
        metadata: Mapping[str, Any],
        unknown: Collection[str] = (),
    ) -> Detail | None:
        """Why whoever may do this task would refuse its metadata; None where it may be done.

        `unknown` are fields that have a value only later. It may compute for a moment.
        """
        check = self._checks.get(task_type)
        if check is None:
            return None
        doers = self._directory.agents_with(task_type) if agent_id is None else [agent_id]
        if set(doers) != {check.agent_id}:
            return None  # another agent may take other input
        examples = {name: check.examples[name] for name in unknown if name in check.examples}
        known = {name: value for name, value in metadata.items() if name not in unknown}
        wrong = check.problem(description, known | examples)
        return None if wrong is None else Detail(f"metadata.{wrong[0]}", wrong[1])
