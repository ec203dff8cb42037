"""The line in which claims wait for work: a job that becomes ready wakes one of them, not all."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator


class Place:
    """One waiting claim: whose it is, and which queues it could take from."""

    def __init__(self, agent_id: str) -> None:
        self.agent_id = agent_id
        self.queues: tuple[str, ...] = ()
        self.is_woken = False
        self._called = asyncio.Event()

    def wake(self) -> None:
        """There may be something to take."""
        self.is_woken = True
        self._called.set()

    def end_wait(self) -> None:
        """There is an answer, or no more to wait for; nothing for the next one to look after."""
        self._called.set()

    def begin(self) -> None:
        """Wait anew."""
        self.is_woken = False
        self._called.clear()

    async def wait(self, seconds: float) -> bool:
        """Until it is woken or has its answer; False when there was nothing for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._called.wait()
        return self._called.is_set()


class WaitingLine:
    """First come, first served. Whoever took something wakes the next: there may be more."""

    def __init__(self) -> None:
        self._by_queue: dict[str, dict[Place, None]] = {}
        self._by_agent: dict[str, set[Place]] = {}
        self._closed = False

    @property
    def agents(self) -> frozenset[str]:
        """Whose claims are open."""
        return frozenset(self._by_agent)

    @property
    def queues(self) -> frozenset[str]:
        """The queues that somebody waits for."""
        return frozenset(self._by_queue)

    @property
    def is_closed(self) -> bool:
        """Whether nobody may wait any more."""
        return self._closed

    def close(self) -> None:
        """Wake everybody, for good."""
        self._closed = True
        for places in list(self._by_agent.values()):
            for place in places:
                place.wake()

    @contextlib.contextmanager
    def place(self, agent_id: str) -> Iterator[Place]:
        """A place, out of line until it is put at the `end` of it."""
        place = Place(agent_id)
        self._by_agent.setdefault(agent_id, set()).add(place)
        try:
            yield place
        finally:
            self.leave(place)
            places = self._by_agent[agent_id]
            places.discard(place)
            if not places:
                del self._by_agent[agent_id]

    def join(self, place: Place, queues: tuple[str, ...]) -> None:
        """Stand at the end of the line for these queues, not woken."""
        self._drop(place)
        place.begin()
        if self._closed:
            place.wake()
        place.queues = queues
        for queue in queues:
            self._by_queue.setdefault(queue, {})[place] = None

    def leave(self, place: Place) -> None:
        """Stand in no line; who was woken and leaves lets the next one look."""
        self._drop(place)
        if place.is_woken:
            self.wake(place.queues)

    def wake(self, queues: Iterable[str]) -> None:
        """There may be something in each of these queues."""
        for queue in queues:
            waiting = self._by_queue.get(queue)
            if waiting:
                place = next(iter(waiting))
                self._drop(place)
                place.wake()

    def wake_agent(self, agent_id: str) -> None:
        """An agent has room again, or is gone."""
        for place in self._by_agent.get(agent_id, ()):
            self._drop(place)
            place.wake()

    def _drop(self, place: Place) -> None:
        for queue in place.queues:
            waiting = self._by_queue.get(queue)
            if waiting is not None:
                waiting.pop(place, None)
                if not waiting:
                    del self._by_queue[queue]
