"""Subscriptions: from any cursor on, in order, none twice, none lost, nobody held up."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from sutazai.database import Connection, Database
from sutazai.errors import SutazaiError
from sutazai.events import log, streams
from sutazai.events.feed import EventFeed
from sutazai.events.hub import EventHub
from sutazai.events.model import SYSTEM, NewEvent
from sutazai.events.streams import Batch, Closed, EventStreams, Reset, Sight, Subscription, TooSlow

pytestmark = pytest.mark.anyio

ALL = Sight(None, "nobody")
EVERYTHING = ("*",)
PATIENCE = 30


@pytest.fixture
async def fan(database: Database) -> AsyncIterator[EventStreams]:
    hub = EventHub(database)
    await hub.start()
    yield EventStreams(feed=EventFeed(database=database, hub=hub), hub=hub)
    await hub.stop()


def event(
    number: int, kind: str = "task.created", resource: str = "tasks", owner: str | None = None
) -> NewEvent:
    return NewEvent(kind, {"number": number}, SYSTEM, resource, owner)


async def write(database: Database, *events: NewEvent) -> None:
    def unit(connection: Connection) -> None:
        log.append(connection, events, now=1_000_000)

    await database.run(unit)


async def heard(subscription: Subscription, count: int) -> list[int]:
    """The ids of the next events, at least so many."""
    found: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            batch = await subscription.next()
            assert isinstance(batch, Batch)
            found += [one.id for one in batch.events]
    return found


async def types(subscription: Subscription, count: int) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            batch = await subscription.next()
            assert isinstance(batch, Batch)
            found += [one.event_type for one in batch.events]
    return found


async def test_a_new_subscriber_hears_what_comes_from_now_on(
    database: Database, fan: EventStreams
) -> None:
    async with fan.subscribe(ALL, EVERYTHING) as before:
        await write(database, event(0))
        await heard(before, 1)
    async with fan.subscribe(ALL, EVERYTHING) as subscription:
        start = subscription.position
        assert start > 0
        await write(database, event(1), event(2))
        ids = await heard(subscription, 2)
        # Who goes away before anything has come can resume from where it began.
        assert ids == [start + 1, start + 2]
        await write(database, event(3))
        assert len(await heard(subscription, 1)) == 1
    assert fan.subscribers == 0


async def test_an_old_cursor_gets_the_log_and_then_what_comes(
    database: Database, fan: EventStreams
) -> None:
    await write(database, *[event(n) for n in range(1_200)])
    async with fan.subscribe(ALL, EVERYTHING, after=0) as subscription:
        before = await heard(subscription, 1_200)
        await write(database, event(1))
        after = await heard(subscription, 1)
    ids = before + after
    assert ids == sorted(set(ids))
    assert len(ids) == 1_201


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_is_lost_or_told_twice_on_the_way_from_the_log_to_live(
    database: Database, fan: EventStreams, seed: int
) -> None:
    chance = random.Random(seed)
    total = 600

    async def work(part: int) -> None:
        for number in range(total // 3):
            await write(database, event(part * 1_000 + number))

    async def follow(after: int) -> list[int]:
        """Reads, and is cut off at random, until the log's end."""
        ids: list[int] = []
        while len(ids) < total - after:
            cursor = ids[-1] if ids else after
            async with fan.subscribe(ALL, EVERYTHING, after=cursor) as subscription:
                for _ in range(chance.randrange(1, 30)):
                    batch = await subscription.next()
                    assert isinstance(batch, Batch)
                    ids += [one.id for one in batch.events]
                    if len(ids) >= total - after:
                        break
        return ids

    async with asyncio.timeout(PATIENCE * 2):
        followers = [asyncio.create_task(follow(0)) for _ in range(5)]
        await asyncio.gather(*map(work, range(3)))
        for ids in await asyncio.gather(*followers):
            assert ids == sorted(set(ids))
            assert len(ids) == total


async def test_patterns_select(database: Database, fan: EventStreams) -> None:
    async with fan.subscribe(ALL, ("agent.*", "task.completed")) as subscription:
        for kind in ("task.created", "agent.online", "task.completed", "agentic", "agent.offline"):
            await write(database, event(0, kind))
        assert await types(subscription, 3) == ["agent.online", "task.completed", "agent.offline"]
        subscription.select(("task.created",))
        await write(database, event(0, "agent.online"), event(0, "task.created"))
        assert await types(subscription, 1) == ["task.created"]


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("*", ["a.b", "a.bc", "b.a.b"]),
        ("a.*", ["a.b", "a.bc"]),
        ("*.b", ["a.b", "b.a.b"]),
        ("*a*b*", ["a.b", "a.bc", "b.a.b"]),
        ("a.*b", ["a.b"]),
        ("a.b*b", []),
        ("**.**", ["a.b", "a.bc", "b.a.b"]),
        ("a.b", ["a.b"]),
        # A backtracking matcher would be at this one for longer than there is time.
        ("*" * 63 + "x", []),
        ("*." * 31 + "x", []),
    ],
)
async def test_a_star_stands_for_any_text(
    database: Database, fan: EventStreams, pattern: str, chosen: list[str]
) -> None:
    kinds = ("a.b", "a.bc", "b.a.b")
    async with fan.subscribe(ALL, (pattern, "end")) as subscription:
        await write(database, *(event(0, kind) for kind in kinds), event(0, "end"))
        assert await types(subscription, len(chosen) + 1) == [*chosen, "end"]


