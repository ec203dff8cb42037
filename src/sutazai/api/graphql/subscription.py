"""What can be listened to."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

import strawberry

from sutazai import clock
from sutazai.api.graphql.arguments import execution_id_of, task_id_of
from sutazai.api.graphql.context import Context
from sutazai.api.graphql.nodes import node, subscription
from sutazai.api.graphql.objects import Event, Info, Task, task_of
from sutazai.api.graphql.scalars import Json, Moment
from sutazai.api.graphql.workflow_objects import Execution, execution_of
from sutazai.errors import SutazaiError, invalid
from sutazai.events import streams
from sutazai.events.streams import Reset, checked_patterns

_MOST_DIGITS = 18


@node
class Subscription:
    """Everything that can be listened to, over a WebSocket (graphql-transport-ws)."""

    @subscription
    async def events(
        self, info: Info, patterns: list[str] | None = None, since: strawberry.ID | None = None
    ) -> AsyncGenerator[Event, None]:
        """Events one may read, from now on or after the event `since`.

        `patterns` are event types with `*` for any text; all by default. An event of the type
        `reset` says that some after `since` are no longer kept.
        """
        context = info.context
        wanted = _patterns(["*"] if patterns is None else patterns)
        async with _subscribed(context, wanted, _event_id(since)) as place:
            while True:
                found = await place.next()
                if isinstance(found, Reset):
                    yield _told(found)
                    continue
                for event in found.events:
                    yield Event.of(event)

    @subscription
    async def task(self, info: Info, task_id: str) -> AsyncGenerator[Task, None]:
        """A task as it is now, and again whenever that has changed, until it has ended.

        Changes that come faster than they are read are told as one.
        """
        context = info.context
        wanted = task_id_of(task_id)
        # Subscribed before the first look, so that nothing happens between the two.
        async with _subscribed(context, ("task.*",), None) as place:
            told = None
            while True:
                context.renew()
                task = await task_of(context, wanted)
                if task != told:
                    yield Task.of(task)
                told = task
                if task.status.is_final:
                    return
                await _concerned(place, wanted)

    @subscription
    async def execution(self, info: Info, execution_id: str) -> AsyncGenerator[Execution, None]:
        """An execution as it is now, and again whenever something of it has, until it has ended.

        One's own, or any with `read` on workflows. Changes that come faster than they are read are
        told as one.
        """
        context = info.context
        wanted = execution_id_of(execution_id)
        async with _subscribed(context, ("workflow.*",), None) as place:
            while True:
                context.renew()
                execution = await execution_of(info, wanted)
                yield Execution.of(execution)
                if execution.status.is_final:
                    return
                await _concerned(place, wanted)


@contextlib.asynccontextmanager
async def _subscribed(
    context: Context, patterns: tuple[str, ...], after: int | None
) -> AsyncIterator[streams.Subscription]:
    subscribing = context.services.streams.subscribe(context.listener.sight, patterns, after=after)
    async with subscribing as place:
        context.subscription = place
        yield place


async def _concerned(place: streams.Subscription, name: str) -> None:
    """Wait for events about the task or the execution of this id."""
    while True:
        found = await place.next()
        if isinstance(found, Reset) or any(name in event.data for event in found.events):
            return


def _patterns(patterns: list[str]) -> tuple[str, ...]:
    try:
        return checked_patterns(patterns)
    except SutazaiError as error:
        raise invalid("patterns", error.details[0].message) from error


def _event_id(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise invalid("since", "Must be the id of an event, or 0 for all that are kept.")
    return int(text)


def _told(reset: Reset) -> Event:
    return Event(
        id=strawberry.ID(str(reset.position)),
        event_type="reset",
        timestamp=Moment(clock.now()),
        actor="system",
        request_id=None,
        data=Json({"since": reset.asked, "goes_on_after": reset.position}),
    )
