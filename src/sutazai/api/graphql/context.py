"""What the resolvers of one operation share: who asks, what was loaded, how much is left."""

from collections.abc import Mapping, Sequence

from starlette.datastructures import Headers
from starlette.types import Scope
from strawberry.dataloader import DataLoader

from sutazai.agents.model import Agent
from sutazai.api.graphql.bounds import MOST_LISTED, MOST_STEPS
from sutazai.api.live import Listener
from sutazai.api.services import Services
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.events.model import Origin
from sutazai.events.streams import Subscription
from sutazai.identity.model import Principal, User
from sutazai.limits.idempotency import HEADER, Replayable
from sutazai.tasks.model import Task
from sutazai.tasks.runner import MOST_RESULT_BYTES
from sutazai.workflows.model import Definition, Execution, ItemsOf, Run, RunKey, Version, Workflow


class Context:
    """One operation's.

    What several fields need is loaded together: however many tasks are shown, their agents,
    submitters and results cost one query each.
    """

    def __init__(
        self,
        services: Services,
        listener: Listener,
        scope: Scope,
    ) -> None:
        """`scope` is the connection's, which the edge has given an id."""
        self.services = services
        self.scope = scope
        self.request_id: str = scope["state"]["request_id"]
        self.replayed = False
        self.subscription: Subscription | None = None
        self.listener = listener
        self.renew()

    def renew(self) -> None:
        """Begin anew: a subscription's next event is an operation of its own."""
        self.forget()
        self._listed_left = MOST_LISTED
        self._steps_left = MOST_STEPS
        self._characters_left = MOST_RESULT_BYTES

    def forget(self) -> None:
        """Forget what was loaded, which something has changed."""
        self.tasks = DataLoader[str, Task | None](self._load_tasks)
        self.results = DataLoader[str, str | None](self._load_results)
        self.agents = DataLoader[str, Agent | None](self._load_agents)
        self.users = DataLoader[str, User | None](self._load_users)
        self.workflows = DataLoader[str, Workflow | None](self._load_workflows)
        self.definitions = DataLoader[Version, Definition](self._load_definitions)
        self.executions = DataLoader[str, Execution | None](self._load_executions)
        self.runs = DataLoader[str, dict[int, Run]](self._load_runs)
        self.items = DataLoader[ItemsOf, list[Run]](self._load_items)
        self.outputs = DataLoader[tuple[str, int], Mapping[RunKey, str]](self._load_outputs)

    def done(self, replay: Replayable | None = None) -> None:
        """Something was changed, or an earlier answer was given for it once more."""
        self.forget()
        self.replayed |= replay is not None and replay.replayed

    @property
    def principal(self) -> Principal:
        """Who asks, by now."""
        return self.listener.principal

    @property
    def idempotency_key(self) -> str | None:
        """What the header says, for the mutations that say nothing themselves."""
        return Headers(scope=self.scope).get(HEADER)

    @property
    def origin(self) -> Origin:
        """The operation as events want it told."""
        return Origin(self.principal.actor, self.request_id)

    def charge_listed(self, count: int, what: str) -> None:
        """Take from what this operation may list; BAD_REQUEST where that is too much."""
        self._listed_left -= count
        if self._listed_left < 0:
            message = f"This asks for over {MOST_LISTED} {what}. Ask for fewer, or page by page."
            raise SutazaiError(ErrorCode.BAD_REQUEST, message)

    def charge_steps(self, count: int) -> None:
        """The same for steps and their items, of workflows and of executions."""
        self._steps_left -= count
        if self._steps_left < 0:
            message = f"These are over {MOST_STEPS} steps and items. Ask for fewer at a time."
            raise SutazaiError(ErrorCode.BAD_REQUEST, message)

    def charge_characters(self, count: int) -> None:
        """The same for the size of results, which aliases could repeat."""
        self._characters_left -= count
        if self._characters_left < 0:
            most = MOST_RESULT_BYTES // (1024 * 1024)
            message = f"These results are over {most} MiB together. Ask for fewer at a time."
            raise SutazaiError(ErrorCode.BAD_REQUEST, message)

    async def _load_tasks(self, task_ids: list[str]) -> Sequence[Task | None]:
        found = await self.services.tasks.find(task_ids)
        return [found.get(one) for one in task_ids]

    async def _load_results(self, task_ids: list[str]) -> Sequence[str | None]:
        found = await self.services.tasks.find_results(task_ids)
        return [found.get(one) for one in task_ids]

    async def _load_agents(self, agent_ids: list[str]) -> Sequence[Agent | None]:
        found = {agent.agent_id: agent for agent in await self.services.registry.list_agents()}
        return [found.get(one) for one in agent_ids]

    async def _load_users(self, user_ids: list[str]) -> Sequence[User | None]:
        found = await self.services.identity.users.find(user_ids)
        return [found.get(one) for one in user_ids]

    async def _load_workflows(self, workflow_ids: list[str]) -> Sequence[Workflow | None]:
        found = await self.services.workflows.definitions.find(workflow_ids)
        return [found.get(one) for one in workflow_ids]

    async def _load_definitions(self, versions: list[Version]) -> Sequence[Definition]:
        found = await self.services.workflows.definitions.find_versions(versions)
        return [found[one] for one in versions]

    async def _load_executions(self, execution_ids: list[str]) -> Sequence[Execution | None]:
        found = await self.services.workflows.executions.find(execution_ids)
        return [found.get(one) for one in execution_ids]

    async def _load_runs(self, execution_ids: list[str]) -> Sequence[dict[int, Run]]:
        found = await self.services.workflows.executions.find_runs(execution_ids)
        return [found.get(one, {}) for one in execution_ids]

    async def _load_items(self, wanted: list[ItemsOf]) -> Sequence[list[Run]]:
        return await self.services.workflows.executions.find_items(wanted)

    async def _load_outputs(self, wanted: list[tuple[str, int]]) -> Sequence[Mapping[RunKey, str]]:
        return await self.services.workflows.executions.find_outputs(wanted)
