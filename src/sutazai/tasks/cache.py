"""The result cache: finished pieces of work by the digest of their inputs, for every agent."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from sutazai import clock
from sutazai.agents.service import AgentRegistry
from sutazai.database import Connection, Database, tally
from sutazai.tasks import cache_store


class DatabaseResultCache:
    """The `ResultCache` of one agent; its look-ups count in that agent's metrics."""

    def __init__(self, *, database: Database, registry: AgentRegistry, agent_id: str) -> None:
        self._database = database
        self._registry = registry
        self._agent_id = agent_id

    @classmethod
    def factory(
        cls, *, database: Database, registry: AgentRegistry
    ) -> Callable[[str], "DatabaseResultCache"]:
        """The cache for an agent, by its id."""
        return lambda agent_id: cls(database=database, registry=registry, agent_id=agent_id)

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """See `ResultCache.get_many`."""
        if not keys:
            return {}
        found = await self._database.read(partial(cache_store.get_many, keys=keys))

        def count(connection: Connection) -> None:
            cache_store.touch(connection, list(found), now=clock.now())
            self._registry.count_cache_use(
                connection, self._agent_id, hits=len(found), lookups=len(keys)
            )
            tally(connection, "cache", "hit", by=len(found))
            tally(connection, "cache", "miss", by=len(keys) - len(found))

        await self._database.run(count)
        return found

    async def put_many(self, entries: Mapping[str, bytes]) -> None:
        """See `ResultCache.put_many`."""
        if entries:
            await self._database.run(
                partial(cache_store.put_many, entries=entries, now=clock.now())
            )


class PeekingCache:
    """A `ResultCache` for who only looks: nothing is counted, kept, or kept for longer."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """See `ResultCache.get_many`."""
        return await self._database.read(partial(cache_store.get_many, keys=keys)) if keys else {}

    async def put_many(self, entries: Mapping[str, bytes]) -> None:
        """Keep nothing."""
