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
    OUT_OF_STOCK = "OUT_OF_STOCK"
    RATE_LIMITED = "RATE_LIMITED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    PLAN_REQUIRED = "PLAN_REQUIRED"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    QUERY_TOO_COMPLEX = "QUERY_TOO_COMPLEX"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    PERSISTED_QUERY_NOT_SUPPORTED = "PERSISTED_QUERY_NOT_SUPPORTED"
    PERSISTED_QUERY_REQUIRED = "PERSISTED_QUERY_REQUIRED"
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


class SecondFactorNeeded(Unauthenticated):
    """The password was right, and it is not enough: one of `methods` must come with it."""

    default_message = "A second factor is needed."

    def __init__(self, methods: Sequence[str], message: str | None = None) -> None:
        super().__init__(message)
        self.methods = tuple(methods)

    def extensions(self) -> dict[str, Any]:
        return {"secondFactor": list(self.methods)}


class SecondFactorRequired(Forbidden):
    """The clinic asks for a second factor that the session has not. Enrolling one in this session mends it."""

    default_message = "This clinic asks for a second factor. Enrol one, or sign in with it."

    def extensions(self) -> dict[str, Any]:
        return {"secondFactorRequired": True}


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


class PossibleDuplicates(Conflict):
    """Patients are here who may be the same person; `patients` are their ids."""

    default_message = "There may be a record of this patient already."

    def __init__(self, patients: Sequence[str]) -> None:
        why = "must name each possible duplicate that was looked at and is somebody else"
        super().__init__(fields=[FieldError("input.confirmedDuplicates", why)])
        self.patients = tuple(patients)

    def extensions(self) -> dict[str, Any]:
        return {"possibleDuplicates": list(self.patients)}


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


class SeriesTaken(SlotTaken):
    """Dates of a series cannot be booked: for each its start, what is in the way, and the next free starts."""

    default_message = "Some dates cannot be booked."

    def __init__(self, obstructed: Sequence[tuple[datetime, str, Sequence[datetime]]]) -> None:
        super().__init__()
        self.obstructed = tuple(obstructed)

    def extensions(self) -> dict[str, Any]:
        dates = [
            {
                "startsAt": start.isoformat(),
                "obstacle": obstacle.upper(),
                "alternatives": [moment.isoformat() for moment in alternatives],
            }
            for start, obstacle, alternatives in self.obstructed
        ]
        return {**super().extensions(), "dates": dates}


class InvalidState(AppError):
    """The document's state machine does not allow this step."""

    code = ErrorCode.INVALID_STATE
    http_status = 409
    default_message = "This step is not allowed in the present state."


class OutOfStock(AppError):
    """The stock has less than is wanted; `available` is how many units can be had."""

    code = ErrorCode.OUT_OF_STOCK
    http_status = 409
    default_message = "There is not enough in stock."

    def __init__(self, available: int, message: str, path: str) -> None:
        super().__init__(message, [FieldError(path, f"is more than there is, {available}")])
        self.available = available

    def extensions(self) -> dict[str, Any]:
        return {"available": self.available}


class QuotaExceeded(AppError):
    """The clinic has used up what it may have."""

    code = ErrorCode.QUOTA_EXCEEDED
    http_status = 409
    default_message = "The clinic has used up what it may have."


class PlanRequired(AppError):
    """The clinic's plan has ended, or does not include this."""

    code = ErrorCode.PLAN_REQUIRED
    http_status = 402
    default_message = "The clinic's plan has ended. What is here can be read and exported; renew it to go on."


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


class PersistedQueryNotFound(AppError):
    """No document is kept under this id. Clients know message, code and status, and send the document as well."""

    code = ErrorCode.PERSISTED_QUERY_NOT_FOUND
    http_status = 200
    default_message = "PersistedQueryNotFound"


class PersistedQueryNotSupported(AppError):
    """No documents are kept here. Clients know message, code and status, and send documents from then on."""

    code = ErrorCode.PERSISTED_QUERY_NOT_SUPPORTED
    http_status = 200
    default_message = "PersistedQueryNotSupported"


class PersistedQueryRequired(AppError):
    """Only documents that were registered may run here, and this is none of them."""

    code = ErrorCode.PERSISTED_QUERY_REQUIRED
    http_status = 403
    default_message = (
        "Only registered documents run here: send the documentId of one. Neither other documents nor introspection do."
    )


class Unavailable(AppError):
    """The database does not answer in time."""

    code = ErrorCode.UNAVAILABLE
    http_status = 503
    default_message = "The service is busy or unavailable. Try again shortly."


class BeingMoved(Unavailable):
    """The clinic is on its way to another database, and can be read only until it is there."""

    default_message = "The clinic is being moved and can only be read for the moment. Try again shortly."


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
