"""The HTTP application: version 1 of the API below its prefix, and its documentation."""

from collections.abc import Mapping

import structlog
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sutazai.api import (
    agents,
    assignments,
    auth,
    callbacks,
    docs,
    events,
    executions,
    findings,
    health,
    metrics,
    schedules,
    tasks,
    users,
    workflows,
)
from sutazai.api.edge import Edge, Limits
from sutazai.api.envelope import error_response, handle_errors
from sutazai.api.graphql.endpoint import GraphQL
from sutazai.api.lean import LeanRoute
from sutazai.api.openapi import describe
from sutazai.api.rates import RateLimited
from sutazai.api.services import Services
from sutazai.api.versions import BARE, PREFIX, Deprecation, Versions
from sutazai.api.websocket import LiveSocket
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.telemetry.tracing import Tracing

__all__ = ["ASGIApp", "create_app", "create_v1"]


def create_app(
    services: Services,
    *,
    cors_origins: tuple[str, ...] = (),
    deprecated: Mapping[str, Deprecation] | None = None,
    tracing: Tracing | None = None,
) -> ASGIApp:
    """The ASGI application over these services; it starts and stops nothing itself.

    `deprecated` is by version, such as `1.0`.
    """
    v1 = create_v1(services)
    rest = Starlette(
        routes=[
            *docs.ROUTES,
            Route("/", lambda _: RedirectResponse("/docs")),
            Route("/metrics", metrics.scrape),
        ],
    )
    rest.state.services = services
    handle_errors(rest)

    submit = next(route for route in tasks.submissions.routes if isinstance(route, LeanRoute))

    async def serve_v1(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST" and scope["path"] == scope["root_path"] + submit.path:
            scope["app"] = v1
            scope["route"] = submit
            await submit.serve(scope, receive, send)
        else:
            await v1(scope, receive, send)

    versions = Versions(serve_v1, describe=v1.openapi, deprecated=deprecated or {})

    graphql = GraphQL(services)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        # By hand, because a mount below another application costs a tenth of a request's time.
        if scope["type"] == "http" and scope["path"].startswith(PREFIX + "/"):
            await versions(scope, receive, send)
        elif scope["type"] == "websocket" and scope["path"] == "/ws":
            await LiveSocket(services, scope, receive, send).serve()
        elif scope["path"] == graphql.path and scope["type"] == "http":
            await graphql.http(scope, receive, send)
        elif scope["path"] == graphql.path:
            await graphql.websocket(scope, receive, send)
        else:
            await rest(scope, receive, send)

    limited: ASGIApp = Limits(dispatch)
    if services.rates is not None:
        limited = RateLimited(limited, services, services.rates)
    limited = versions.told(limited)
    # Around the limits: a page must be able to read that it sent too much.
    within = _with_cors(limited, cors_origins) if cors_origins else limited
    return Edge(within, instruments=services.instruments, tracing=tracing)


def create_v1(services: Services) -> FastAPI:
    """The resources, with paths as the specification's document has them: `/tasks`, no prefix."""
    app = FastAPI(
        title="SutazAI API",
        version=services.version,
        description="AI Task Automation API",
        servers=[{"url": BARE}],
        root_path_in_servers=False,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # `Edge` traces and measures, and the log has no messages of exceptions.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        strict_content_type=False,  # `bodies` judges it
        webhooks=callbacks.outgoing,
    )
    app.state.services = services
    app.include_router(tasks.submissions)
    # Routes are tried in this order: the busiest first.
    busy = (tasks, findings, health, assignments, auth, agents, events)
    for noun in (*busy, workflows, executions, schedules, users, callbacks, metrics):
        app.include_router(noun.router)
    app.include_router(events.documents)
    handle_errors(app)
    describe(app)
    return app


class _Cors(CORSMiddleware):
    """Refuses in the envelope, too."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """See CORSMiddleware."""
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        message = (
            f"{bytes(response.body).decode()}. SUTAZAI_CORS_ORIGINS lists the origins that may "
            "call the API."
        )
        refused = error_response(
            SutazaiError(ErrorCode.BAD_REQUEST, message),
            structlog.contextvars.get_contextvars()["request_id"],
        )
        for name in ("vary", "access-control-allow-origin"):
            if name in response.headers:
                refused.headers[name] = response.headers[name]
        return refused


def _with_cors(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    return _Cors(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST", "PATCH", "PUT", "DELETE"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
            "X-API-Key",
            "X-API-Version",
            "X-Request-ID",
        ],
        expose_headers=[
            "Allow",
            "Deprecation",
            "Idempotency-Replayed",
            "Link",
            "Location",
            "RateLimit",
            "RateLimit-Policy",
            "Retry-After",
            "Sunset",
            "WWW-Authenticate",
            "X-API-Version",
            "X-Request-ID",
        ],
    )
