"""What ends a wait for a person: their answer, given by themselves or by an event."""

from typing import Any, NamedTuple

import msgspec

from sutazai import clock
from sutazai.database import Connection
from sutazai.engine import store as jobs
from sutazai.errors import Detail, ErrorCode, SutazaiError
from sutazai.events import log
from sutazai.events.model import Origin
from sutazai.workflows import finding_store, store
from sutazai.workflows.advancing import Advancer
from sutazai.workflows.changes import Change, approval_key, notice
from sutazai.workflows.expressions import Budget
from sutazai.workflows.graph import event_type_problem
from sutazai.workflows.model import EventKey, Execution, StepError, StepStatus
from sutazai.workflows.starting import MOST_CORRELATION_ID

MOST_ANSWERED = 100
"""Steps that one event can answer."""
MOST_DATA = 64 * 1024
"""Bytes of an event's data, as JSON."""
MOST_COMMENT = 2_000


class Answer(NamedTuple):
    """What a user said; `data` is what the event that said it has beside."""

    approved: bool
    comment: str
    user_id: str
    origin: Origin
    event: EventKey | None = None
    data: dict[str, Any] | None = None

    @property
    def output(self) -> str:
        """The step's output, as JSON."""
        own = {"approved": self.approved, "by": self.user_id, "comment": self.comment}
        return msgspec.json.encode({**(self.data or {}), **own}).decode()


class AnsweredStep(msgspec.Struct, frozen=True):
    """A step that waits no more."""

    execution_id: str
    workflow_id: str
    step_id: str


def answer_of(event: EventKey, data: dict[str, Any], user_id: str, origin: Origin) -> Answer:
    """What an event says; VALIDATION_ERROR with a detail a field where it answers nothing."""
    wrong = []
    problem = event_type_problem(event.event_type)
    if problem is not None:
        wrong.append(Detail("event_type", problem))
    text = event.correlation_id
    if text is not None and (not 0 < len(text) <= MOST_CORRELATION_ID or "\0" in text):
        wrong.append(Detail("correlation_id", f"Must have 1 to {MOST_CORRELATION_ID} characters"))
    if len(msgspec.json.encode(data)) > MOST_DATA:
        wrong.append(Detail("data", f"Must be at most {MOST_DATA} bytes of JSON"))
    if not isinstance(data.get("approved"), bool):
        wrong.append(Detail("data.approved", "Must be true or false: whether the step may go on"))
    comment = data.get("comment", "")
    if not isinstance(comment, str) or len(comment) > MOST_COMMENT:
        wrong.append(Detail("data.comment", f"Must be a text of at most {MOST_COMMENT} characters"))
    if "by" in data:
        wrong.append(Detail("data.by", "Leave it out: it is the user who posts the event"))
    if wrong:
        raise SutazaiError(ErrorCode.VALIDATION_ERROR, "Invalid input data", details=wrong)
    return Answer(data["approved"], comment, user_id, origin, event, data)


def answer_all(
    connection: Connection, advancer: Advancer, event: EventKey, said: Answer
) -> list[AnsweredStep]:
    """Inside a unit: answer every step that waits for an event; see `Executions.post_event`."""
    found = finding_store.runs_awaiting(connection, event, limit=MOST_ANSWERED + 1)
    if len(found) > MOST_ANSWERED:
        message = (
            f"More than {MOST_ANSWERED} steps wait for this event; none was answered. Give them "
            "correlation ids, or answer them by their executions."
        )
        raise SutazaiError(ErrorCode.CONFLICT, message)
    advancer.lock_first(connection, {one.execution_id for one in found})
    answered = []
    budget = Budget()
    for execution_id, before in found:
        execution = store.get_execution(connection, execution_id, lock=True)
        if execution is None:
            continue
        # Before the lock another may have answered it, and a retry have asked something else.
        now = store.runs(connection, execution_id, positions=[before.position], item=-1)
        if [one.event for one in now] != [event]:
            continue
        if answer(connection, advancer, execution, before.position, said, budget):
            if budget.left < 0 and len(found) > 1:
                message = (
                    f"What {len(found)} steps wait for would begin too much together; none was "
                    "answered. Give them correlation ids, or answer them by their executions."
                )
                raise SutazaiError(ErrorCode.CONFLICT, message)
            graph = advancer.graph(connection, execution.workflow_id, execution.version)
            step_id = graph.steps[before.position].step_id
            answered.append(AnsweredStep(execution_id, execution.workflow_id, step_id))
    if not answered:
        with_id = "" if event.correlation_id is None else f" with {event.correlation_id!r}"
        message = f"No approval step waits for the event {event.event_type!r}{with_id} now."
        raise SutazaiError(ErrorCode.NOT_FOUND, message)
    return answered


def answer(
    connection: Connection,
    advancer: Advancer,
    execution: Execution,
    position: int,
    said: Answer,
    budget: Budget | None = None,
) -> bool:
    """Inside a unit that has locked it: end a step that waits for a person; whether it did."""
    if execution.status.is_final or execution.state[position] != "w":
        return False
    execution_id = execution.execution_id
    jobs.cancel(connection, approval_key(execution_id, position))
    [run] = store.runs(connection, execution_id, positions=[position], item=-1)
    change = Change(StepStatus.COMPLETED)
    if not said.approved:
        why = f": {said.comment}" if said.comment else "."
        error = StepError(ErrorCode.CONFLICT, f"It was refused by {said.user_id}{why}")
        change = Change(StepStatus.FAILED, error)
    graph = advancer.graph(connection, execution.workflow_id, execution.version)
    event_type, correlation_id = said.event or (None, None)
    told = notice(
        "answered",
        execution,
        said.origin,
        step_id=graph.steps[position].step_id,
        approved=said.approved,
        event_type=event_type,
        correlation_id=correlation_id,
    )
    log.append(connection, [told], now=clock.now())
    run = msgspec.structs.replace(run, value=said.output)
    advancer.runs_ended(connection, execution, [(run, change)], budget)
    return True
