"""Unique indexes that documents of several kinds have."""

from __future__ import annotations

from pymongo import ASCENDING, IndexModel

ONE_PER_NUMBER = IndexModel(
    [("tenant_id", ASCENDING), ("number", ASCENDING)],
    name="number",
    unique=True,
    partialFilterExpression={"number": {"$gt": ""}},
)
"""A clinic gives each number once."""
ONE_PER_REQUEST = IndexModel(
    [("tenant_id", ASCENDING), ("requests.id", ASCENDING)],
    name="requests",
    unique=True,
    partialFilterExpression={"requests.id": {"$gt": ""}},
)
"""A request with an idempotency key has its effect once."""
