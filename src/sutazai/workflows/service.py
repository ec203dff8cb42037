"""The parts of workflows, put together."""

from collections.abc import Mapping

from sutazai.agents.service import AgentDirectory
from sutazai.database import Database
from sutazai.engine.job import Handler
from sutazai.tasks.service import Tasks
from sutazai.workflows.advancing import Advancer, OnExecutionEnded
from sutazai.workflows.approvals import Expiry
from sutazai.workflows.definitions import Definitions
from sutazai.workflows.executions import Executions
from sutazai.workflows.for_tasks import ForTasks
from sutazai.workflows.settling import APPROVAL_KIND


class Workflows:
    """What is defined, what is executed, and what the engine and the tasks need of both."""

    def __init__(
        self,
        *,
        database: Database,
        tasks: Tasks,
        directory: AgentDirectory,
        on_execution_ended: OnExecutionEnded,
    ) -> None:
        """`on_execution_ended` is told, inside of units, of executions that a task waits for."""
        advancer = Advancer(tasks=tasks, on_execution_ended=on_execution_ended)
        self.definitions = Definitions(database=database, tasks=tasks, directory=directory)
        self.executions = Executions(database=database, tasks=tasks, advancer=advancer)
        self.for_tasks = ForTasks(
            definitions=self.definitions, executions=self.executions, advancer=advancer
        )
        self.on_task_ended = advancer.on_task_ended
        self.handlers: Mapping[str, Handler] = {APPROVAL_KIND: Expiry(advancer=advancer)}
