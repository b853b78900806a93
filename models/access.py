"""Roles and permissions as documents of each clinic."""

from __future__ import annotations

from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field, StringConstraints
from pymongo import ASCENDING, IndexModel

from app.permissions import Permission as Right
from models.base import TenantDocument, Versioned
from models.references import Reference
from models.values import Line

RoleName = Annotated[
    str, StringConstraints(strip_whitespace=True, to_lower=True, pattern=r"^[A-Za-z][A-Za-z0-9_ -]{1,39}$")
]


class Role(Versioned, TenantDocument):
    """A named set of rights. `level` (1–100) orders roles; seeded ones (`system`) cannot be renamed or removed."""

    name: RoleName
    level: int = Field(ge=1, le=100)
    description: Line | None = None
    system: bool = False

    class Settings:
        name = "roles"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("name", ASCENDING)], name="name", unique=True),
            IndexModel([("tenant_id", ASCENDING), ("level", ASCENDING), ("_id", ASCENDING)], name="level"),
        )


class RolePermission(TenantDocument):
    """What one role may do with one resource: `actions` of the Permission enum."""

    role_id: Annotated[PydanticObjectId, Reference("roles")]
    resource: str
    actions: list[str]

    class Settings:
        name = "permissions"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("role_id", ASCENDING), ("resource", ASCENDING)],
                name="role_resource",
                unique=True,
            ),
        )

    def rights(self) -> frozenset[Right]:
        """The stored actions as rights; actions that no longer exist are left out."""
        known = {right.value: right for right in Right}
        wanted = (f"{self.resource}:{action}" for action in self.actions)
        return frozenset(known[name] for name in wanted if name in known)
