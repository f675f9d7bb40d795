"""Structured logs on stderr: readable on a terminal, one JSON object per line elsewhere."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

get_logger = structlog.get_logger

_SECRET_KEYS = re.compile(r"(?i)password|passwd|secret|token|authorization|credential|private_key|seed$")
# A presigned URL is a bearer credential until it expires, and a NATS URL may carry a password.
_SECRET_TEXT = re.compile(
    r"(?i)((?:x-amz-signature|x-amz-security-token|x-amz-credential)=)[^&\s'\"]+|(://)[^/@\s:]*:[^/@\s]+@"
)


def _hide_text(text: str) -> str:
    return _SECRET_TEXT.sub(lambda found: f"{found[1]}***" if found[1] else f"{found[2]}***@", text)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: hides values under secret-looking keys, URL signatures and passwords in URLs."""
    for key, value in event.items():
        if _SECRET_KEYS.search(key) and isinstance(value, str | bytes):
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = _hide_text(value)
    return event


def configure(service: str, *, level: str = "info", format: Literal["auto", "console", "json"] = "auto") -> None:  # noqa: A002
    """Sends structlog and the standard library's logging (grpc, nats, sqlalchemy) to stderr in one shape.

    Call once, at start; calling it again replaces the configuration. Values under keys that look like secrets,
    signatures of presigned URLs and passwords in URLs are hidden.
    """

    def add_service(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("service", service)
        return event

    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
    ]
    console = format == "console" or (format == "auto" and sys.stderr.isatty())
    renderer: list[structlog.types.Processor]
    if console:
        # A person reads along: the time of day, no service that is the only one there, no padding that 80 columns lack.
        shared += [structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)]
        # The console renderer prints tracebacks itself.
        renderer = [redact, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)]
    else:
        shared += [structlog.processors.TimeStamper(fmt="iso", utc=True), add_service]
        renderer = [structlog.processors.format_exc_info, redact, structlog.processors.JSONRenderer(default=str)]

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Libraries at debug would drown our own events (and urllib3 would print presigned URLs).
    for noisy in ("asyncio", "grpc", "nats", "urllib3", "hpack"):
        logging.getLogger(noisy).setLevel(max(logging.INFO, root.level))
    # SQLAlchemy says every statement at info, alembic every start.
    for noisy in ("sqlalchemy", "alembic"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
