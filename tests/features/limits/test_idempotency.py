import asyncio
from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sutazai.clock import SECOND
from sutazai.database import Connection, Database
from sutazai.database.postgresql import PostgresqlDatabase, postgresql_engine
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.limits.idempotency import HEADER, Claim, Idempotency, Once, Replayable, parse_key

SECRET = b"a secret of the tests, 32 bytes or more"


class Answer(msgspec.Struct):
    number: int
    token: str


class Maker:
    """Counts how often it was asked to make an answer."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> Answer:
        self.made += 1
        return Answer(self.made, f"secret-{self.made}")


@pytest.fixture
def idempotency() -> Idempotency:
    return Idempotency(secret=SECRET)


def claim_of(
    idempotency: Idempotency,
    key: str = "k-1",
    *,
    principal: str = "user-1",
    path: str = "/api/v1/tasks",
    body: bytes = b"{}",
) -> Claim:
    claim = idempotency.claim(key, principal=principal, method="POST", path=path, body=body)
    assert claim is not None
    return claim


async def run(
    database: Database,
    idempotency: Idempotency,
    claim: Claim | None,
    make: Maker,
    *,
    seal: bool = False,
) -> Once[Answer]:
    return await database.run(
        lambda connection: idempotency.once(connection, claim, Answer, make, seal=seal)
    )


@pytest.mark.parametrize("seal", [False, True])
async def test_the_same_request_gets_the_same_answer(
    database: Database, idempotency: Idempotency, seal: bool
) -> None:
    make = Maker()
    claim = claim_of(idempotency)
    first = await run(database, idempotency, claim, make, seal=seal)
    again = await run(database, Idempotency(secret=SECRET), claim, make, seal=seal)
    assert first == Once(Answer(1, "secret-1"), replayed=False)
    assert again == Once(Answer(1, "secret-1"), replayed=True)
    assert make.made == 1


async def test_without_a_key_everything_is_made_anew(
    database: Database, idempotency: Idempotency
) -> None:
    make = Maker()
    assert idempotency.claim(None, principal="u", method="POST", path="/", body=b"") is None
    for number in (1, 2):
        once = await run(database, idempotency, None, make)
        assert once == Once(Answer(number, f"secret-{number}"), replayed=False)


async def test_one_key_belongs_to_one_principal_and_path(
    database: Database, idempotency: Idempotency
) -> None:
    make = Maker()
    for claim in (
        claim_of(idempotency),
        claim_of(idempotency, principal="user-2"),
        claim_of(idempotency, path="/api/v1/users"),
        claim_of(idempotency, "k-2"),
    ):
        assert not (await run(database, idempotency, claim, make)).replayed
    assert make.made == 4


async def test_another_body_under_the_same_key_is_refused(
    database: Database, idempotency: Idempotency
) -> None:
    make = Maker()
    await run(database, idempotency, claim_of(idempotency), make)
    with pytest.raises(SutazaiError) as caught:
        await run(database, idempotency, claim_of(idempotency, body=b'{"a":1}'), make)
    assert caught.value.code is ErrorCode.VALIDATION_ERROR
    assert caught.value.details[0].field == HEADER
    assert make.made == 1


async def test_a_failure_is_not_kept(database: Database, idempotency: Idempotency) -> None:
    claim = claim_of(idempotency)

    def fail() -> Answer:
        raise SutazaiError(ErrorCode.CONFLICT, "no")

    with pytest.raises(SutazaiError, match="no"):
        await database.run(lambda connection: idempotency.once(connection, claim, Answer, fail))
    assert not (await run(database, idempotency, claim, Maker())).replayed


async def test_concurrent_requests_make_one_answer(
    database: Database, idempotency: Idempotency
) -> None:
    make = Maker()
    claim = claim_of(idempotency)
    answers = await asyncio.gather(
        *(run(database, idempotency, claim, make) for _ in range(20)), return_exceptions=True
    )
    made = [answer for answer in answers if isinstance(answer, Once) and not answer.replayed]
    assert len(made) == make.made == 1
    for answer in answers:
        if isinstance(answer, SutazaiError):
            assert answer.code is ErrorCode.CONFLICT
            assert answer.retry_after == 1
        else:
            assert isinstance(answer, Once)
            assert answer.value == made[0].value


async def test_a_first_request_that_still_runs_is_a_conflict(
    postgres_url: str, idempotency: Idempotency
) -> None:
    """On PostgreSQL, where units run side by side; the first waits at a gate of the test's."""
    database = PostgresqlDatabase(postgres_url)
    gate = postgresql_engine(postgres_url, size=1)
    claim = claim_of(idempotency)
    at_the_gate = asyncio.Event()

    def unit(connection: Connection) -> Once[Answer]:
        def make() -> Answer:
            at_the_gate.set()
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1)")
            return Answer(1, "first")

        return idempotency.once(connection, claim, Answer, make)

    async with gate.connect() as keeper:
        await keeper.exec_driver_sql("SELECT pg_advisory_lock(1)")
        first = asyncio.create_task(database.run(unit))
        await at_the_gate.wait()
        with pytest.raises(SutazaiError) as caught:
            await run(database, idempotency, claim, Maker())
        assert caught.value.code is ErrorCode.CONFLICT
        assert caught.value.retry_after == 1
        await keeper.exec_driver_sql("SELECT pg_advisory_unlock(1)")
    assert await first == Once(Answer(1, "first"), replayed=False)
    assert (await run(database, idempotency, claim, Maker())).replayed
    await gate.dispose()
    await database.close()


