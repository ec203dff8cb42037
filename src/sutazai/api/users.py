"""`/users`: accounts, for administrators."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from sutazai import clock
from sutazai.api.requests import (
    Clean,
    CurrentServices,
    IdempotencyKey,
    Input,
    StrictRoute,
    answer,
    call_of,
    location_of,
    needs,
    replayable,
)
from sutazai.api.schemas import User, UserList, errors
from sutazai.identity import model
from sutazai.identity.model import Principal, Role, Tier
from sutazai.identity.passwords import LONGEST, SHORTEST

router = APIRouter(prefix="/users", tags=["users"], route_class=StrictRoute)

UserId = Annotated[str, Path(max_length=64)]
Username = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{3,64}$")]
Password = Annotated[str, Field(min_length=SHORTEST, max_length=LONGEST), Clean]
Roles = Annotated[list[Role], Field(min_length=1, max_length=len(Role))]


class UserRequest(Input):
    """An account to be made."""

    username: Username
    password: Password
    roles: Roles = Field(default_factory=lambda: [Role.USER])
    tier: Tier = Tier.FREE


class UserChange(Input):
    """What to change of an account; what is left out stays."""

    password: Password | None = None
    roles: Roles | None = None
    tier: Tier | None = None
    enabled: Annotated[bool, Field(strict=True)] | None = None


@router.get(
    "",
    operation_id="listUsers",
    summary="List users",
    response_model=UserList,
    responses=errors(403),
    dependencies=[needs("read", "users")],
)
async def list_users(
    services: CurrentServices,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Accounts, oldest first."""
    page = await services.identity.users.list(limit=limit, offset=offset)
    return answer(
        {
            "users": [user_view(user) for user in page.users],
            "total": page.total,
            "limit": limit,
            "offset": offset,
        }
    )


@router.post(
    "",
    operation_id="createUser",
    summary="Create a user",
    status_code=201,
    response_model=User,
    responses=errors(403, 409),
)
async def create_user(
    request: Request,
    body: UserRequest,
    services: CurrentServices,
    principal: Principal = needs("write", "users"),
    key: IdempotencyKey = None,
) -> Response:
    """Make an account."""
    replay = await replayable(request, key, principal=principal.actor)
    user = await services.identity.users.create(
        username=body.username,
        password=body.password,
        roles=body.roles,
        tier=body.tier,
        call=call_of(request, principal.actor, replay),
    )
    location = location_of(request, f"/users/{user.user_id}")
    return answer(user_view(user), status=201, replay=replay, location=location)


@router.get(
    "/{user_id}",
    operation_id="getUser",
    summary="Get a user",
    response_model=User,
    responses=errors(403, 404),
    dependencies=[needs("read", "users")],
)
async def get_user(user_id: UserId, services: CurrentServices) -> Response:
    """One account."""
    return answer(user_view(await services.identity.users.get(user_id)))


@router.patch(
    "/{user_id}",
    operation_id="updateUser",
    summary="Change a user",
    response_model=User,
    responses=errors(403, 404, 409),
)
async def update_user(
    request: Request,
    user_id: UserId,
    body: UserChange,
    services: CurrentServices,
    principal: Principal = needs("write", "users"),
) -> Response:
    """Change an account; a new password, or disabling it, ends its sessions."""
    user = await services.identity.users.update(
        user_id,
        password=body.password,
        roles=body.roles,
        tier=body.tier,
        enabled=body.enabled,
        call=call_of(request, principal.actor),
    )
    return answer(user_view(user))


@router.delete(
    "/{user_id}",
    operation_id="deleteUser",
    summary="Delete a user",
    status_code=204,
    response_model=None,
    responses=errors(403, 404, 409),
)
async def delete_user(
    request: Request,
    user_id: UserId,
    services: CurrentServices,
    principal: Principal = needs("write", "users"),
) -> Response:
    """Remove an account with its sessions and keys; its tasks stay."""
    await services.identity.users.delete(user_id, call=call_of(request, principal.actor))
    return Response(status_code=204)


def user_view(user: model.User) -> dict[str, Any]:
    """An account as the API shows it."""
    return {
        "user_id": user.user_id,
        "username": user.username,
        "roles": user.roles,
        "tier": user.tier,
        "enabled": user.enabled,
        "created_at": clock.to_iso(user.created_at),
    }
