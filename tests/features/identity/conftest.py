from collections.abc import Callable, Iterator

import pytest

from sutazai.clock import SECOND
from sutazai.database import Connection, Database
from sutazai.identity.hooks import Change
from sutazai.identity.model import Principal
from sutazai.identity.passwords import Passwords
from sutazai.identity.service import Identity
from sutazai.identity.tokens import Tokens

SECRET = b"a secret of the tests, 32 bytes or more"
PASSWORD = "correct horse battery"


class Clock:
    """A clock that stands until it is told to move."""

    def __init__(self) -> None:
        self.time = 1_800_000_000 * SECOND

    def __call__(self) -> int:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += int(seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changes() -> list[Change]:
    """What was told of every change, in order."""
    return []


MakeIdentity = Callable[[], Identity]


@pytest.fixture
def make_identity(
    database: Database, clock: Clock, changes: list[Change]
) -> Iterator[MakeIdentity]:
    """Makes services on the one database, as several processes would have them."""
    made: list[Identity] = []

    def record(_connection: Connection, change: Change) -> None:
        changes.append(change)

    def make() -> Identity:
        made.append(
            Identity(
                database=database,
                tokens=Tokens(secret=SECRET, now=clock),
                hasher=Passwords(memory_kib=8, time_cost=1, parallelism=1),
                on_change=record,
                now=clock,
            )
        )
        return made[-1]

    yield make
    for identity in made:
        identity.close()


@pytest.fixture
async def identity(make_identity: MakeIdentity) -> Identity:
    return make_identity()


async def principal_of(identity: Identity, username: str) -> Principal:
    """Make a user with the role `user` and log in."""
    await identity.users.create(username=username, password=PASSWORD)
    pair = await identity.login(username, PASSWORD)
    return await identity.authenticate(pair.access_token)