async def test_a_sealed_answer_and_the_body_cannot_be_read_in_the_table(
    database: Database, idempotency: Idempotency
) -> None:
    body = b'{"username": "ada", "password": "correct horse"}'
    await run(database, idempotency, claim_of(idempotency, body=body), Maker(), seal=True)
    rows = await database.read(
        lambda connection: connection.exec_driver_sql("SELECT * FROM idempotency_keys").all()
    )
    assert len(rows) == 1
    assert "secret-1" not in repr(rows)
    assert "horse" not in repr(rows)


def test_a_body_cannot_be_guessed_from_its_digest_without_the_secret() -> None:
    one = claim_of(Idempotency(secret=SECRET))
    other = claim_of(Idempotency(secret=SECRET[::-1]))
    assert one.claim_id == other.claim_id
    assert one.body_digest != other.body_digest


async def test_an_answer_sealed_under_a_former_secret_asks_for_a_new_key(
    database: Database, idempotency: Idempotency
) -> None:
    claim = claim_of(idempotency)
    await run(database, idempotency, claim, Maker(), seal=True)
    with pytest.raises(SutazaiError) as caught:
        await run(database, Idempotency(secret=b"x" * 32), claim, Maker(), seal=True)
    assert caught.value.code is ErrorCode.CONFLICT


async def test_answers_are_kept_a_day_and_then_purged(database: Database) -> None:
    time = [1_800_000_000 * SECOND]
    idempotency = Idempotency(secret=SECRET, now=lambda: time[0])
    claim = claim_of(idempotency)
    await run(database, idempotency, claim, Maker())
    time[0] += 24 * 3600 * SECOND
    assert await database.run(idempotency.purge) == 0
    assert (await run(database, idempotency, claim, Maker())).replayed
    time[0] += 1
    assert await database.run(idempotency.purge) == 1
    assert not (await run(database, idempotency, claim, Maker())).replayed


async def test_a_service_takes_it_as_a_function_and_the_replay_shows(
    database: Database, idempotency: Idempotency
) -> None:
    make = Maker()
    claim = claim_of(idempotency)

    def service(connection: Connection, once: Replayable) -> Answer:
        return once(connection, Answer, make)

    for replayed in (False, True):
        once = idempotency.replayable(claim, seal=True)
        answer = await database.run(partial(service, once=once))
        assert answer == Answer(1, "secret-1")
        assert once.replayed is replayed


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ('"8e03978e-40d5"', "8e03978e-40d5"),
        ("8e03978e-40d5", "8e03978e-40d5"),
        (' "a b" ', "a b"),
        (r'"say \"hi\" \\"', r'say "hi" \ '.strip()),
        ("x" * 255, "x" * 255),
    ],
)
def test_a_key_comes_quoted_or_bare(header: str, key: str) -> None:
    assert parse_key(header) == key


@pytest.mark.parametrize(
    "header",
    [
        "",
        '""',
        '"',
        '"open',
        "two words",
        "x" * 256,
        '"' + "x" * 256 + '"',
        "é",
        "a\0b",
        'a"b',
        "a\\",
    ],
)
def test_a_malformed_key_is_told_apart(header: str) -> None:
    with pytest.raises(SutazaiError) as caught:
        parse_key(header)
    assert caught.value.code is ErrorCode.VALIDATION_ERROR
    assert [detail.field for detail in caught.value.details] == [HEADER]


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255))
def test_every_printable_key_survives_being_quoted(key: str) -> None:
    quoted = key.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_key(f'"{quoted}"') == key


@given(st.text(max_size=300))
def test_any_header_gives_a_key_or_the_error(header: str) -> None:
    try:
        length = len(parse_key(header))
    except SutazaiError:
        length = 1
    assert 1 <= length <= 255
