import base64
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sutazai.clock import SECOND
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.identity.model import User
from sutazai.identity.service import Identity
from sutazai.identity.tokens import Tokens
from tests.features.identity.conftest import PASSWORD, SECRET, Clock

USER = User(
    user_id="user-1",
    username="ada",
    roles=("developer",),
    tier="free",
    enabled=True,
    created_at=0,
)


@pytest.fixture
async def genuine(identity: Identity) -> dict[str, Any]:
    """The claims of an access token that opens the door."""
    await identity.users.create(username="ada", password=PASSWORD)
    pair = await identity.login("ada", PASSWORD)
    claims: dict[str, Any] = jwt.decode(pair.access_token, options={"verify_signature": False})
    return claims


def signed(claims: dict[str, Any], *, algorithm: str = "HS256", secret: bytes = SECRET) -> str:
    return jwt.encode(claims, secret, algorithm=algorithm, sort_headers=False)


async def assert_refused(identity: Identity, token: str) -> None:
    with pytest.raises(SutazaiError) as caught:
        await identity.authenticate(token)
    assert caught.value.code is ErrorCode.UNAUTHORIZED


async def test_the_same_claims_signed_again_are_as_good(
    identity: Identity, genuine: dict[str, Any]
) -> None:
    assert (await identity.authenticate(signed(genuine))).username == "ada"


async def test_an_unsigned_token_is_refused(identity: Identity, genuine: dict[str, Any]) -> None:
    header, payload, signature = signed(genuine).split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    await assert_refused(identity, f"{none}.{payload}.")
    await assert_refused(identity, f"{none}.{payload}.{signature}")
    await assert_refused(identity, f"{header}.{payload}.")


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_another_algorithm_is_refused(
    identity: Identity, genuine: dict[str, Any], algorithm: str
) -> None:
    await assert_refused(identity, signed(genuine, algorithm=algorithm))


async def test_another_secret_is_refused(identity: Identity, genuine: dict[str, Any]) -> None:
    await assert_refused(identity, signed(genuine, secret=b"another secret of 32 bytes or more"))


async def test_a_tampered_token_is_refused(identity: Identity, genuine: dict[str, Any]) -> None:
    header, _, signature = signed(genuine).split(".")
    payload = signed(genuine | {"roles": ["admin"]}).split(".")[1]
    await assert_refused(identity, f"{header}.{payload}.{signature}")


async def test_a_genuine_token_does_not_make_an_admin_of_its_own_roles_claim(
    identity: Identity, genuine: dict[str, Any]
) -> None:
    principal = await identity.authenticate(
        signed(genuine | {"roles": ["admin"], "permissions": ["*"], "username": "root"})
    )
    assert principal.roles == ("user",)
    assert principal.username == "ada"
    assert not principal.is_admin


@pytest.mark.parametrize(
    "claim",
    ["sub", "username", "roles", "permissions", "iat", "exp", "iss", "jti", "sid", "use"],
)
async def test_a_missing_claim_is_refused(
    identity: Identity, genuine: dict[str, Any], claim: str
) -> None:
    del genuine[claim]
    await assert_refused(identity, signed(genuine))


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "somebody else"},
        {"exp": 1},
        {"exp": True},
        {"exp": "4000000000"},
        {"exp": 4e9},
        {"exp": None},
        {"use": "refresh"},
        {"use": None},
        {"sid": None},
        {"sid": ["sess-1"]},
        {"sid": "sess-unknown"},
        {"sid": "\0"},
        {"sub": "user-unknown"},
        {"sub": "x" * 5000},
    ],
)
async def test_a_wrong_claim_is_refused(
    identity: Identity, genuine: dict[str, Any], wrong: dict[str, Any]
) -> None:
    await assert_refused(identity, signed(genuine | wrong))


async def test_a_refresh_token_opens_no_door_and_an_access_token_refreshes_nothing(
    identity: Identity,
) -> None:
    await identity.users.create(username="ada", password=PASSWORD)
    pair = await identity.login("ada", PASSWORD)
    await assert_refused(identity, pair.refresh_token)
    with pytest.raises(SutazaiError) as caught:
        await identity.refresh(pair.access_token)
    assert caught.value.code is ErrorCode.UNAUTHORIZED
    # Neither mistake cost the session.
    await identity.authenticate(pair.access_token)
    await identity.refresh(pair.refresh_token)


def test_a_short_secret_is_refused_at_construction() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes, not 31"):
        Tokens(secret=b"x" * 31)


def test_lives_are_settings_and_expiry_is_to_the_second(clock: Clock) -> None:
    tokens = Tokens(secret=SECRET, access_seconds=10, refresh_seconds=20, now=clock)
    pair = tokens.issue(USER, session_id="s", refresh_id="r")
    assert pair.expires_in == 10
    clock.advance(9.999)
    assert tokens.read_access(pair.access_token).expires_at == 1_800_000_010 * SECOND
    clock.advance(0.001)
    with pytest.raises(SutazaiError, match="expired"):
        tokens.read_access(pair.access_token)
    assert tokens.read_refresh(pair.refresh_token).token_id == "r"
    clock.advance(10)
    with pytest.raises(SutazaiError, match="expired"):
        tokens.read_refresh(pair.refresh_token)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.text(),
        st.lists(st.text(st.characters(codec="ascii")), min_size=3, max_size=3).map(".".join),
        st.binary(max_size=60).map(lambda raw: f"{signed({})[:20]}.{raw.hex()}.{raw.hex()}"),
        st.dictionaries(st.text(), st.recursive(st.none() | st.text(), st.lists)).map(signed),
    )
)
def test_no_token_breaks_the_reader(token: str) -> None:
    with pytest.raises(SutazaiError) as caught:
        Tokens(secret=SECRET).read_access(token)
    assert caught.value.code is ErrorCode.UNAUTHORIZED
