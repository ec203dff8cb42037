"""Whether a task would be answered from what is cached, as far as this process's agents know."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from sutazai.agents.contract import Agent, AgentError, Foreseeing, ResultCache
from sutazai.agents.service import AgentDirectory

_logger = structlog.get_logger(__name__)


class Foresight:
    """Asks the agents of this process; those elsewhere are not asked."""

    def __init__(
        self,
        *,
        directory: AgentDirectory,
        agents: Sequence[Agent],
        cache: ResultCache,
        has_model: Callable[[], bool],
    ) -> None:
        self._directory = directory
        self._agents: dict[str, object] = {agent.description.agent_id: agent for agent in agents}
        self._cache = cache
        self._has_model = has_model

    async def is_cached(
        self, task_type: str, agent_id: str | None, metadata: Mapping[str, Any]
    ) -> bool | None:
        """Whether whoever takes such a task now would answer from the cache alone.

        None where that cannot be told: nobody takes it, those who may do not agree, or one of them
        does not say.
        """
        answers = {
            await self._ask(one, task_type, metadata) for one in self._takers(task_type, agent_id)
        }
        return answers.pop() if len(answers) == 1 else None

    def _takers(self, task_type: str, agent_id: str | None) -> list[str]:
        online = self._directory.online_agents if agent_id is None else {agent_id}
        known = (self._directory.agent(one) for one in sorted(online))
        return [one.agent_id for one in known if one and task_type in one.capabilities]

    async def _ask(self, agent_id: str, task_type: str, metadata: Mapping[str, Any]) -> bool | None:
        agent = self._agents.get(agent_id)
        if not isinstance(agent, Foreseeing):
            return None
        try:
            return await agent.is_cached(
                task_type, metadata, self._cache, has_model=self._has_model()
            )
        except AgentError:
            return None
        except Exception:
            _logger.exception("foresight.failed", agent=agent_id)
            return None
