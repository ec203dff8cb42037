"""Traces by OpenTelemetry, from a request through its job to the agent, in any process.

Without `sutazai[otel]` or without an endpoint there is no `Tracing`, and nothing is imported. The
provider is ours, not the process's global one, so that nothing traces behind our back.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Link, Span

_ENTRY = "traceparent"
_PATH = "/v1/traces"

Attributes = Mapping[str, str | int | float | bool]


class Kind(StrEnum):
    """OpenTelemetry's kinds of spans, as far as we have them."""

    SERVER = "SERVER"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"
    CLIENT = "CLIENT"
    INTERNAL = "INTERNAL"


class Attempt:
    """An attempt at a job, whose span has an id that any process can reckon.

    So a retry can point to the attempt before it, even one whose process died.
    """

    def __init__(self, key: str, token: int) -> None:
        """`token` is the attempt's fencing token."""
        self._key = key
        self._token = token

    @property
    def span_id(self) -> int:
        """Eight bytes, never zero."""
        said = f"{self._key}/{self._token}".encode()
        return int.from_bytes(hashlib.sha256(said).digest()[:8], "big") or 1

    def below(self, traceparent: str) -> str:
        """The `traceparent` of what this attempt has others do, from that of its job."""
        version, trace_id, _, flags = traceparent.split("-")[:4]
        return f"{version}-{trace_id}-{self.span_id:016x}-{flags}"

    @property
    def before(self) -> "Attempt | None":
        """The attempt that this one repeats: claiming and putting back each raise the token."""
        return Attempt(self._key, self._token - 2) if self._token > 2 else None


class Tracing:
    """Makes spans; `processor` is where they go when they end."""

    def __init__(self, *, processor: "SpanProcessor", version: str) -> None:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        chosen = self._chosen_id

        class _Ids(RandomIdGenerator):
            def generate_span_id(self) -> int:
                return chosen.get() or super().generate_span_id()

        said = {"service.name": "sutazai", "service.version": version}
        self._provider = TracerProvider(
            # What OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say counts more.
            resource=Resource.create(said).merge(OTELResourceDetector().detect()),
            id_generator=_Ids(),
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("sutazai", version)

    _chosen_id: ContextVar[int | None] = ContextVar("chosen_span_id", default=None)

    @classmethod
    def to(cls, endpoint: str | None, *, version: str) -> "Tracing":
        """Sends spans by OTLP over HTTP to a collector's URL, or to where OTEL_EXPORTER_OTLP_* say.

        ImportError without the extra `otel`.
        """
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        url = None if endpoint is None else endpoint.rstrip("/") + _PATH
        return cls(processor=BatchSpanProcessor(OTLPSpanExporter(endpoint=url)), version=version)

    async def close(self) -> None:
        """Send what is left."""
        await asyncio.to_thread(self._provider.shutdown)

    @contextlib.contextmanager
    def span(
        self,
        name: str,
        *,
        kind: Kind = Kind.INTERNAL,
        parent: str | None = None,
        attempt: Attempt | None = None,
        attributes: Attributes | None = None,
    ) -> Iterator["Span"]:
        """A span around the block, below `parent` (a `traceparent`), else below the current one.

        What is raised marks it as failed, by its type alone: messages may quote anything.
        """
        from opentelemetry.trace import Status, StatusCode

        span = self._started(name, kind, parent, attempt, attributes)
        with _current(span):
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise
            finally:
                span.end()

    def record(
        self,
        name: str,
        *,
        kind: Kind = Kind.INTERNAL,
        parent: str,
        attempt: Attempt,
        attributes: Attributes,
        begun: int,
        ended: int,
        error_type: str | None = None,
    ) -> None:
        """A span of what was done elsewhere, and is over; its moments in microseconds."""
        span = self._started(name, kind, parent, attempt, attributes, start_time=begun * 1000)
        if error_type is not None:
            fail(span, error_type)
        span.end(ended * 1000)

    def _started(
        self,
        name: str,
        kind: Kind,
        parent: str | None,
        attempt: Attempt | None,
        attributes: Attributes | None,
        start_time: int | None = None,
    ) -> "Span":
        from opentelemetry.trace import SpanKind

        context = _context(parent)
        token = self._chosen_id.set(attempt.span_id if attempt else None)
        try:
            return self._tracer.start_span(
                name,
                context=context,
                kind=SpanKind[kind],
                attributes=attributes,
                links=_links(context, attempt),
                start_time=start_time,
            )
        finally:
            self._chosen_id.reset(token)


def span(
    tracing: Tracing | None,
    name: str,
    *,
    kind: Kind = Kind.INTERNAL,
    parent: str | None = None,
    attempt: Attempt | None = None,
    attributes: Attributes | None = None,
) -> AbstractContextManager["Span | None"]:
    """See `Tracing.span`; nothing at all where there is no tracing."""
    if tracing is None:
        return _NOTHING
    return tracing.span(name, kind=kind, parent=parent, attempt=attempt, attributes=attributes)


_NOTHING: AbstractContextManager[None] = contextlib.nullcontext()


def traceparent_of(current: "Span | None") -> str | None:
    """What carries a span's place to another process, by W3C Trace Context; None without a span."""
    if current is None:
        return None
    context = current.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def fail(current: "Span | None", error_type: str) -> None:
    """Mark a span as failed where nothing is raised."""
    if current is not None:
        from opentelemetry.trace import Status, StatusCode

        current.set_attribute("error.type", error_type)
        current.set_status(Status(StatusCode.ERROR))


def _context(parent: str | None) -> "Context | None":
    if parent is None:
        return None
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({_ENTRY: parent}, context=Context())


def _links(context: "Context | None", attempt: Attempt | None) -> Sequence["Link"]:
    before = None if attempt is None else attempt.before
    if before is None:
        return ()
    from opentelemetry.trace import Link, SpanContext, get_current_span

    parent = get_current_span(context).get_span_context()
    return [
        Link(
            SpanContext(
                parent.trace_id,
                before.span_id,
                is_remote=True,
                trace_flags=parent.trace_flags,
            )
        )
    ]


def _current(current: "Span") -> AbstractContextManager["Span"]:
    from opentelemetry.trace import use_span

    return use_span(current, record_exception=False, set_status_on_exception=False)
