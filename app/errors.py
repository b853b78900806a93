"""Every failure that a caller can expect, each with a stable code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar


class ErrorCode(StrEnum):
    """Stable codes of `extensions.code`; part of the GraphQL schema."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    TENANT_NOT_FOUND = "TENANT_NOT_FOUND"
    TENANT_MISMATCH = "TENANT_MISMATCH"
    NOT_FOUND = "NOT_FOUND"
    VALIDATION_FAILED = "VALIDATION_FAILED"
    CONFLICT = "CONFLICT"
    SLOT_TAKEN = "SLOT_TAKEN"
    INVALID_STATE = "INVALID_STATE"
    RATE_LIMITED = "RATE_LIMITED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    PLAN_REQUIRED = "PLAN_REQUIRED"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    QUERY_TOO_COMPLEX = "QUERY_TOO_COMPLEX"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong input: `path` as the client wrote it (`input.admin.email`), and what is wrong."""

    path: str
    message: str


class AppError(Exception):
    """An expected failure. The message is shown to the client, so it never holds another clinic's data."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL
    http_status: ClassVar[int] = 500
    default_message: ClassVar[str] = "Something went wrong."

    def __init__(self, message: str | None = None, fields: Sequence[FieldError] = ()) -> None:
        self.message = message or self.default_message
        self.fields = tuple(fields)
        super().__init__(self.message)

    def extensions(self) -> dict[str, Any]:
        """What this kind of failure tells beside `code`, `requestId` and `fields`."""
        return {}

    def described(self, request_id: str) -> dict[str, Any]:
        """What every boundary tells beside the message: GraphQL as `extensions`, REST within `error`."""
        fields = [{"path": field.path, "message": field.message} for field in self.fields]
        return {"code": self.code.value, "requestId": request_id, "fields": fields, **self.extensions()}


class Unauthenticated(AppError):
    """Nobody is signed in, or the session has ended."""

    code = ErrorCode.UNAUTHENTICATED
    http_status = 401
    default_message = "Sign in first."


class Forbidden(AppError):
    """The person is known and may not do this."""

    code = ErrorCode.FORBIDDEN
    http_status = 403
    default_message = "You may not do this."


class TenantNotFound(AppError):
    """No active clinic answers on this host."""

    code = ErrorCode.TENANT_NOT_FOUND
    http_status = 404
    default_message = "Clinic not found."


class TenantMismatch(AppError):
    """The session has not entered the clinic of this host."""

    code = ErrorCode.TENANT_MISMATCH
    http_status = 403
    default_message = "This session has not entered this clinic. Call switchTenant here."


class NotFound(AppError):
    """No such document for this clinic: the same answer whether it exists elsewhere or nowhere."""

    code = ErrorCode.NOT_FOUND
    http_status = 404
    default_message = "Not found."

    @classmethod
    def at(cls, path: str, message: str = "Not found.") -> NotFound:
        return cls(message, [FieldError(path, message)])


class ValidationFailed(AppError):
    """The input is wrong; `fields` says where."""

    code = ErrorCode.VALIDATION_FAILED
    http_status = 400
    default_message = "Some values are not valid."

    @classmethod
    def at(cls, path: str, message: str) -> ValidationFailed:
        return cls(None, [FieldError(path, message)])


class Conflict(AppError):
    """Somebody changed it first, or a unique value is taken."""

    code = ErrorCode.CONFLICT
    http_status = 409
    default_message = "It was changed in the meantime. Load it again."


class SlotTaken(AppError):
    """The time is taken; `alternatives` are the next free starts (aware datetimes, UTC)."""

    code = ErrorCode.SLOT_TAKEN
    http_status = 409
    default_message = "This time is no longer free."

    def __init__(self, alternatives: Sequence[datetime] = ()) -> None:
        super().__init__()
        self.alternatives = tuple(alternatives)

    def extensions(self) -> dict[str, Any]:
        return {"alternatives": [moment.isoformat() for moment in self.alternatives]}


class InvalidState(AppError):
    """The document's state machine does not allow this step."""

    code = ErrorCode.INVALID_STATE
    http_status = 409
    default_message = "This step is not allowed in the present state."


class RateLimited(AppError):
    """Too many tries; `retry_after` is in whole seconds."""

    code = ErrorCode.RATE_LIMITED
    http_status = 429
    default_message = "Too many requests. Try again later."

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after

    def extensions(self) -> dict[str, Any]:
        return {"retryAfter": self.retry_after}


class IdempotencyConflict(AppError):
    """The idempotency key was used before with another input."""

    code = ErrorCode.IDEMPOTENCY_CONFLICT
    http_status = 409
    default_message = "This idempotency key was used with another input."


class QueryTooComplex(AppError):
    """The GraphQL document goes over a bound; the message names it."""

    code = ErrorCode.QUERY_TOO_COMPLEX
    http_status = 400
    default_message = "The query is too complex."


class Unavailable(AppError):
    """The database does not answer in time."""

    code = ErrorCode.UNAVAILABLE
    http_status = 503
    default_message = "The service is busy or unavailable. Try again shortly."


class Internal(AppError):
    """Anything unforeseen. The client sees the request id and nothing else."""

    default_message = "Internal error."


class TenantScopeRequired(Exception):
    """A clinic's data was touched with no clinic in scope: a bug, never a client's mistake."""


class TenantGuardRefused(Exception):
    """The guard does not let this operation through: a bug in the calling code."""


class TenantWallBroken(BaseException):
    """A command reached the wire on a clinic's collection without its tenant.

    Not an `Exception`, because the driver swallows those in command listeners.
    """
