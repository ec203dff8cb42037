"""The parts of workflows, put together."""

from collections.abc import Mapping, Sequence

from sutazai.agents.service import AgentDirectory
from sutazai.database import Connection, Database
from sutazai.engine.job import Handler
from sutazai.events.hub import EventHub
from sutazai.tasks.children import Children
from sutazai.tasks.model import TaskEnded
from sutazai.tasks.service import Tasks
from sutazai.workflows.advancing import Advancer
from sutazai.workflows.approvals import Expiry
from sutazai.workflows.changes import APPROVAL_KIND
from sutazai.workflows.definitions import Definitions, ScheduledBy
from sutazai.workflows.executions import Executions
from sutazai.workflows.for_tasks import ForTasks
from sutazai.workflows.foreseen import Foresees


class Workflows:
    """What is defined, what is executed, and what the engine and the tasks need of both."""

    def __init__(
        self,
        *,
        database: Database,
        hub: EventHub,
        tasks: Tasks,
        directory: AgentDirectory,
        foresees: Foresees,
        scheduled_by: ScheduledBy,
    ) -> None:
        """`foresees` says of plans' steps whether they would be answered from the cache.

        `scheduled_by` names the schedules that execute a workflow.
        """
        self._advancer = advancer = Advancer(tasks=tasks, on_execution_ended=self._ended)
        self.definitions = Definitions(
            database=database,
            tasks=tasks,
            directory=directory,
            foresees=foresees,
            scheduled_by=scheduled_by,
        )
        self.executions = Executions(database=database, hub=hub, tasks=tasks, advancer=advancer)
        for_tasks = ForTasks(
            definitions=self.definitions, executions=self.executions, advancer=advancer
        )
        self.children = Children(
            database=database, tasks=tasks, directory=directory, executing=for_tasks
        )
        self.handlers: Mapping[str, Handler] = {APPROVAL_KIND: Expiry(advancer=advancer)}

    def _ended(self, connection: Connection, execution_id: str) -> None:
        self.children.on_execution_ended(connection, execution_id)

    def before_tasks_end(self, connection: Connection, task_ids: Sequence[str]) -> None:
        """The hook before tasks' ends: lock, in order, what they may touch."""
        self._advancer.before_tasks_end(connection, task_ids)
        self.children.before_tasks_end(connection, task_ids)

    def on_task_ended(self, connection: Connection, over: Sequence[TaskEnded]) -> None:
        """The hook of tasks' ends: advance executions, and let go the tasks that waited."""
        self._advancer.on_task_ended(connection, over)
        self.children.on_task_ended(connection, over)

    def on_task_waits(self, connection: Connection, task_ids: Sequence[str]) -> None:
        """The hook of attempts that others shall follow: none does where something has failed."""
        self._advancer.on_task_waits(connection, task_ids)
