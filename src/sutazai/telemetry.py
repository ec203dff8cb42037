"""Structured logs: one JSON object a line off a terminal, readable lines on one."""

import logging
import sys
from typing import TextIO

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

_SECRET_KEYS = frozenset(
    {"password", "token", "access_token", "refresh_token", "secret", "authorization", "api_key"}
)


def _mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The last wall: a value under such a name never reaches the log, whoever passed it."""
    for key in _SECRET_KEYS & event.keys():
        event[key] = "***"
    return event


def configure_logging(level: str, *, stream: TextIO = sys.stderr) -> None:
    """Set up structlog, and route the standard library's records through it.

    `level` is a standard name such as `INFO`; ValueError for another.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"{level!r} is not a log level; use DEBUG, INFO, WARNING or ERROR")
    renderer: structlog.typing.Processor
    if stream.isatty():
        # The default formatter prints local variables, passwords among them.
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    else:
        renderer = structlog.processors.JSONRenderer(
            serializer=lambda value, **_: msgspec.json.encode(value, enc_hook=repr).decode()
        )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        _mask_secrets,
    ]
    tail: list[structlog.typing.Processor] = (
        [renderer] if stream.isatty() else [structlog.processors.format_exc_info, renderer]
    )
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
