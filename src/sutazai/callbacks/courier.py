"""Deliveries as jobs: the handler that sends them and records how each attempt ended."""

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, assert_never

import msgspec

from sutazai import clock
from sutazai.callbacks import store
from sutazai.callbacks.lanes import Lanes
from sutazai.callbacks.model import DELAYS, Attempt, DeliveryStatus, delay_after
from sutazai.callbacks.secrets import Secrets
from sutazai.database import Connection, Database, tally
from sutazai.engine.job import (
    Consumer,
    Ending,
    Failed,
    Job,
    Lost,
    NewJob,
    Outcome,
    Parked,
    Released,
    Succeeded,
)
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.telemetry import tracing

KIND = "callback"
CONSUMER = Consumer(KIND, (KIND,), 256)

_GONE = 410
_NOT_SENT = (
    "Not sent: the receiver answered 410 Gone before. POST /callbacks/deliveries/{id}/replay sends "
    "it, and later ones too."
)


class Answer(NamedTuple):
    """What a receiver answered; `retry_after` in seconds, where it said so."""

    status_code: int
    retry_after: float | None


class NotDelivered(Exception):
    """No answer came; the text says why and names no address. `final`: and none will."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


Send = Callable[[str, Mapping[str, str], bytes], Awaitable[Answer]]
"""POST a body with these headers to a URL, once; NotDelivered where no answer came in time."""


class Ticket(msgspec.Struct, frozen=True):
    """A job's payload: what must be known before the delivery is looked up."""

    delivery_id: str
    host: str
    user_id: str


class _Tried(NamedTuple):
    """What an attempt leaves to be recorded."""

    attempt: Attempt
    gone: bool = False


class _Found(NamedTuple):
    """A delivery and what to sign it with, as one look at the database shows them."""

    delivery: store.ToSend
    secrets: list[str]
    disabled: bool


def key_of(delivery_id: str) -> str:
    """The key of a delivery's job."""
    return f"{KIND}:{delivery_id}"


