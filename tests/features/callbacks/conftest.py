"""`rig`: callbacks of a user on both databases, sent to a receiver that tests instruct."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sutazai.database import Database
from tests.features.callbacks.receiver import Receiver, receiving
from tests.features.callbacks.rig import Rig, add_user

Rigged = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who listens."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def rigged(database: Database, receiver: Receiver) -> AsyncIterator[Rigged]:
    """Makes a rig whose deliveries are sent from now on; its arguments are those of `Rig`."""
    await database.run(add_user)
    async with contextlib.AsyncExitStack() as stack:

        async def make(**options: Any) -> Rig:
            rig = Rig(database, stack, receiver, **options)
            await rig.start()
            return rig

        yield make


@pytest.fixture
async def rig(rigged: Rigged) -> Rig:
    """The usual one."""
    return await rigged()
