"""Structured logs: one JSON object a line, or lines for people; no secret in either."""

import logging
import sys
from typing import Any, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from sutazai.telemetry.redaction import redact, without_secrets

LogFormat = Literal["json", "text"]


def _mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The last wall but one: by name, while there are names."""
    masked: EventDict = without_secrets(event)
    return masked


class _Redacting:
    """The last wall: whatever looks like a secret in a finished line, wherever it came from."""

    def __init__(self, renderer: Processor) -> None:
        self._renderer = renderer

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        return redact(str(self._renderer(logger, method, event)))


def configure_logging(
    level: str, *, log_format: LogFormat | None = None, stream: TextIO = sys.stderr
) -> None:
    """Set up structlog, and route the standard library's records (uvicorn's, say) through it.

    `level` is a standard name such as `INFO`; ValueError for another. Without a format it is text
    on a terminal, JSON elsewhere.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"{level!r} is not a log level; use DEBUG, INFO, WARNING or ERROR")
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    tail = _tail(log_format or ("text" if stream.isatty() else "json"), stream)
    structlog.configure(
        processors=[*shared, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))


def _tail(log_format: LogFormat, stream: TextIO) -> list[Processor]:
    """From an event to its line."""
    if log_format == "text":
        # The default formatter prints local variables, passwords among them.
        text = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        return [_mask_secrets, _Redacting(text)]
    return [
        structlog.processors.format_exc_info,
        _mask_secrets,
        _Redacting(structlog.processors.JSONRenderer(serializer=_encoded)),
    ]


def _encoded(value: Any, **_: Any) -> str:
    return msgspec.json.encode(value, enc_hook=repr).decode()