async def test_events_that_are_no_longer_wanted_take_no_room(
    database: Database, fan: EventStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_QUEUED_BYTES", 400)  # some 12 bytes an event
    async with fan.subscribe(ALL, EVERYTHING) as slow, fan.subscribe(ALL, EVERYTHING) as fast:
        for _ in range(4):
            slow.select(("a.*",))
            await write(database, *(event(0, "a.x") for _ in range(20)))
            await heard(fast, 20)
            slow.select(("b.*",))
        await write(database, event(0, "b.x"))
        assert await types(slow, 1) == ["b.x"]


@pytest.mark.parametrize("after", [None, 0])
async def test_what_a_reader_may_not_see_never_reaches_it(
    database: Database, fan: EventStreams, after: int | None
) -> None:
    sight = Sight(frozenset({"tasks"}), "me")
    async with fan.subscribe(sight, EVERYTHING, after=after) as subscription:
        await write(database, event(0, "user.updated", "users", "somebody else"))
        await write(database, event(0, "agent.online", "agents"))
        await write(database, event(0, "user.created", "users", "me"))
        await write(database, event(0, "task.created", "tasks", "somebody else"))
        assert await types(subscription, 2) == ["user.created", "task.created"]
        subscription.sight = Sight(frozenset(), "me")
        await write(database, event(0, "task.created", "tasks"))
        await write(database, event(0, "user.deleted", "users", "me"))
        assert await types(subscription, 1) == ["user.deleted"]


async def test_the_position_moves_past_what_was_not_for_it(
    database: Database, fan: EventStreams
) -> None:
    async with (
        fan.subscribe(ALL, ("workflow.*",)) as quiet,
        fan.subscribe(ALL, EVERYTHING) as other,
    ):
        waiting = asyncio.create_task(quiet.next())
        await asyncio.sleep(0)  # it begins to wait
        await write(database, event(1), event(2))
        newest = (await heard(other, 2))[-1]
        assert quiet.position == newest
        waiting.cancel()


async def test_a_cursor_older_than_what_is_kept_is_told(
    database: Database, fan: EventStreams
) -> None:
    await write(database, *[event(n) for n in range(10)])
    async with fan.subscribe(ALL, EVERYTHING, after=0) as subscription:
        ids = await heard(subscription, 10)
    await database.run(
        lambda connection: (
            connection.execute(log.EVENTS.delete().where(log.EVENTS.c.id <= ids[4])).rowcount
        )
    )
    async with fan.subscribe(ALL, EVERYTHING, after=ids[1]) as subscription:
        assert await subscription.next() == Reset(ids[1], ids[4])
        assert await heard(subscription, 5) == ids[5:]
    async with fan.subscribe(ALL, EVERYTHING, after=ids[4]) as subscription:
        assert await heard(subscription, 5) == ids[5:]
    async with fan.subscribe(ALL, EVERYTHING, after=ids[-1] + 1_000) as subscription:
        assert await subscription.next() == Reset(ids[-1] + 1_000, ids[4])
        assert await heard(subscription, 5) == ids[5:]


async def test_a_slow_subscriber_is_cut_off_and_resumes(
    database: Database, fan: EventStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_QUEUED", 50)
    async with fan.subscribe(ALL, EVERYTHING) as slow, fan.subscribe(ALL, EVERYTHING) as fast:
        await write(database, event(0))
        first = await heard(slow, 1)
        everything = await heard(fast, 1)
        for number in range(6):
            await write(database, *[event(number) for _ in range(20)])
            everything += await heard(fast, 20)
        # What it had queued is given up, so that it holds no memory.
        assert len(slow._queue) == 0
        with pytest.raises(TooSlow) as cut:
            await slow.next()
        assert cut.value.position == first[-1]
    async with fan.subscribe(ALL, EVERYTHING, after=cut.value.position) as again:
        assert first + await heard(again, 120) == everything


async def test_who_is_behind_is_never_cut_off(
    database: Database, fan: EventStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_QUEUED", 50)
    await write(database, *[event(n) for n in range(700)])
    async with fan.subscribe(ALL, EVERYTHING, after=0) as subscription:
        ids = await heard(subscription, 1)
        for _ in range(6):
            await write(database, *[event(0) for _ in range(20)])
        ids += await heard(subscription, 820 - len(ids))
    assert ids == sorted(set(ids))
    assert len(ids) == 820


@pytest.mark.parametrize("at_once", [500, 20])
async def test_who_waits_is_not_cut_off_by_more_than_a_queue_at_once(
    database: Database, fan: EventStreams, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(streams, "MOST_QUEUED", 50)
    monkeypatch.setattr(streams, "_MOST_AT_ONCE", at_once)
    async with fan.subscribe(ALL, EVERYTHING) as subscription:
        for _ in range(3):
            waiting = asyncio.create_task(heard(subscription, 100))
            async with asyncio.timeout(PATIENCE):
                while not subscription._idle:  # noqa: ASYNC110  # it tells nobody that it waits
                    await asyncio.sleep(0)
            await write(database, *[event(n) for n in range(100)])
            ids = await waiting
            assert ids == list(range(ids[0], ids[0] + 100))


@pytest.mark.parametrize("sinks", [False, True])
async def test_no_more_than_a_little_is_handed_out_at_once(
    database: Database, fan: EventStreams, *, sinks: bool
) -> None:
    sizes: list[int] = []
    ids: list[int] = []

    def take(batch: Batch) -> bool:
        sizes.append(batch.size)
        ids.extend(one.id for one in batch.events)
        return True

    large = NewEvent("task.output", {"text": "x" * 2_000}, SYSTEM, "tasks", None)
    async with fan.subscribe(ALL, EVERYTHING) as subscription:
        if sinks:  # which takes every other batch, as one whose client is now and then behind
            subscription.sink = lambda batch: len(sizes) % 2 == 0 and take(batch)
        await write(database, *[large for _ in range(100)])
        async with asyncio.timeout(PATIENCE):
            while len(ids) < 100:
                batch = await subscription.next()
                assert isinstance(batch, Batch)
                take(batch)
    assert ids == list(range(ids[0], ids[0] + 100))
    assert max(sizes) <= 64 * 1024


async def test_a_sink_gets_what_comes_while_its_subscriber_waits(
    database: Database, fan: EventStreams
) -> None:
    took: list[int] = []
    got = asyncio.Event()

    def sink(batch: Batch) -> bool:
        if len(took) >= 2:
            return False
        took.extend(one.id for one in batch.events)
        if len(took) == 2:
            got.set()
        return True

    async with fan.subscribe(ALL, EVERYTHING) as subscription:
        subscription.sink = sink
        waiting = asyncio.create_task(subscription.next())
        await asyncio.sleep(0)  # it begins to wait
        await write(database, event(1), event(2))
        async with asyncio.timeout(PATIENCE):
            await got.wait()
        assert not waiting.done()
        assert subscription.position == took[-1]
        await write(database, event(3))
        async with asyncio.timeout(PATIENCE):
            batch = await waiting
        assert isinstance(batch, Batch)
        assert [one.id for one in batch.events] > took


async def test_an_event_is_encoded_once_for_all(database: Database, fan: EventStreams) -> None:
    encoded: list[int] = []

    def encode(one: object) -> bytes:
        encoded.append(1)
        return b"x"

    async with fan.subscribe(ALL, EVERYTHING) as one, fan.subscribe(ALL, ("task.*",)) as other:
        await write(database, event(1), event(2))
        for subscription in (one, other):
            batch = await subscription.next()
            assert isinstance(batch, Batch)
            assert batch.joined(encode) == b"xx"
    assert len(encoded) == 2


async def test_closing_ends_every_subscription_and_admits_no_more(fan: EventStreams) -> None:
    async with fan.subscribe(ALL, EVERYTHING) as subscription:
        waiting = asyncio.create_task(subscription.next())
        await asyncio.sleep(0)  # it begins to wait
        fan.close()
        with pytest.raises(Closed):
            await waiting
    with pytest.raises(SutazaiError, match="stopping"):
        async with fan.subscribe(ALL, EVERYTHING):
            pass


@pytest.mark.parametrize(
    "patterns", [["TASK.*"], ["task.?"], ["a" * 65], [""], ["task.created\n"], ["x"] * 51, ["ä"]]
)
def test_other_patterns_are_refused(patterns: list[str]) -> None:
    with pytest.raises(SutazaiError) as refused:
        streams.checked_patterns(patterns)
    assert refused.value.details[0].field == "events"


async def test_the_more_resume_at_once_the_less_of_the_log_each_of_them_holds(
    database: Database, fan: EventStreams
) -> None:
    await write(database, *(event(number) for number in range(600)))
    async with contextlib.AsyncExitStack() as stack:
        many = [
            await stack.enter_async_context(fan.subscribe(ALL, EVERYTHING, after=0))
            for _ in range(100)
        ]
        first = [await one.next() for one in many]
        assert sum(len(one.events) for one in first if isinstance(one, Batch)) <= 4_000
        assert isinstance(first[0], Batch)
        ids = [one.id for one in first[0].events]
        ids += await heard(many[0], 600 - len(ids))
        assert ids == list(range(ids[0], ids[0] + 600))
    async with fan.subscribe(ALL, EVERYTHING, after=0) as alone:
        batch = await alone.next()
        assert isinstance(batch, Batch)
        assert len(batch.events) == 500
