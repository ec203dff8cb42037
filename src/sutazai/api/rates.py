"""Rate limits at the HTTP edge: who is counted, what is refused, and what the headers say.

By draft-ietf-httpapi-ratelimit-headers-11: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
"""

import asyncio
import functools
from types import TracebackType
from typing import Self

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sutazai.api.edge import HEADERS, REQUEST_SECONDS
from sutazai.api.envelope import error_response
from sutazai.api.requests import credential_in
from sutazai.api.services import Services
from sutazai.api.versions import PREFIX, VERSIONS
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.identity.brake import network_of
from sutazai.identity.model import Principal
from sutazai.limits.idempotency import Replayable
from sutazai.limits.rates import (
    WINDOW_SECONDS,
    Caller,
    Policy,
    RateLimits,
    Standing,
    too_many,
)

GRAPHQL = "/graphql"

# Whoever watches over the server must always get an answer, or it is restarted for being busy.
_UNCOUNTED = frozenset(f"{path}/health" for path in (PREFIX, *VERSIONS))
_COUNTED = (f"{PREFIX}/", GRAPHQL, "/ws")
_STARTS = ("websocket.http.response.start", "websocket.accept")
_network_of = functools.lru_cache(maxsize=4096)(network_of)


class RateLimited:
    """Counts every request below /api and /graphql and the handshakes of WebSockets; 429 above.

    Probes of `/health` are told how they stand, but neither counted nor refused. Whose request it
    is, is found out here, and the endpoint need not do it again.
    """

    def __init__(self, app: ASGIApp, services: Services, limits: RateLimits) -> None:
        self._app = app
        self._identity = services.identity
        self._limits = limits
        self._instruments = services.instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"]
        if not path.startswith(_COUNTED):
            await self._app(scope, receive, send)
            return
        if path in _UNCOUNTED:
            standing = await self._limits.look(_address(scope), Policy.REQUESTS)
        else:
            standing = await self._limits.charge(await self._caller(scope), Policy.REQUESTS)
        standings = scope["state"]["standings"] = [standing]
        if scope["type"] == "websocket":
            send = _with_headers(send, standings)
        else:
            scope["state"][HEADERS].append(functools.partial(headers_of, standings))
        if standing.admitted:
            await self._app(scope, receive, send)
        else:
            self._instruments.rate_limited(Policy.REQUESTS)
            refused = error_response(too_many(standing), scope["state"]["request_id"])
            await refused(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        credential = credential_in(scope["headers"])
        if not credential:
            return _address(scope)
        principal = self._identity.known(credential)
        try:
            if principal is None:
                async with asyncio.timeout(REQUEST_SECONDS):
                    principal = await self._identity.authenticate_any(credential)
        except SutazaiError as error:
            scope["state"]["principal"] = error
            return _address(scope)
        except TimeoutError:
            message = "The database did not answer in time; try again."
            scope["state"]["principal"] = SutazaiError(
                ErrorCode.SERVICE_UNAVAILABLE, message, retry_after=1
            )
            return _address(scope)
        scope["state"]["principal"] = principal
        return Caller.user(principal.user_id, principal.tier)


def _with_headers(send: Send, standings: list[Standing]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] in _STARTS:
            message["headers"] = [*message.get("headers", ()), *headers_of(standings)]
        await send(message)

    return sending


def _address(scope: Scope) -> Caller:
    client = scope.get("client")
    return Caller.address(_network_of(client[0] if client else None))


def headers_of(standings: list[Standing]) -> list[tuple[bytes, bytes]]:
    """The RateLimit fields; `t` is when the next request leaves the window, as Retry-After is."""
    said = [
        '"%s";r=%d;t=%d' % (policy, remaining, resets_in)  # noqa: UP031  # on every request
        for policy, _, _, remaining, resets_in in standings
    ]
    policies = [_policy(one.policy, one.limit) for one in standings]
    return [
        (b"ratelimit", ", ".join(said).encode()),
        (b"ratelimit-policy", ", ".join(policies).encode()),
    ]


@functools.lru_cache
def _policy(policy: Policy, limit: int) -> str:
    return f'"{policy}";q={limit};w={WINDOW_SECONDS}'


class CountedSubmission:
    """Counts what its block submits, unless nothing new comes of it: an error, or a replay.

    Over the limit an answer that was given before is still given again, by the `replay` that the
    block hands to the service; anything new is RATE_LIMIT_EXCEEDED.
    """

    def __init__(
        self,
        services: Services,
        scope: Scope,
        principal: Principal,
        replay: Replayable | None = None,
    ) -> None:
        self._limits = services.rates
        self._scope = scope
        self._caller = Caller.user(principal.user_id, principal.tier)
        self._instruments = services.instruments
        self._replay = replay
        self._charged = False

    async def __aenter__(self) -> Self:
        """Count it; RATE_LIMIT_EXCEEDED where it is over the limit and cannot be a replay."""
        if self._limits is None:
            return self
        standing = await self._limits.charge(self._caller, Policy.SUBMISSIONS)
        self._tell(standing)
        self._charged = standing.admitted
        if not standing.admitted:
            self._instruments.rate_limited(Policy.SUBMISSIONS)
            refusal = too_many(standing)
            if self._replay is None:
                raise refusal
            self._replay.refuse(refusal)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take it back where nothing was submitted."""
        nothing_new = error is not None or (self._replay is not None and self._replay.replayed)
        if self._limits is not None and self._charged and nothing_new:
            self._tell(await self._limits.take_back(self._caller, Policy.SUBMISSIONS))

    def _tell(self, standing: Standing) -> None:
        """For the headers: one line a policy, the newest."""
        standings: list[Standing] = self._scope["state"].setdefault("standings", [])
        standings[:] = [one for one in standings if one.policy is not standing.policy]
        standings.append(standing)
