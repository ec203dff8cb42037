"""The composition root: settings in, a running Application out."""

import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sutazai import clock, ids
from sutazai.adapters.outbound import CallbackSender, SystemResolver
from sutazai.agents.contract import Agent
from sutazai.agents.service import AgentDirectory, AgentRegistry
from sutazai.analysis.pool import AnalysisPool
from sutazai.api.app import ASGIApp, create_app
from sutazai.api.services import Services
from sutazai.api.versions import Deprecation
from sutazai.assembly import (
    built_in_agents,
    make_rate_limits,
    make_sandbox,
    make_tasks,
)
from sutazai.callbacks import courier as callback_jobs
from sutazai.callbacks.courier import Courier
from sutazai.callbacks.guard import AddressGuard
from sutazai.callbacks.secrets import Secrets
from sutazai.callbacks.service import Callbacks
from sutazai.database import (
    SQLITE_FILE,
    Connection,
    Database,
    DirectoryLock,
    open_database,
    schema,
)
from sutazai.engine import recurring, remote_store
from sutazai.engine import store as jobs
from sutazai.engine.job import Handler
from sutazai.engine.recurring import Chore, Recurring
from sutazai.engine.rescuer import Rescuer
from sutazai.engine.worker import Worker
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.events import log
from sutazai.events.feed import EventFeed
from sutazai.events.hub import EventHub
from sutazai.events.model import NewEvent, Origin
from sutazai.events.streams import EventStreams
from sutazai.findings.retention import purge_reviews
from sutazai.findings.service import Findings
from sutazai.identity.hooks import Change
from sutazai.identity.model import Permission, may
from sutazai.identity.passwords import Passwords
from sutazai.identity.service import Identity
from sutazai.identity.tokens import Tokens
from sutazai.identity.users import Users
from sutazai.limits.idempotency import Idempotency
from sutazai.llm.service import Models
from sutazai.metrics import Metrics
from sutazai.model_parts import make_models
from sutazai.schedules.service import Schedules
from sutazai.settings import Settings
from sutazai.tasks import retention
from sutazai.tasks import runner as task_jobs
from sutazai.tasks.service import Tasks
from sutazai.tasks.statistics import Statistics
from sutazai.telemetry.host import Host
from sutazai.telemetry.instruments import Instruments
from sutazai.telemetry.tracing import Tracing
from sutazai.work_parts import Above, make_engine, make_outside, make_runner, make_workflows
from sutazai.workflows.retention import purge_executions
from sutazai.workflows.service import Workflows

if TYPE_CHECKING:
    from sutazai.adapters.redis_parts import RedisParts

# Seconds until agents from outside can have noticed that the server is there again.
_COMING_BACK = 10
_DAY = 24 * 3600 * clock.SECOND
_HOUR = 3600.0
_OTLP_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
_SECRET_FILE = "jwt_secret"  # noqa: S105  # a file's name


class Application:
    """A running server but for its socket; `app` serves HTTP."""

    def __init__(self, *, app: ASGIApp, services: Services, admin_password: str | None) -> None:
        """`admin_password` is the one just generated for the first admin, to be shown once."""
        self.app = app
        self.services = services
        self.admin_password = admin_password


@contextlib.asynccontextmanager
async def running(
    settings: Settings, *, extra_agents: Sequence[Agent] = (), tracing: Tracing | None = None
) -> AsyncIterator[Application]:
    """Start everything the settings ask for; stop it in the reverse order, draining first.

    `extra_agents` are hosted beside the built-in ones, on the same contract. `tracing` goes before
    what the settings say of it.
    """
    async with contextlib.AsyncExitStack() as stack:
        data_dir = _prepared(settings.data_dir)
        url = settings.database_url.get_secret_value() if settings.database_url else None
        alone = url is None
        if alone:
            stack.callback(DirectoryLock(data_dir).release)
        secret = _jwt_secret(settings, data_dir)
        instruments = Instruments(version=version("sutazai"))
        tracing = tracing or await _tracing(stack, settings)
        database = await open_database(url=url, data_dir=data_dir, meter=instruments)
        stack.push_async_callback(database.close)
        identity = Identity(database=database, tokens=Tokens(secret=secret), on_change=_audit)
        stack.callback(identity.close)
        password = settings.admin_password
        try:
            generated = await identity.users.ensure_admin(
                password.get_secret_value() if password else None
            )
        except SutazaiError as error:
            raise _named(error, "SUTAZAI_ADMIN_PASSWORD") from error
        services, worker = await _start_work(
            stack, settings, database, identity, secret, extra_agents, instruments, tracing
        )
        app = create_app(
            services,
            cors_origins=settings.cors_origins,
            deprecated=_deprecated(settings),
            tracing=tracing,
        )
        yield Application(app=app, services=services, admin_password=generated)
        await worker.stop(drain_seconds=settings.drain_seconds)


