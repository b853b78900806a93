"""What the filters of both logs have in common: texts that must be equal, and a span of time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.errors import ValidationFailed

LONGEST = 200


def filtered(texts: dict[str, str | None], start: datetime | None, end: datetime | None) -> dict[str, Any]:
    """The filter for rows whose columns equal `texts` (None: any) and whose `at` lies in [start, end).

    Raises VALIDATION_FAILED at `filter.…` for a text that is too long, or for a span that ends before it starts.
    """
    where: dict[str, Any] = {}
    for name, text in texts.items():
        if text is not None:
            if len(text) > LONGEST:
                raise ValidationFailed.at(f"filter.{name}", f"must have at most {LONGEST} characters")
            where[name] = text
    if start and end and end <= start:
        raise ValidationFailed.at("filter.to", "must be after from")
    if within := {operator: moment for operator, moment in (("$gte", start), ("$lt", end)) if moment is not None}:
        where["at"] = within
    return where
