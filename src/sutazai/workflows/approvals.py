"""The end of a wait for a person who did not answer, as a delayed job."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sutazai.database import Connection
from sutazai.engine.job import Consumer, Ending, Job, Outcome, Succeeded
from sutazai.errors import ErrorCode
from sutazai.workflows import store
from sutazai.workflows.advancing import Advancer
from sutazai.workflows.changes import APPROVAL_KIND, Change
from sutazai.workflows.model import StepError, StepStatus

CONSUMER = Consumer("workflow-approvals", (APPROVAL_KIND,), 10)


class Expiry:
    """The engine's handler for approvals that come too late."""

    def __init__(self, *, advancer: Advancer) -> None:
        self._advancer = advancer

    def readied(self, connection: Connection, jobs: Sequence[Job], now: int) -> None:
        """See `Handler.readied`."""

    def started(self, connection: Connection, jobs: Sequence[Job], now: int) -> Mapping[int, Any]:
        """See `Handler.started`."""
        return {}

    async def run(self, job: Job, prepared: Any) -> Outcome:
        """See `Handler.run`; what is to be done is done with the job's end."""
        return Succeeded()

    def before_ended(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """See `Handler.before_ended`."""
        self._advancer.lock_first(connection, [_place(job)[0] for job in jobs])

    def ended(self, connection: Connection, endings: Sequence[Ending], now: int) -> None:
        """See `Handler.ended`."""
        for ending in endings:
            if not ending.final:
                continue
            execution_id, position = _place(ending.job)
            execution = store.get_execution(connection, execution_id, lock=True)
            if execution is None or execution.status.is_final or execution.state[position] != "w":
                continue
            [run] = store.runs(connection, execution_id, positions=[position], item=-1)
            error = StepError(ErrorCode.TASK_TIMEOUT, "Nobody approved or refused it in time.")
            change = Change(StepStatus.FAILED, error)
            self._advancer.runs_ended(connection, execution, [(run, change)])


def _place(job: Job) -> tuple[str, int]:
    """The execution and the position of the step that waits."""
    return msgspec.json.decode(job.payload, type=tuple[str, int])
