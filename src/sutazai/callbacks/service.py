"""What users do with callbacks, and what a task's end does for them."""

from collections.abc import Sequence
from functools import partial
from urllib.parse import urlsplit

from sutazai import clock, ids
from sutazai.callbacks import store
from sutazai.callbacks.courier import Courier, Ticket
from sutazai.callbacks.model import (
    Delivery,
    DeliveryFilter,
    DeliveryPage,
    DeliveryStatus,
    NewSecret,
    body_of,
)
from sutazai.callbacks.secrets import Secrets
from sutazai.database import Connection, Database
from sutazai.engine import store as jobs
from sutazai.errors import ErrorCode, SutazaiError, not_found
from sutazai.events import log
from sutazai.events.model import NewEvent, Origin
from sutazai.limits.idempotency import Replayable
from sutazai.tasks.model import TaskEnded


class Callbacks:
    """Secrets, the log of deliveries, and sending one again."""

    def __init__(
        self,
        *,
        database: Database,
        secrets: Secrets,
        courier: Courier,
        keep: int,
        public_url: str = "",
    ) -> None:
        """`keep` is how long (µs) deliveries that have ended stay in the log.

        `public_url` begins the links in messages; without it they begin with `/api`.
        """
        self._database = database
        self._secrets = secrets
        self._courier = courier
        self._keep = keep
        self._public_url = public_url.rstrip("/")

    def on_task_ended(self, connection: Connection, over: Sequence[TaskEnded]) -> None:
        """The hook of tasks' ends: in their transaction, have their callbacks delivered."""
        for ended in over:
            self._deliver(connection, ended)

    def _deliver(self, connection: Connection, ended: TaskEnded) -> None:
        if ended.callback_url is None:
            return
        now = clock.now()
        delivery = Delivery(
            delivery_id=ids.new_uuid(),
            task_id=ended.task_id,
            user_id=ended.submitted_by,
            url=ended.callback_url,
            status=DeliveryStatus.PENDING,
            attempts=(),
            created_at=now,
            next_attempt_at=now,
            ended_at=None,
        )
        store.add(connection, delivery, body_of(ended, public_url=self._public_url))
        job = self._courier.job(_ticket(delivery), traceparent=ended.traceparent)
        jobs.enqueue(connection, [job])

    async def rotate_secret(self, user_id: str, *, origin: Origin, replay: Replayable) -> NewSecret:
        """A new secret for the user's callbacks; the one before signs beside it for a day."""

        def make(connection: Connection) -> NewSecret:
            now = clock.now()
            made = self._secrets.rotate(connection, user_id, now=now)
            data = {"user_id": user_id}
            event = NewEvent("callback_secret.created", data, origin, "users", user_id)
            log.append(connection, [event], now=now)
            return made

        return await self._database.run(
            lambda connection: replay(connection, NewSecret, partial(make, connection))
        )

    async def list_deliveries(
        self, wanted: DeliveryFilter, *, limit: int, cursor: str | None = None
    ) -> DeliveryPage:
        """A page of deliveries with their attempts, newest first."""
        found = await self._database.read(
            partial(store.page, wanted=wanted, limit=limit + 1, before=cursor)
        )
        more = len(found) > limit
        found = found[:limit]
        return DeliveryPage(found, found[-1].delivery_id if more else None)

    async def replay(
        self, delivery_id: str, *, user_id: str | None, replay: Replayable
    ) -> Delivery:
        """Send a delivery that has ended again, with the whole schedule before it.

        `user_id` limits it to that user's. NOT_FOUND without it; CONFLICT while it is pending.
        """
        return await self._database.run(
            lambda connection: replay(
                connection, Delivery, partial(self._replay, connection, delivery_id, user_id)
            )
        )

    def _replay(self, connection: Connection, delivery_id: str, user_id: str | None) -> Delivery:
        now = clock.now()
        known = store.get(connection, delivery_id)
        if known is None or user_id not in (None, known.user_id):
            raise not_found("delivery", delivery_id)
        # The job first: the order in which the engine takes its locks.
        jobs.enqueue_unless_there(connection, self._courier.job(_ticket(known), run_at=now))
        locked = store.lock(connection, delivery_id)
        if locked is None:
            raise not_found("delivery", delivery_id)
        if locked.status is DeliveryStatus.PENDING:
            message = "The delivery is still pending; it is sent again by itself."
            raise SutazaiError(ErrorCode.CONFLICT, message)
        store.enable(connection, known.user_id, known.url)
        store.set_status(
            connection, delivery_id, DeliveryStatus.PENDING, next_attempt_at=now, ended_at=None
        )
        after = store.get(connection, delivery_id)
        assert after is not None  # locked
        return after

    def purge(self, connection: Connection) -> int:
        """Inside a unit: forget some deliveries that ended long ago; how many, 0 when done."""
        return store.purge(connection, before=clock.now() - self._keep)


def _ticket(delivery: Delivery) -> Ticket:
    return Ticket(delivery.delivery_id, urlsplit(delivery.url).hostname or "", delivery.user_id)
