"""How failures are told to clients: by code and place when they were expected, by request id alone otherwise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import structlog
from graphql import GraphQLError
from pydantic import ValidationError
from pymongo.errors import DuplicateKeyError

from app.db.failures import is_database_down
from app.errors import AppError, Conflict, ErrorCode, Internal, Unavailable, ValidationFailed
from app.services.changes import complaints

log = structlog.get_logger(__name__)
_MISFIT = re.compile(
    r"(?:Variable '\$|Argument ')(?P<name>\w+)'[^:]*? "
    r"(?:has invalid value(?: at (?P<place>[\w.\[\]]+))?: |of required type .* was not provided\.)"
)
"""How graphql-core begins when a variable or an argument does not fit its type."""
_FIELD = re.compile(r"(?:required|unknown) field '(\w+)'")
"""How it names a field that is missing or one too many."""

STATUS_WITHOUT_DATA = {
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.TENANT_MISMATCH: 403,
    ErrorCode.TENANT_NOT_FOUND: 404,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.INTERNAL: 500,
}
"""HTTP status of an answer in which nothing but these errors came back. All other answers are 200."""


def expected(error: BaseException | None) -> AppError | None:
    """The `AppError` that stands for an exception, or None when it is unforeseen."""
    if isinstance(error, AppError):
        return error
    if isinstance(error, ValidationError):
        return ValidationFailed(fields=complaints(error, "input"))
    if isinstance(error, DuplicateKeyError):
        return Conflict("There is one like it already.")
    if error is not None and is_database_down(error):
        return Unavailable()
    return None


def render(error: GraphQLError, request_id: str) -> dict[str, Any]:
    """One entry of `errors`. Unforeseen failures are logged with their stack and shown as INTERNAL."""
    known = _client_mistake(error) or expected(error.original_error)
    if known is None:
        log.error("unforeseen failure in a resolver", path=error.path, exc_info=error.original_error)
        known = Internal()
    shown: dict[str, Any] = {"message": known.message}
    if error.locations:
        shown["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
    if error.path:
        shown["path"] = list(error.path)
    shown["extensions"] = known.described(request_id)
    return shown


def _client_mistake(error: GraphQLError) -> AppError | None:
    """graphql-core's own findings: syntax, validation, and values that do not fit. None for everything else.

    What it finds when it runs a field may also be our own mistake, such as a value that its type cannot show; only
    the argument's place tells that it is the client's.
    """
    if error.original_error is not None and not isinstance(error.original_error, GraphQLError):
        return None
    misfit = _MISFIT.match(error.message)
    if misfit is not None:
        wrong, _, _ = error.message[misfit.end() :].partition(", found: ")  # leaves out what the client sent
        steps = re.findall(r"\w+", misfit["place"] or "") + _FIELD.findall(wrong)
        return ValidationFailed.at(".".join((misfit["name"], *steps)), wrong or "must be given")
    return ValidationFailed(error.message) if error.path is None else None


def status_of(data: dict[str, Any] | None, codes: Sequence[ErrorCode]) -> int:
    """The HTTP status: that of the first telling code when no data came back at all, else 200."""
    if data and any(value is not None for value in data.values()):
        return 200
    return next((STATUS_WITHOUT_DATA[code] for code in codes if code in STATUS_WITHOUT_DATA), 200)
