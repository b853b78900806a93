"""Indexes of documents that are listed, found and told apart by name."""

from __future__ import annotations

from pymongo import ASCENDING, IndexModel

BY_NAME = IndexModel([("tenant_id", ASCENDING), ("name_key", ASCENDING), ("_id", ASCENDING)], name="name")
"""The order of a list by name, and search by the beginning of one."""

ONE_PER_NAME = IndexModel(
    [("tenant_id", ASCENDING), ("name_key", ASCENDING)],
    name="one_per_name",
    unique=True,
    partialFilterExpression={"archived_at": None},
)
"""No two in use bear one name at one clinic; what is archived gives its name free."""
