"""Tokens that were made up, altered or outlived: none of them opens anything."""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.api.server import PASSWORD, Server, client_of, error_of, log_in

Claims = dict[str, Any]


@pytest.fixture
def secret(server_database: tuple[Path, str | None]) -> bytes:
    """What the server signs with, for showing that it is not the signature alone that counts."""
    data_dir, _ = server_database
    [path] = data_dir.glob("jwt_secret*")
    return path.read_bytes().strip()


@pytest.fixture
async def claims(server: Server) -> Claims:
    """Those of a session that stands."""
    token = await log_in(server.anonymous, "the-user", PASSWORD)
    decoded: Claims = jwt.decode(token, options={"verify_signature": False})
    return decoded


def signed(claims: Claims, secret: bytes, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, secret, algorithm=algorithm)


def unsigned(claims: Claims, algorithm: str) -> str:
    parts = ({"alg": algorithm, "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join([*(part.rstrip("=") for part in encoded), ""])


async def test_a_token_signed_with_the_servers_secret_is_good(
    server: Server, claims: Claims, secret: bytes
) -> None:
    me = await client_of(server.application, signed(claims, secret)).get("/auth/me")
    assert me.json()["username"] == "the-user"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "RS256", ""])
async def test_a_token_without_a_signature_is_refused(
    server: Server, claims: Claims, algorithm: str
) -> None:
    forged = client_of(server.application, unsigned(claims, algorithm))
    error_of(await forged.get("/auth/me"), 401, "UNAUTHORIZED")


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize(
    "forge",
    [
        lambda claims, secret: signed(claims, secret, "HS384"),
        lambda claims, secret: signed(claims, secret, "HS512"),
        lambda claims, secret: signed(claims, secret[::-1]),
        lambda claims, secret: signed(claims | {"iss": "somebody-else"}, secret),
        lambda claims, secret: signed(claims | {"exp": int(time.time()) - 1}, secret),
        lambda claims, secret: signed(claims | {"exp": 2**62}, secret) + "x",
        lambda claims, secret: signed(claims | {"use": "refresh"}, secret),
        lambda claims, secret: signed(claims | {"sid": "sess-unknown"}, secret),
        lambda claims, secret: signed(claims | {"sub": "user-unknown"}, secret),
        lambda claims, secret: signed({k: v for k, v in claims.items() if k != "iss"}, secret),
        lambda claims, secret: signed({k: v for k, v in claims.items() if k != "exp"}, secret),
        lambda claims, secret: signed({"sub": claims["sub"]}, secret),
    ],
    ids=[
        "HS384",
        "HS512",
        "another secret",
        "wrong issuer",
        "expired",
        "broken signature",
        "a refresh token",
        "unknown session",
        "another user",
        "no issuer",
        "no expiry",
        "next to no claims",
    ],
)
async def test_a_forged_token_is_refused_however_it_is_sent(
    server: Server, claims: Claims, secret: bytes, forge: Callable[[Claims, bytes], str]
) -> None:
    token = forge(claims, secret)
    for headers in ({"authorization": f"Bearer {token}"}, {"x-api-key": token}):
        answer = await server.anonymous.get("/auth/me", headers=headers)
        error = error_of(answer, 401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert token not in answer.text
        assert "log in" in error["message"].lower() or "token" in error["message"]


async def test_what_a_genuine_token_claims_to_be_allowed_counts_for_nothing(
    server: Server, claims: Claims, secret: bytes
) -> None:
    raised = claims | {"roles": ["admin"], "permissions": ["*"], "username": "admin"}
    client = client_of(server.application, signed(raised, secret))
    error_of(await client.get("/users"), 403, "FORBIDDEN")
    assert (await client.get("/auth/me")).json()["roles"] == ["user"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"refresh_token": ""},
        {"refresh_token": None},
        {"refresh_token": 5},
        {"refresh_token": "x" * 9000},
        {"refresh_token": "x.y.z"},
        {"refresh_token": "🎉"},
        {"refresh_token": "a\0b"},
    ],
    ids=str,
)
async def test_nonsense_refreshes_nothing(server: Server, body: dict[str, Any]) -> None:
    answer = await server.anonymous.post("/auth/refresh", json=body)
    token = body.get("refresh_token")
    if isinstance(token, str) and len(token) < 8192:
        error_of(answer, 401, "UNAUTHORIZED")
    else:
        error_of(answer, 422, "VALIDATION_ERROR")
