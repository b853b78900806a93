"""Logs: one JSON object per line on standard output, with who and where, without secrets or patient data."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, BinaryIO, Protocol

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app.errors import TenantGuardRefused, TenantScopeRequired, TenantWallBroken
from app.tenancy.scope import scope_or_none

FORBIDDEN_WORDS = (
    "password",
    "passwd",
    "token",
    "authorization",
    "cookie",
    "secret",
    "api_key",
    "apikey",
    "credential",
    "otp",
    "email",
    "phone",
    "birth",
    "national_id",
    "patient_name",
    "first_name",
    "last_name",
    "full_name",
    "diagnosis",
    "variables",
    "headers",
)
"""A key that holds one of these words is dropped, at any depth, whatever its value."""
FORBIDDEN_KEYS = frozenset({"query", "body"})

QUIET_LOGGERS = ("pymongo", "httpx", "httpcore", "asyncio.sslproto", "multipart", "taskiq")
"""These repeat commands, addresses with queries or bodies at the lower levels."""

_TELLS_NO_VALUES = (
    TenantWallBroken,
    TenantGuardRefused,
    TenantScopeRequired,
    AttributeError,
    NameError,
    ImportError,
)
_MAX_FRAMES = 40
_PLAIN = frozenset({str, int, float, bool, type(None)})


class LogSettings(Protocol):
    @property
    def log_level(self) -> str: ...
    @property
    def environment(self) -> str: ...


def configure_logging(settings: LogSettings, stream: BinaryIO | None = None) -> None:
    """Sends structlog and the standard library's loggers through one pipeline to `stream` (stdout).

    In development the lines are for people; everywhere else they are JSON. Safe to call again.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    writer = structlog.BytesLogger(stream or sys.stdout.buffer)
    structlog.configure(
        processors=_processors(pretty=settings.environment == "development"),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,  # a logger that keeps itself would not see the next configuration
    )
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in ("uvicorn.access", "pymongo.command"):
        logging.getLogger(name).disabled = True
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def error_trace(error: BaseException) -> list[str]:
    """The error and its causes as `Type` and `file:line in function` lines, outermost first.

    Neither local variables nor messages are shown: a driver's or validator's message quotes values. Only
    types whose messages are made of names (and the tenancy errors, which are ours) keep their text.
    """
    lines: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen and len(lines) < _MAX_FRAMES:
        seen.add(id(link))
        lines.append(_headline(link))
        lines.extend(_frames(link))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return lines[:_MAX_FRAMES]


class _Bridge(logging.Handler):
    """Hands the records of the standard library's loggers to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        structlog.get_logger().log(level, _plain_message(record), logger=record.name, exc_info=error)


def _plain_message(record: logging.LogRecord) -> str:
    """The message without what asyncio (reprs and arguments) and Strawberry (error texts) put into it."""
    if record.name.startswith("strawberry"):
        return "error while executing an operation"
    try:
        message = record.getMessage()
    except (TypeError, ValueError):  # a package's mistake in its own format must not fail our request
        message = "unreadable log record"
    return re.split(r"[\n(]", message, maxsplit=1)[0] if record.name == "asyncio" else message


def _processors(*, pretty: bool) -> list[Processor]:
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_scope,
        drop_forbidden,
        render_error,
    ]
    return [*shared, _console] if pretty else [*shared, _json]


def add_scope(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Adds `request_id`, `tenant` (subdomain) and `user` (id) of the running task's scope, if any."""
    scope = scope_or_none()
    if scope is None:
        return event
    event.setdefault("request_id", scope.request_id)
    if scope.tenant is not None:
        event.setdefault("tenant", scope.tenant.subdomain)
    if scope.actor is not None:
        event.setdefault("user", str(scope.actor.user_id))
    return event


def drop_forbidden(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drops each key that may hold a secret or a patient's data, in nested mappings and lists too."""
    _drop_in(event)
    return event


def render_error(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Turns `exc_info` (True, an error or a triple) into `error` and `stack`, without values."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        event["stack"] = error_trace(error)
    return event


def _drop_in(mapping: MutableMapping[str, Any]) -> None:
    for key in [key for key in mapping if _is_forbidden(str(key))]:
        del mapping[key]
    for key, value in mapping.items():
        if type(value) not in _PLAIN and isinstance(value, Mapping | list | tuple):
            mapping[key] = _without_forbidden(value)


def _without_forbidden(value: Any) -> Any:
    if isinstance(value, Mapping):
        copy = dict(value)
        _drop_in(copy)
        return copy
    return [_without_forbidden(item) for item in value] if isinstance(value, list | tuple) else value


@lru_cache(maxsize=1024)  # our own words, nearly all of them, and the same ones for every line
def _is_forbidden(key: str) -> bool:
    lowered = key.lower().replace("-", "_")
    return lowered in FORBIDDEN_KEYS or any(word in lowered for word in FORBIDDEN_WORDS)


def _json(_: WrappedLogger, __: str, event: EventDict) -> bytes:
    try:
        return orjson.dumps(event, default=_type_only, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:  # lone surrogates and huge integers, which must not stop a request
        return json.dumps(event, default=_type_only, skipkeys=True).encode()


def _type_only(value: object) -> str:
    """An object that is not JSON is logged by its type: its repr may hold a document."""
    return f"<{type(value).__name__}>"


_renderer = structlog.dev.ConsoleRenderer(
    colors=False, exception_formatter=structlog.dev.plain_traceback, pad_event_to=24
)


def _console(logger: WrappedLogger, name: str, event: EventDict) -> bytes:
    stack = event.pop("stack", ())
    line = _renderer(logger, name, event)
    return "\n    ".join([line, *stack]).encode("utf-8", "backslashreplace")


def _headline(error: BaseException) -> str:
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, _TELLS_NO_VALUES) else name


def _frames(error: BaseException) -> list[str]:
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename}:{trace.tb_lineno} in {code.co_qualname}")
        trace = trace.tb_next
    return frames
