"""What a caller is told when something below broke: one mapping for every boundary."""

from __future__ import annotations

from pymongo.errors import ConnectionFailure, ExecutionTimeout, PyMongoError

from app.errors import AppError, Internal, Unavailable


def is_database_down(error: BaseException) -> bool:
    """Whether the database was out of reach or out of time, so that a later try may succeed."""
    if isinstance(error, ConnectionFailure | ExecutionTimeout):
        return True
    return isinstance(error, PyMongoError) and error.timeout


def as_app_error(error: BaseException) -> AppError:
    """The expected failure itself, `Unavailable` for a database out of reach, else `Internal`."""
    if isinstance(error, AppError):
        return error
    return Unavailable() if is_database_down(error) else Internal()
