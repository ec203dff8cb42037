"""`/auth`: sessions, API keys, and who one is."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import Field
from starlette.responses import Response

from sutazai import clock
from sutazai.api.requests import (
    Appointment,
    Clean,
    CurrentPrincipal,
    CurrentServices,
    IdempotencyKey,
    Input,
    StrictRoute,
    answer,
    call_of,
    replayable,
)
from sutazai.api.schemas import ApiKeyList, Me, NewApiKey, Tokens, errors
from sutazai.api.users import user_view
from sutazai.identity import model

router = APIRouter(prefix="/auth", tags=["auth"], route_class=StrictRoute)


class LoginRequest(Input):
    """Who logs in."""

    username: Annotated[str, Field(max_length=256)]
    password: Annotated[str, Field(max_length=4096)]


class RefreshRequest(Input):
    """The refresh token of the newest pair."""

    refresh_token: Annotated[str, Field(max_length=8192)]


class ApiKeyRequest(Input):
    """An API key to be made."""

    name: Annotated[str, Field(min_length=1, max_length=100), Clean]
    expires_at: Appointment | None = None


@router.post(
    "/login",
    operation_id="login",
    summary="Log in",
    response_model=Tokens,
    responses=errors(401, 409, 429),
)
async def login(
    request: Request, body: LoginRequest, services: CurrentServices, key: IdempotencyKey = None
) -> Response:
    """Start a session: an access token for an hour, a refresh token for the next one."""
    principal = f"login:{body.username.casefold()}"
    replay = await replayable(request, key, principal=principal, seal=True)
    pair = await services.identity.login(
        body.username,
        body.password,
        address=request.client.host if request.client else None,
        user_agent=request.headers.get("user-agent"),
        call=call_of(request, "anonymous", replay),
    )
    return _private(answer(pair, replay=replay))


@router.post(
    "/refresh",
    operation_id="refreshToken",
    summary="Refresh the tokens",
    response_model=Tokens,
    responses=errors(401, 409),
)
async def refresh(
    request: Request, body: RefreshRequest, services: CurrentServices, key: IdempotencyKey = None
) -> Response:
    """The next pair; the refresh token given is spent, and using it again ends the session."""
    replay = await replayable(request, key, principal=f"refresh:{body.refresh_token}", seal=True)
    pair = await services.identity.refresh(
        body.refresh_token, call=call_of(request, "anonymous", replay)
    )
    return _private(answer(pair, replay=replay))


def _private(response: Response) -> Response:
    response.headers["cache-control"] = "no-store"
    return response


@router.post(
    "/logout",
    operation_id="logout",
    summary="Log out",
    status_code=204,
    response_model=None,
    responses=errors(400),
)
async def logout(
    request: Request, services: CurrentServices, principal: CurrentPrincipal
) -> Response:
    """End the session; its access and refresh tokens are void."""
    await services.identity.logout(principal, call=call_of(request, principal.actor))
    return Response(status_code=204)


@router.get(
    "/me",
    operation_id="getMe",
    summary="Who am I",
    response_model=Me,
)
async def me(services: CurrentServices, principal: CurrentPrincipal) -> Response:
    """The caller's account and what it may do."""
    user = await services.identity.me(principal)
    return answer({**user_view(user), "permissions": principal.permissions})


@router.post(
    "/keys",
    operation_id="createApiKey",
    summary="Create an API key",
    status_code=201,
    response_model=NewApiKey,
    responses=errors(409),
)
async def create_key(
    request: Request,
    body: ApiKeyRequest,
    services: CurrentServices,
    principal: CurrentPrincipal,
    key: IdempotencyKey = None,
) -> Response:
    """A key with the caller's rights; its secret is in this answer and nowhere else."""
    replay = await replayable(request, key, principal=principal.actor, seal=True)
    expires_at = None if body.expires_at is None else clock.from_datetime(body.expires_at)
    made = await services.identity.keys.create(
        principal,
        name=body.name,
        expires_at=expires_at,
        call=call_of(request, principal.actor, replay),
    )
    shown = {**_key_view(made.key), "api_key": made.secret}
    return _private(answer(shown, status=201, replay=replay))


@router.get(
    "/keys",
    operation_id="listApiKeys",
    summary="List API keys",
    response_model=ApiKeyList,
)
async def list_keys(services: CurrentServices, principal: CurrentPrincipal) -> Response:
    """The caller's keys."""
    keys = await services.identity.keys.list(principal)
    return answer({"keys": [_key_view(one) for one in keys]})


@router.delete(
    "/keys/{key_id}",
    operation_id="deleteApiKey",
    summary="Delete an API key",
    status_code=204,
    response_model=None,
    responses=errors(404),
)
async def delete_key(
    request: Request,
    key_id: Annotated[str, Path(max_length=64)],
    services: CurrentServices,
    principal: CurrentPrincipal,
) -> Response:
    """Make a key void: one's own, or anybody's for an admin."""
    await services.identity.keys.delete(principal, key_id, call=call_of(request, principal.actor))
    return Response(status_code=204)


def _key_view(key: model.ApiKey) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "user_id": key.user_id,
        "name": key.name,
        "hint": key.hint,
        "created_at": clock.to_iso(key.created_at),
        "expires_at": None if key.expires_at is None else clock.to_iso(key.expires_at),
        "last_used_at": None if key.last_used_at is None else clock.to_iso(key.last_used_at),
    }
