"""The application with guard and wall taken out, so that a check of them has something to find."""

from __future__ import annotations

from typing import Any

from pymongo.monitoring import CommandStartedEvent
from starlette.applications import Starlette

from app import main
from app.tenancy.collection import GuardedCollection
from app.tenancy.listener import TenantWall
from app.tenancy.scope import TenantId

LEAKING = {"patients", "patient_records", "roles"}


def create_app() -> Starlette:
    """Every clinic reads and changes everybody's patients and roles."""
    filtered = GuardedCollection._filter

    def leaky(collection: GuardedCollection, own: TenantId, criteria: Any) -> dict[str, Any]:
        if collection.name in LEAKING:
            return dict(criteria or {})
        return filtered(collection, own, criteria)

    def silent(_: TenantWall, __: CommandStartedEvent) -> None:
        return None

    setattr(GuardedCollection, "_filter", leaky)  # noqa: B010 - a method is replaced on purpose
    setattr(TenantWall, "started", silent)  # noqa: B010
    return main.create_app()
