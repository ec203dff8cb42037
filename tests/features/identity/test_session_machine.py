"""Sessions against a model: whatever the order of calls, only live sessions open the door."""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sutazai.database import metadata
from sutazai.database.sqlite import SqliteDatabase, sqlite_engine
from sutazai.errors import SutazaiError
from sutazai.identity import store
from sutazai.identity.model import TokenPair
from sutazai.identity.passwords import Passwords
from sutazai.identity.service import Identity
from sutazai.identity.tokens import Tokens
from tests.features.identity.conftest import SECRET, Clock

T = TypeVar("T")

PASSWORDS = ("first password", "second password")
SOME = st.integers(min_value=0, max_value=1000)


class Model:
    """What a session should be: alive or not, and the pairs it gave out, the newest last."""

    def __init__(self, pair: TokenPair) -> None:
        self.alive = True
        self.pairs = [pair]


class Sessions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        path = Path(self.directory.name) / "test.db"
        engine = sqlite_engine(path)
        metadata.create_all(engine)
        engine.dispose()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.database = SqliteDatabase(path)
        self.identity = Identity(
            database=self.database,
            tokens=Tokens(secret=SECRET, now=self.clock),
            hasher=Passwords(memory_kib=8, time_cost=1, parallelism=1),
            now=self.clock,
        )
        self.sessions: list[Model] = []
        self.password = PASSWORDS[0]
        self.enabled = True
        made = self.identity.users.create(username="ada", password=self.password)
        self.user_id = self.runner.run(made).user_id

    def teardown(self) -> None:
        self.identity.close()
        self.runner.run(self.database.close())
        self.runner.close()
        self.directory.cleanup()

    def succeeds(self, call: Coroutine[Any, Any, object]) -> bool:
        return self.result(call) is not None

    def result(self, call: Coroutine[Any, Any, T]) -> T | None:
        try:
            return self.runner.run(call)
        except SutazaiError:
            return None

    def change(self, **values: Any) -> None:
        self.runner.run(self.identity.users.update(self.user_id, **values))

    def end_all(self) -> None:
        for session in self.sessions:
            session.alive = False

    @rule()
    def log_in(self) -> None:
        pair = self.result(self.identity.login("ada", self.password))
        assert (pair is not None) == self.enabled
        if pair is not None:
            self.sessions.append(Model(pair))

    @precondition(lambda self: self.sessions)
    @rule(which=SOME)
    def refresh(self, which: int) -> None:
        session = self.sessions[which % len(self.sessions)]
        pair = self.result(self.identity.refresh(session.pairs[-1].refresh_token))
        assert (pair is not None) == session.alive
        if pair is not None:
            session.pairs.append(pair)

    @precondition(lambda self: any(len(session.pairs) > 1 for session in self.sessions))
    @rule(which=SOME, age=SOME)
    def refresh_with_a_spent_token(self, which: int, age: int) -> None:
        rotated = [session for session in self.sessions if len(session.pairs) > 1]
        session = rotated[which % len(rotated)]
        spent = session.pairs[:-1]
        assert not self.succeeds(self.identity.refresh(spent[age % len(spent)].refresh_token))
        session.alive = False

    @precondition(lambda self: any(session.alive for session in self.sessions))
    @rule(which=SOME)
    def log_out(self, which: int) -> None:
        live = [session for session in self.sessions if session.alive]
        session = live[which % len(live)]
        token = session.pairs[0].access_token
        principal = self.runner.run(self.identity.authenticate(token))
        self.runner.run(self.identity.logout(principal))
        session.alive = False

    @rule(password=st.sampled_from(PASSWORDS))
    def change_password(self, password: str) -> None:
        self.change(password=password)
        self.password = password
        self.end_all()

    @rule(enabled=st.booleans())
    def enable_or_disable(self, enabled: bool) -> None:
        self.change(enabled=enabled)
        self.enabled = enabled
        if not enabled:
            self.end_all()

    @rule()
    def purge(self) -> None:
        self.runner.run(self.database.run(lambda c: store.purge(c, self.clock())))

    @rule()
    def let_the_cache_lapse(self) -> None:
        self.clock.advance(5)

    @invariant()
    def only_live_sessions_open_the_door(self) -> None:
        for session in self.sessions:
            for pair in session.pairs:
                assert self.succeeds(self.identity.authenticate(pair.access_token)) == session.alive


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
