"""What the resolvers of one operation share: who asks, what was loaded, how much is left."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import Scope
from strawberry.dataloader import DataLoader

from sutazai.agents.model import Agent
from sutazai.api.graphql.bounds import MOST_TASKS
from sutazai.api.live import Listener
from sutazai.api.services import Services
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.events.model import Origin
from sutazai.events.streams import Subscription
from sutazai.identity.model import Principal, User
from sutazai.limits.idempotency import HEADER
from sutazai.tasks.model import Task
from sutazai.tasks.runner import MOST_RESULT_BYTES


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
        """Forget what was loaded: a subscription's next event is to show how things are then."""
        self.tasks = DataLoader[str, Task | None](self._load_tasks)
        self.results = DataLoader[str, str | None](self._load_results)
        self.agents = DataLoader[str, Agent | None](self._load_agents)
        self.users = DataLoader[str, User | None](self._load_users)
        self._tasks_left = MOST_TASKS
        self._characters_left = MOST_RESULT_BYTES

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

    def charge_tasks(self, count: int) -> None:
        """Take from what this operation may list; BAD_REQUEST where that is too much."""
        self._tasks_left -= count
        if self._tasks_left < 0:
            message = f"This asks for over {MOST_TASKS} tasks. Ask for fewer, or page by page."
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