@contextlib.asynccontextmanager
async def managing_users(settings: Settings) -> AsyncIterator[Users]:
    """The accounts alone, beside a server that may be running on the same database."""
    url = settings.database_url.get_secret_value() if settings.database_url else None
    hasher = Passwords()
    database = await open_database(url=url, data_dir=_prepared(settings.data_dir))
    try:
        yield Users(database=database, hasher=hasher, on_change=_audit, now=clock.now)
    finally:
        await database.close()
        hasher.close()


async def has_current_schema(settings: Settings) -> bool:
    """Whether the next start will find its database as it wants it; SutazaiError if unusable."""
    url = settings.database_url.get_secret_value() if settings.database_url else None
    return await schema.is_current(url=url, path=settings.data_dir / SQLITE_FILE)


async def check_redis(settings: Settings) -> None:
    """SutazaiError with the reason if the Redis that the settings name cannot be used."""
    if settings.redis_url is not None:
        from sutazai.adapters.redis_server import RedisServer

        server = RedisServer(settings.redis_url.get_secret_value(), installation="doctor")
        try:
            await server.check()
        finally:
            await server.close()


async def _start_work(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    database: Database,
    identity: Identity,
    secret: bytes,
    extra_agents: Sequence[Agent],
    instruments: Instruments,
    tracing: Tracing | None,
) -> tuple[Services, Worker]:
    """Agents, engine, events and tasks, each started once what it needs is up."""
    pool = AnalysisPool(processes=settings.analysis_processes, tracing=tracing)
    builtin = built_in_agents(pool=pool, sandbox=make_sandbox(settings), settings=settings)
    agents = [*builtin, *extra_agents] if settings.agents else []
    hub = EventHub(database)
    feed = EventFeed(database=database, hub=hub)
    redis = _redis(settings, secret, feed, hub)
    registry = AgentRegistry(database=database)
    directory = AgentDirectory(database=database, always_known=[one.description for one in builtin])
    idempotency = Idempotency(secret=secret)
    callbacks, courier, guard = _callbacks(stack, settings, database, secret)
    models = make_models(settings, database, instruments, tracing)
    above = Above(callbacks, lambda: workflows, lambda: findings)  # made further down
    runner = make_runner(database, registry, directory, agents, models, above, instruments, tracing)
    statistics = Statistics(database=database)
    chores = _chores(settings, database, callbacks, idempotency, identity, statistics, models)
    handlers: dict[str, Handler] = {task_jobs.KIND: runner, recurring.KIND: chores}
    worker, host, scheduler, rescuer = make_engine(
        settings, database, handlers, agents, models, instruments, tracing
    )
    tasks = make_tasks(database, hub, directory, runner, guard, tracing)
    assignments, outside = make_outside(
        settings, database, runner, directory, builtin, instruments, tracing
    )
    workflows = make_workflows(database, hub, tasks, directory, agents, models)
    workspace = str(settings.workspace.absolute())
    findings = Findings(
        database=database,
        tasks=tasks,
        workspace=workspace,
        reads_all_results=partial(_reads_all_results, identity),
    )
    schedules = _schedules(settings, database, tasks, workflows, identity)
    handlers |= {callback_jobs.KIND: courier, **workflows.handlers, **schedules.handlers}
    await _take_over(settings, database, rescuer)
    await _open(stack, pool, directory)
    # Right above the hub, so that Redis is told of the agents' coming and going, too.
    shared = [redis] if redis else []
    await _start(stack, hub, *shared, models.reach, host, tasks, assignments, scheduler, rescuer)
    if redis is not None:
        lease = settings.lease_seconds
        door = redis.agents(directory=directory, assignments=assignments, lease_seconds=lease)
        await _start(stack, door)
    await chores.ensure()
    await worker.start()
    streams = EventStreams(feed=feed, hub=hub)
    services = Services(
        version=version("sutazai"),
        started_at=clock.now(),
        identity=identity,
        idempotency=idempotency,
        tasks=tasks,
        workflows=workflows,
        schedules=schedules,
        callbacks=callbacks,
        findings=findings,
        registry=registry,
        outside=outside,
        assignments=assignments,
        events=feed,
        streams=streams,
        rates=make_rate_limits(settings, redis.windows if redis else None),
        redis_is_healthy=redis.is_healthy if redis else None,
        metrics=_metrics(settings, registry, statistics, instruments, streams, pool, models),
        instruments=instruments,
        engine_is_healthy=lambda: worker.is_healthy,
        models=models,
    )
    return services, worker


