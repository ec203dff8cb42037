"""`rig`: an engine on either database."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from sutazai.database import Database
from tests.conformance.rig import Rig


@pytest.fixture
async def rig(database: Database) -> AsyncIterator[Rig]:
    """No worker runs yet."""
    async with contextlib.AsyncExitStack() as stack:
        yield Rig(database, stack)
