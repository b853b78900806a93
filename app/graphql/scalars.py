"""Scalars with stricter rules than Strawberry's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition


def parse_instant(value: Any) -> datetime:
    """An ISO 8601 date and time with offset, as an instant in UTC of whole milliseconds."""
    if not isinstance(value, str):
        raise GraphQLError("DateTime must be text such as 2026-03-08T09:30:00-05:00")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise GraphQLError("DateTime needs an offset, such as Z or -05:00")
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise GraphQLError("DateTime must be text such as 2026-03-08T09:30:00-05:00") from error
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def show_instant(value: datetime) -> str:
    """An aware datetime in ISO 8601 with offset."""
    return value.isoformat()


SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="An instant: ISO 8601 with offset.",
        serialize=show_instant,
        parse_value=parse_instant,
    )
}