async def _reads_all_results(identity: Identity, user_id: str) -> bool:
    user = (await identity.users.find([user_id])).get(user_id)
    return user is not None and may(user.roles, Permission.READ, "results")


async def _take_over(settings: Settings, database: Database, rescuer: Rescuer) -> None:
    # Agents from outside may be there: with no server up, they could not renew their leases.
    grace = clock.now() + int((settings.lease_seconds + _COMING_BACK) * clock.SECOND)
    await database.run(partial(remote_store.spare, lease_expires_at=grace))
    if settings.database_url is None:
        # The lock says that no other server lives, so what it was running is free at once.
        await database.run(jobs.void_leases)
        await rescuer.rescue()


async def _open(
    stack: contextlib.AsyncExitStack, pool: AnalysisPool, directory: AgentDirectory
) -> None:
    await pool.start()
    stack.push_async_callback(pool.close)
    await directory.start()


class _Part(Protocol):
    """What has a loop of its own."""

    async def start(self) -> None:
        """Begin."""
        ...

    async def stop(self) -> None:
        """End."""
        ...


async def _start(stack: contextlib.AsyncExitStack, *parts: _Part) -> None:
    for part in parts:
        await part.start()
        stack.push_async_callback(part.stop)


def _metrics(
    settings: Settings,
    registry: AgentRegistry,
    statistics: Statistics,
    instruments: Instruments,
    streams: EventStreams,
    pool: AnalysisPool,
    models: Models,
) -> Metrics:
    shown: list[tuple[str, str, Callable[[], float]]] = [
        ("sutazai_subscribers", "Streams of events open here", lambda: streams.subscribers),
        ("sutazai_analysis_workers", "Processes for analysis", lambda: pool.alive),
        ("sutazai_analysis_workers_busy", "Those with something to do", lambda: pool.busy),
    ]
    for name, description, read in shown:
        instruments.gauge(name, description, read)
    return Metrics(
        registry=registry,
        statistics=statistics,
        host=Host(data_dir=settings.data_dir),
        instruments=instruments,
        models=models,
    )


async def _tracing(stack: contextlib.AsyncExitStack, settings: Settings) -> Tracing | None:
    """Traces where they are wanted; SutazaiError where they are and cannot be had."""
    endpoint = None if settings.otlp_endpoint is None else str(settings.otlp_endpoint)
    if endpoint is None and not os.environ.get(_OTLP_VARIABLE):
        return None
    try:
        tracing = Tracing.to(endpoint, version=version("sutazai"))
    except ImportError as error:
        name = _OTLP_VARIABLE if endpoint is None else "SUTAZAI_OTLP_ENDPOINT"
        message = f"{name} asks for traces, which need more packages: install 'sutazai[otel]'."
        raise SutazaiError(ErrorCode.VALIDATION_ERROR, message) from error
    stack.push_async_callback(tracing.close)
    return tracing


def _redis(
    settings: Settings, secret: bytes, feed: EventFeed, hub: EventHub
) -> "RedisParts | None":
    if settings.redis_url is None:
        return None
    # Not above: it takes a third of a second that most do without.
    from sutazai.adapters.redis_parts import RedisParts

    url = settings.redis_url.get_secret_value()
    try:
        return RedisParts(url, secret=secret, feed=feed, hub=hub)
    except SutazaiError as error:
        raise _named(error, "SUTAZAI_REDIS_URL") from error