class Courier:
    """The engine's handler for callbacks."""

    def __init__(
        self,
        *,
        database: Database,
        secrets: Secrets,
        send: Send,
        lanes: Lanes | None = None,
        delays: tuple[int, ...] = DELAYS,
    ) -> None:
        """`delays` (µs) follow each failed attempt; when they are used up, the delivery failed."""
        self._database = database
        self._secrets = secrets
        self._send = send
        self._lanes = lanes or Lanes()
        self._delays = delays

    def job(
        self, ticket: Ticket, *, run_at: int | None = None, traceparent: str | None = None
    ) -> NewJob:
        """A delivery as a job about to be enqueued, in the trace of what it tells of."""
        return NewJob(
            key=key_of(ticket.delivery_id),
            kind=KIND,
            queue=KIND,
            payload=msgspec.json.encode(ticket).decode(),
            max_attempts=len(self._delays) + 1,
            run_at=run_at,
            traceparent=traceparent,
        )

    def readied(self, connection: Connection, jobs: Sequence[Job], now: int) -> None:
        """See `Handler.readied`."""

    def started(self, connection: Connection, jobs: Sequence[Job], now: int) -> Mapping[int, Any]:
        """See `Handler.started`."""
        return {}

    async def run(self, job: Job, prepared: Any) -> Outcome:
        """See `Handler.run`."""
        ticket = msgspec.json.decode(job.payload, type=Ticket)
        lane = {"host": ticket.host, "user_id": ticket.user_id}
        wait = self._lanes.enter(**lane)
        if wait is not None:
            return Released("others of this host or user are under way", clock.now() + wait)
        began: float | None = None
        try:
            async with self._lanes.sending_to(ticket.host):
                began = time.monotonic()
                return await self._attempt(job, ticket)
        finally:
            took = None if began is None else time.monotonic() - began
            self._lanes.leave(**lane, took=took)

    async def _attempt(self, job: Job, ticket: Ticket) -> Outcome:
        now = clock.now()
        try:
            found = await self._find(ticket)
        except SutazaiError as error:
            if error.code is ErrorCode.DATABASE_ERROR:
                raise
            return self._again(job, Attempt(now, 0, None, error.message))
        if found is None:
            return Failed(ErrorCode.NOT_FOUND, "The delivery or its user is no longer there.")
        if found.disabled:
            return Failed(
                ErrorCode.CONFLICT, _NOT_SENT, value=_Tried(Attempt(now, 0, None, _NOT_SENT))
            )
        return await self._post(job, ticket, found)

    async def _find(self, ticket: Ticket) -> _Found | None:
        found = await self._database.read(partial(self._look, ticket))
        if found is None or found.secrets:
            return found
        ensure = partial(self._secrets.ensure, user_id=ticket.user_id, now=clock.now())
        if not await self._database.run(ensure):
            return None
        return await self._database.read(partial(self._look, ticket))

    def _look(self, ticket: Ticket, connection: Connection) -> _Found | None:
        delivery = store.to_send(connection, ticket.delivery_id)
        if delivery is None:
            return None
        disabled = store.is_disabled(connection, delivery.user_id, delivery.url)
        secrets = self._secrets.signing(connection, delivery.user_id, now=clock.now())
        return _Found(delivery, secrets, disabled)

    async def _post(self, job: Job, ticket: Ticket, found: _Found) -> Outcome:
        now = clock.now()
        headers = signed_headers(ticket.delivery_id, found.delivery.body, found.secrets, now=now)
        if job.traceparent is not None:
            headers["traceparent"] = tracing.Attempt(job.key, job.token).below(job.traceparent)
        try:
            answer = await self._send(found.delivery.url, headers, found.delivery.body.encode())
        except NotDelivered as error:
            attempt = Attempt(now, clock.now() - now, None, str(error))
            if error.final:
                return Failed(ErrorCode.VALIDATION_ERROR, str(error), value=_Tried(attempt))
            return self._again(job, attempt)
        reason = _reason(answer.status_code)
        attempt = Attempt(now, clock.now() - now, answer.status_code, reason)
        if reason is None:
            return Succeeded(_Tried(attempt))
        if answer.status_code == _GONE:
            return Failed(ErrorCode.CONFLICT, reason, value=_Tried(attempt, gone=True))
        return self._again(job, attempt, retry_after=answer.retry_after)

    def _again(self, job: Job, attempt: Attempt, *, retry_after: float | None = None) -> Failed:
        delay = delay_after(
            job.attempt,
            delays=self._delays,
            jitter=random.random(),  # noqa: S311  # spreads, keeps no secret
            retry_after=retry_after,
        )
        code, message = ErrorCode.SERVICE_UNAVAILABLE, attempt.error or ""
        return Failed(code, message, retryable=True, value=_Tried(attempt), delay=delay)

    def before_ended(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """See `Handler.before_ended`."""

    def ended(self, connection: Connection, endings: Sequence[Ending], now: int) -> None:
        """See `Handler.ended`."""
        for ending in endings:
            tried = _tried(ending.outcome, now)
            if tried is None:
                continue
            ticket = msgspec.json.decode(ending.job.payload, type=Ticket)
            store.add_attempt(connection, ticket.delivery_id, tried.attempt)
            if tried.gone:
                delivery = store.to_send(connection, ticket.delivery_id)
                if delivery is not None:
                    store.disable(connection, delivery.user_id, delivery.url, now=now)
            if not ending.final:
                status, again, ended_at = DeliveryStatus.PENDING, ending.run_at or now, None
            elif tried.attempt.error is None:
                status, again, ended_at = DeliveryStatus.DELIVERED, None, now
            else:
                status, again, ended_at = DeliveryStatus.FAILED, None, now
            tally(connection, "callbacks", "retried" if not ending.final else status.value)
            store.set_status(
                connection, ticket.delivery_id, status, next_attempt_at=again, ended_at=ended_at
            )


def _tried(outcome: Outcome, now: int) -> _Tried | None:
    """What there is to record of an attempt; None of one that was not made."""
    match outcome:
        case Succeeded(value=value):
            tried: _Tried = value
            return tried
        case Failed(value=value, message=message):
            return value if isinstance(value, _Tried) else _Tried(Attempt(now, 0, None, message))
        case Lost(reason=reason):
            return _Tried(Attempt(now, 0, None, f"Unknown whether it arrived: {reason}."))
        case Released() | Parked():
            return None
        case _:
            assert_never(outcome)


def _reason(status_code: int) -> str | None:
    """Why an answer does not count as delivered; None for one that does."""
    if 200 <= status_code < 300:
        return None
    if 300 <= status_code < 400:
        return f"The receiver answered {status_code}; redirects are not followed."
    if status_code == _GONE:
        return "The receiver answered 410 Gone; its URL is sent no more."
    return f"The receiver answered {status_code}."


def signed_headers(
    webhook_id: str, body: str, secrets: Sequence[str], *, now: int
) -> dict[str, str]:
    """The headers of Standard Webhooks 1.0, with a signature by each secret.

    Per https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    from standardwebhooks import Webhook

    moment = datetime.fromtimestamp(now // clock.SECOND, UTC)
    signatures = [Webhook(secret).sign(webhook_id, moment, body) for secret in secrets]
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(now // clock.SECOND),
        "webhook-signature": " ".join(signatures),
    }
