"""One follower a process, for any number of listeners."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from sutazai import clock
from sutazai.database import Connection, Database, open_database
from sutazai.database.unit import take_signals
from sutazai.events import log
from sutazai.events.hub import EventHub
from sutazai.events.model import SYSTEM, Event, NewEvent
from tests.conformance.rig import NEVER, PATIENCE


def write(name: str, connection: Connection) -> None:
    log.append(connection, [NewEvent(name, {}, SYSTEM, "tests")], now=clock.now())


class Listener:
    """Keeps the names of what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, events: Sequence[Event]) -> None:
        self.heard += [event.event_type for event in events]
        self._news.set()

    async def until(self, last: str) -> list[str]:
        """All that was heard, once it has heard this."""
        async with asyncio.timeout(PATIENCE):
            while last not in self.heard:
                self._news.clear()
                await self._news.wait()
        return self.heard


@pytest.fixture
async def hub(database: Database) -> AsyncIterator[EventHub]:
    """Only signals can wake it."""
    hub = EventHub(database, poll_seconds=NEVER)
    await hub.start()
    yield hub
    await hub.stop()


async def test_everybody_hears_everything_once_and_in_order(
    hub: EventHub, database: Database
) -> None:
    listeners = [Listener() for _ in range(3)]
    for listener in listeners:
        await hub.subscribe(listener)
    names = [f"event-{number}" for number in range(200)]
    for name in names:
        await database.run(partial(write, name))
    for listener in listeners:
        assert await listener.until(names[-1]) == names


async def test_nothing_is_lost_between_a_subscription_and_the_first_event(
    hub: EventHub, database: Database
) -> None:
    for number in range(30):
        listener = Listener()
        unsubscribe = await hub.subscribe(listener)
        await database.run(partial(write, f"event-{number}"))
        await listener.until(f"event-{number}")
        unsubscribe()


async def test_who_has_unsubscribed_hears_nothing_more(hub: EventHub, database: Database) -> None:
    gone, there = Listener(), Listener()
    unsubscribe = await hub.subscribe(gone)
    await hub.subscribe(there)
    await database.run(partial(write, "first"))
    await gone.until("first")
    unsubscribe()
    unsubscribe()
    await database.run(partial(write, "second"))
    await there.until("second")
    assert gone.heard == ["first"]


async def test_a_listener_that_fails_takes_nothing_from_the_others(
    hub: EventHub, database: Database
) -> None:
    def fails(events: Sequence[Event]) -> None:
        raise ValueError

    await hub.subscribe(fails)
    listener = Listener()
    await hub.subscribe(listener)
    for name in ("first", "second"):
        await database.run(partial(write, name))
    assert await listener.until("second") == ["first", "second"]


async def test_a_lost_signal_only_delays(database: Database) -> None:
    def silently(connection: Connection) -> None:
        write("unannounced", connection)
        take_signals(connection)

    hub = EventHub(database, poll_seconds=0.05)
    await hub.start()
    listener = Listener()
    await hub.subscribe(listener)
    await database.run(silently)
    assert await listener.until("unannounced") == ["unannounced"]
    await hub.stop()


async def test_events_of_other_processes_arrive(postgres_url: str, data_dir: Path) -> None:
    here = await open_database(url=postgres_url, data_dir=data_dir)
    there = await open_database(url=postgres_url, data_dir=data_dir)
    hub = EventHub(here)
    await hub.start()
    listener = Listener()
    await hub.subscribe(listener)
    await there.run(partial(write, "from there"))
    assert await listener.until("from there") == ["from there"]
    assert await hub.settled_position() == 1
    await hub.stop()
    for database in (here, there):
        await database.close()
