"""What a test lends an agent in the runner's place."""

from collections.abc import Mapping, Sequence
from typing import Any

from sutazai.agents.alone import Alone
from sutazai.agents.contract import Assignment


def assigned(task_type: str, metadata: dict[str, Any]) -> Assignment:
    """The first attempt at a task of this type."""
    return Assignment(
        assignment_id="as-1-1",
        task_id="task",
        type=task_type,
        description="",
        metadata=metadata,
        attempt=1,
        configuration={},
    )


class Cache:
    """A result cache in memory."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        return {key: self.entries[key] for key in keys if key in self.entries}

    async def put_many(self, entries: Mapping[str, bytes]) -> None:
        self.entries.update(entries)


class Context(Alone):
    """What the runner lends; remembers the progress."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = Cache()
        self.told: list[tuple[int, dict[str, int]]] = []

    async def progress(self, percent: int, **counters: int) -> None:
        self.told.append((percent, counters))

    async def output(self, text: str) -> None:
        raise AssertionError("a report shows nothing before it is whole")
