"""Callbacks with an engine of their own, a clock that is not waited for, and names of our own."""

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import insert

from sutazai import ids
from sutazai.adapters.outbound import CallbackSender
from sutazai.callbacks import courier as jobs
from sutazai.callbacks import store
from sutazai.callbacks.courier import Courier
from sutazai.callbacks.guard import AddressGuard
from sutazai.callbacks.lanes import Lanes
from sutazai.callbacks.model import Delivery, DeliveryFilter, DeliveryStatus
from sutazai.callbacks.secrets import Secrets
from sutazai.callbacks.service import Callbacks
from sutazai.database import Connection, Database
from sutazai.engine.rescuer import Rescuer
from sutazai.engine.scheduler import Scheduler
from sutazai.engine.worker import Worker
from sutazai.events.model import SYSTEM
from sutazai.identity.store import USERS
from sutazai.limits.idempotency import Idempotency
from sutazai.tasks.model import TaskEnded, TaskError, TaskStatus
from tests.features.callbacks.receiver import PATIENCE, Receiver

SECRET = b"a secret of the server, 32 bytes"
SOON = (20_000,) * 9
"""As many attempts as in earnest, with 20 ms between them."""
LOOPBACK = ("127.0.0.0/8",)


class Names:
    """A resolver: the addresses of each name in turn, the last of them for ever."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.addresses:
            raise OSError(f"{host} is not known")
        turns = self.addresses[host]
        return turns.pop(0) if len(turns) > 1 else turns[0]


class Rig:
    """Callbacks, the worker that sends them, and a receiver; owned by the user `user-1`."""

    def __init__(
        self,
        database: Database,
        stack: contextlib.AsyncExitStack,
        receiver: Receiver,
        *,
        delays: tuple[int, ...] = SOON,
        allow: Sequence[str] = LOOPBACK,
        seconds: float = 20.0,
        secret: bytes = SECRET,
        lanes: Lanes | None = None,
        keep: int = 0,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        self.database = database
        self.receiver = receiver
        self.names = Names()
        self.guard = AddressGuard(resolve=self.names, allow=allow)
        sender = CallbackSender(self.guard, version="test", seconds=seconds, ssl_context=trusted)
        stack.push_async_callback(sender.close)
        self.secrets = Secrets(secret=secret)
        self.courier = Courier(
            database=database, secrets=self.secrets, send=sender, delays=delays, lanes=lanes
        )
        self.callbacks = Callbacks(
            database=database, secrets=self.secrets, courier=self.courier, keep=keep
        )
        self._idempotency = Idempotency(secret=secret)
        self._stack = stack
        self.workers: list[Worker] = []

    async def start(self) -> None:
        """Have deliveries sent from now on."""
        handlers = {jobs.KIND: self.courier}
        for part in (
            Scheduler(database=self.database, handlers=handlers),
            Rescuer(database=self.database, handlers=handlers, interval_seconds=0.2),
        ):
            await part.start()
            self._stack.push_async_callback(part.stop)
        worker = Worker(
            database=self.database,
            worker_id=ids.new_id("worker"),
            handlers=handlers,
            consumers=[jobs.CONSUMER],
            lease_seconds=60,
        )
        await worker.start()
        self._stack.push_async_callback(worker.stop, drain_seconds=0)
        self.workers.append(worker)

    async def end(self, url: str | None = None, **fields: Any) -> str:
        """Let a task of the user end; its delivery's id."""
        usual: dict[str, Any] = {
            "task_id": ids.new_uuid(),
            "type": "ping",
            "status": TaskStatus.COMPLETED,
            "submitted_by": "user-1",
            "callback_url": url or self.receiver.url(),
            "result": '{"answer":42}',
        }
        ended = TaskEnded(**{**usual, **fields})
        await self.database.run(partial(self.callbacks.on_task_ended, over=[ended]))
        return (await self.deliveries(task_id=ended.task_id))[0].delivery_id

    async def fail(self, message: str) -> str:
        """Let a task fail."""
        error = TaskError("INTERNAL_ERROR", message)
        return await self.end(status=TaskStatus.FAILED, error=error, result=None)

    async def deliveries(self, **wanted: Any) -> list[Delivery]:
        """What is in the log."""
        page = await self.callbacks.list_deliveries(DeliveryFilter(**wanted), limit=100)
        return page.deliveries

    async def delivery(self, delivery_id: str) -> Delivery:
        """One delivery as it is now."""
        found = await self.database.read(partial(store.get, delivery_id=delivery_id))
        assert found is not None
        return found

    async def over(self, delivery_id: str) -> Delivery:
        """A delivery once nothing more is tried."""
        return await self.after(delivery_id, ended=True)

    async def after(self, delivery_id: str, *, attempts: int = 0, ended: bool = False) -> Delivery:
        """A delivery once so many attempts are logged, or once it is over."""
        async with asyncio.timeout(PATIENCE):
            while True:
                delivery = await self.delivery(delivery_id)
                is_over = delivery.status is not DeliveryStatus.PENDING
                if is_over if ended else len(delivery.attempts) >= attempts:
                    return delivery
                await asyncio.sleep(0.01)  # asks again; the log announces nothing

    async def rotate(self) -> str:
        """A new secret of the user."""
        once = self._idempotency.replayable(None)
        made = await self.callbacks.rotate_secret("user-1", origin=SYSTEM, replay=once)
        return made.secret

    async def replay(self, delivery_id: str) -> Delivery:
        """Send again."""
        once = self._idempotency.replayable(None)
        return await self.callbacks.replay(delivery_id, user_id="user-1", replay=once)


def add_user(connection: Connection, user_id: str = "user-1") -> None:
    """An account that deliveries can belong to."""
    connection.execute(
        insert(USERS),
        {
            "user_id": user_id,
            "username": user_id,
            "username_key": user_id,
            "password_hash": "",
            "roles": "user",
            "tier": "free",
            "enabled": True,
            "created_at": 0,
        },
    )
