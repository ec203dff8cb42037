"""Tasks pinned to an agent that was deleted: nobody will ever do them, so they fail.

The transaction that deletes the agent ends those that it sees. What is submitted for the agent
afterwards, by somebody who has not heard yet, by a schedule or as a step of a workflow, waits for
an agent as far as anybody can tell, and is found there.
"""

from collections.abc import Collection, Mapping, Sequence

from sutazai import clock
from sutazai.agents import outside
from sutazai.agents.service import AgentDirectory, pinned_queue
from sutazai.database import Connection
from sutazai.engine import store as jobs
from sutazai.errors import ErrorCode
from sutazai.tasks import dependencies, waiting_store
from sutazai.tasks.dependencies import Ends
from sutazai.tasks.model import TaskDraft, TaskError

_MOST_AT_ONCE = 500


def end_pinned_to(connection: Connection, agent_id: str, ends: Ends) -> int:
    """Inside the unit that deletes an agent: fail all that waits for it; how many there were."""
    task_ids = jobs.keys_in(connection, pinned_queue(agent_id))
    _fail(connection, dict.fromkeys(task_ids, agent_id), ends)
    return len(task_ids)


def end_stranded(connection: Connection, ends: Ends) -> int:
    """Inside a unit: fail what waits for agents that are gone for good; how many there were."""
    gone = outside.absent(connection, waiting_store.agents_waited_for(connection))
    stranded = waiting_store.waiting_for(connection, gone, limit=_MOST_AT_ONCE)
    _fail(connection, stranded, ends)
    return len(stranded)


def _fail(connection: Connection, agents: Mapping[str, str], ends: Ends) -> None:
    if not agents:
        return
    now = clock.now()
    ends.before_tasks_end(connection, list(agents))
    why = {
        task_id: TaskError(
            ErrorCode.AGENT_OFFLINE,
            f"The agent {agent_id}, which alone was to do it, was deleted. Submit it again "
            "without `agent`, or for another one.",
        )
        for task_id, agent_id in agents.items()
    }
    over = dependencies.fail(connection, why, now=now)
    ends.task_ended(connection, over, now)


def pins_gone(
    connection: Connection, drafts: Sequence[TaskDraft], directory: AgentDirectory
) -> Collection[str]:
    """Agents from outside that these tasks are pinned to and that were deleted meanwhile.

    The others cannot be deleted before this transaction has ended, so that none is overlooked.
    """
    pins = {draft.agent for draft in drafts if draft.agent is not None}
    perhaps = {pin for pin in pins if (known := directory.agent(pin)) and known.transport}
    return outside.absent(connection, perhaps, hold=True)
