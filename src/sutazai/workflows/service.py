"""The parts of workflows, put together."""

from collections.abc import Mapping

from sutazai.agents.service import AgentDirectory
from sutazai.database import Database
from sutazai.engine.job import Handler
from sutazai.tasks.service import Tasks
from sutazai.workflows.advancing import Advancer
from sutazai.workflows.approvals import Expiry
from sutazai.workflows.definitions import Definitions
from sutazai.workflows.executions import Executions
from sutazai.workflows.settling import APPROVAL_KIND


class Workflows:
    """What is defined, what is executed, and what the engine and the tasks need of both."""

    def __init__(self, *, database: Database, tasks: Tasks, directory: AgentDirectory) -> None:
        advancer = Advancer(tasks=tasks)
        self.definitions = Definitions(database=database, tasks=tasks, directory=directory)
        self.executions = Executions(database=database, tasks=tasks, advancer=advancer)
        self.before_tasks_end = advancer.before_tasks_end
        self.on_task_ended = advancer.on_task_ended
        self.handlers: Mapping[str, Handler] = {APPROVAL_KIND: Expiry(advancer=advancer)}
