"""Where a publisher begins: the position in Redis, checked against the log there is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from sutazai import clock
from sutazai.adapters.redis_events import RedisPublisher
from sutazai.adapters.redis_parts import RedisParts
from sutazai.adapters.redis_server import RedisServer
from sutazai.database import Connection, Database
from sutazai.events import log
from sutazai.events.feed import EventFeed
from sutazai.events.hub import EventHub
from sutazai.events.model import SYSTEM, NewEvent
from tests.features.redis.listening import listening
from tests.valkey import ValkeyServer

SECRET = b"the secret of one installation"


@pytest.fixture
async def hub(database: Database) -> AsyncIterator[EventHub]:
    hub = EventHub(database)
    await hub.start()
    yield hub
    await hub.stop()


@asynccontextmanager
async def publishing(database: Database, hub: EventHub, url: str) -> AsyncIterator[RedisParts]:
    parts = RedisParts(url, secret=SECRET, feed=EventFeed(database=database, hub=hub), hub=hub)
    await parts.start()
    try:
        yield parts
    finally:
        await parts.stop()


async def append(database: Database, *numbers: int, now: int | None = None) -> None:
    """One event for each number, in one transaction."""
    events = [NewEvent("task.created", {"n": n}, SYSTEM, "tasks") for n in numbers]

    def unit(connection: Connection) -> None:
        log.append(connection, events, now=clock.now() if now is None else now)

    await database.run(unit)


async def position(url: str) -> tuple[str, str | None]:
    """The key of the position, and what it says."""
    async with Redis.from_url(url, decode_responses=True) as client:
        (key,) = await client.keys("sutazai:*:position")
        found = await client.get(key)
    return str(key), None if found is None else str(found)


async def test_a_long_backlog_comes_whole_and_in_order(
    database: Database, hub: EventHub, valkey: ValkeyServer
) -> None:
    async with listening(valkey.url) as heard:
        async with publishing(database, hub, valkey.url):
            await append(database, 0)
            await heard.until(1)
        await append(database, *range(1, 3_000))
        async with publishing(database, hub, valkey.url):
            await append(database, 3_000)
            await heard.until(3_001)
    assert [event["data"]["n"] for event in heard.events] == list(range(3_001))


async def test_what_is_no_longer_kept_is_passed_over(
    database: Database, hub: EventHub, valkey: ValkeyServer
) -> None:
    async with listening(valkey.url) as heard:
        async with publishing(database, hub, valkey.url):
            await append(database, 0, now=1)
            await heard.until(1)
        await append(database, 1, 2, 3, now=1)
        await append(database, 4)
        await database.run(lambda connection: log.purge(connection, before=2))
        async with publishing(database, hub, valkey.url):
            await heard.until(2)
    assert [event["data"]["n"] for event in heard.events] == [0, 4]


async def test_a_position_that_the_log_never_reached_is_not_believed(
    database: Database, hub: EventHub, valkey: ValkeyServer
) -> None:
    async with listening(valkey.url) as heard:
        async with publishing(database, hub, valkey.url):
            await append(database, 0)
            await heard.until(1)
        key, _ = await position(valkey.url)
        async with Redis.from_url(valkey.url) as client:
            await client.set(key, 1_000_000)
        async with publishing(database, hub, valkey.url):
            await append(database, 1)
            await heard.until(2)
    assert [event["data"]["n"] for event in heard.events] == [0, 1]
    assert (await position(valkey.url))[1] != "1000000"


async def test_stopping_publishes_what_has_happened(
    database: Database, hub: EventHub, valkey: ValkeyServer
) -> None:
    async with listening(valkey.url) as heard:
        async with publishing(database, hub, valkey.url):
            await append(database, 0)
            await heard.until(1)
            await append(database, *range(1, 500))
        await heard.until(500)
    assert [event["data"]["n"] for event in heard.events] == list(range(500))


async def test_installations_on_one_redis_leave_each_other_alone(
    database: Database, hub: EventHub, valkey: ValkeyServer
) -> None:
    feed = EventFeed(database=database, hub=hub)
    other = RedisParts(valkey.url, secret=b"another installation's", feed=feed, hub=hub)
    async with listening(valkey.url) as heard, publishing(database, hub, valkey.url):
        await other.start()
        await append(database, 0)
        await heard.until(2)
        await other.stop()
    assert [event["data"]["n"] for event in heard.events] == [0, 0]


async def test_what_is_sent_again_after_a_lost_answer_is_not_published_again(
    database: Database, hub: EventHub, valkey: ValkeyServer
) -> None:
    server = RedisServer(valkey.url, installation="tests")
    publisher = RedisPublisher(server, feed=EventFeed(database=database, hub=hub), hub=hub)
    await append(database, 0)
    (event,) = await database.read(
        lambda connection: log.read_settled(
            connection, after=0, up_to=10, limit=10, resources=None, owner=None
        )
    )
    async with listening(valkey.url) as heard:
        for _ in range(3):
            state = await publisher._ask(believed=None, new=event.id, events=[event])
            assert state.leads
            assert state.position == event.id
        await publisher._ask(believed=event.id, new=event.id + 1, events=[event])
        await heard.until(2)
    assert len(heard.events) == 2
    await server.close()