def _schedules(
    settings: Settings, database: Database, tasks: Tasks, workflows: Workflows, identity: Identity
) -> Schedules:
    return Schedules(
        database=database,
        tasks=tasks,
        workflows=workflows,
        users=identity.users,
        most_per_user=settings.schedules_per_user,
    )


def _callbacks(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    database: Database,
    secret: bytes,
) -> tuple[Callbacks, Courier, AddressGuard]:
    guard = AddressGuard(resolve=SystemResolver(), allow=settings.callback_allow)
    sender = CallbackSender(guard, version=version("sutazai"))
    stack.push_async_callback(sender.close)
    kept = Secrets(secret=secret)
    courier = Courier(database=database, secrets=kept, send=sender)
    callbacks = Callbacks(
        database=database,
        secrets=kept,
        courier=courier,
        keep=int(settings.events_keep_days * _DAY),
        public_url="" if settings.public_url is None else str(settings.public_url),
    )
    return callbacks, courier, guard


def _chores(
    settings: Settings,
    database: Database,
    callbacks: Callbacks,
    idempotency: Idempotency,
    identity: Identity,
    statistics: Statistics,
    models: Models,
) -> Recurring:
    def every_hour(name: str, purge: Callable[[Connection], int]) -> Chore:
        return Chore(name, _HOUR, partial(recurring.in_batches, database, purge))

    def old_events(connection: Connection) -> int:
        before = clock.now() - int(settings.events_keep_days * _DAY)
        return log.purge(connection, before=before)

    chores = [
        every_hour("callbacks", callbacks.purge),
        every_hour("events", old_events),
        every_hour("idempotency", idempotency.purge),
        every_hour("llm", models.accounts.purge),
        every_hour("result_cache", retention.purge_cache),
        every_hour("sessions", identity.purge),
        every_hour("task_ends", statistics.purge),
    ]
    if settings.tasks_keep_days is not None:
        keep = int(settings.tasks_keep_days * _DAY)
        chores.append(every_hour("tasks", partial(retention.purge_tasks, keep)))
        chores.append(every_hour("workflows", partial(purge_executions, keep)))
        chores.append(every_hour("findings", partial(purge_reviews, keep)))
    return Recurring(database=database, chores=chores)


def _audit(connection: Connection, change: Change) -> None:
    origin = Origin(change.actor, change.request_id)
    data = {"user_id": change.user_id, **change.data}
    event = NewEvent(change.what, data, origin, "users", change.user_id)
    log.append(connection, [event], now=clock.now())


def _named(error: SutazaiError, setting: str) -> SutazaiError:
    """A refusal of a setting's value, under the setting's name."""
    if error.code is not ErrorCode.VALIDATION_ERROR:
        return error
    reasons = "; ".join(detail.message for detail in error.details) or error.message
    return SutazaiError(error.code, f"A setting is wrong. {setting}: {reasons}")


def _deprecated(settings: Settings) -> dict[str, Deprecation]:
    return {
        version: Deprecation(
            since=told.deprecated, sunset=told.sunset, migration_guide=str(told.migration_guide)
        )
        for version, told in settings.deprecated_versions.items()
    }


def _prepared(data_dir: Path) -> Path:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SutazaiError(
            ErrorCode.VALIDATION_ERROR,
            f"The data directory {data_dir} cannot be used: {error.strerror}. Choose another with "
            "--data-dir.",
        ) from error
    return data_dir


def _jwt_secret(settings: Settings, data_dir: Path) -> bytes:
    """The configured secret, or the one in the data directory, made at the first start."""
    if settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value().encode()
    path = data_dir / _SECRET_FILE
    if not path.exists():
        # Written aside and linked, so that two first starts cannot end up with two secrets.
        aside = data_dir / ids.new_id(_SECRET_FILE)
        aside.touch(mode=0o600)
        aside.write_text(secrets.token_urlsafe(48))
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
        aside.unlink()
    return path.read_text().strip().encode()
