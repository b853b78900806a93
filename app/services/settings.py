"""The clinic's settings: its own booking rules, and what the platform knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import FieldError, NotFound, ValidationFailed
from app.services.changes import another_version, checked
from app.tenancy.scope import current_scope
from models import Settings, Tenant
from models.tenant import ClinicSettings
from models.values import now

REGIONAL = frozenset(
    {
        "timezone",
        "currency",
        "currency_symbol",
        "currency_position",
        "date_format",
        "time_format",
        "language",
        "number_format",
        "logo",
        "primary_color",
        "secondary_color",
    }
)
PROFILE = frozenset({"name", "display_name", "email", "phone", "address"})


async def clinic_settings() -> Settings:
    """This clinic's booking and numbering rules."""
    found = await Settings.find_one({})
    if found is None:
        raise NotFound("The clinic has no settings.")
    return found


async def clinic() -> Tenant:
    """This clinic as the platform knows it."""
    found = await Tenant.get(current_scope().tenant_id)
    if found is None:
        raise NotFound
    return found


async def require_own_currency(currency: str, *, at: str) -> None:
    """Raises VALIDATION_FAILED at the path `at` unless this is the clinic's currency: it keeps no other prices."""
    own = (await clinic()).settings.currency
    if currency != own:
        raise ValidationFailed.at(at, f"must be the clinic's currency, {own}")


async def change_settings(version: int, changes: Mapping[str, Any]) -> None:
    """Applies changes to the clinic's rules, profile and regional settings; all or none.

    `version` is that of the clinic's rules, which every change raises. Raises CONFLICT when it is another by now.
    """
    own, platform = _split(changes)

    async def work(session: AsyncClientSession) -> None:
        row = await Settings.guarded().find_one_and_update(
            {"version": version},
            {"$set": {**own, "updated_at": now()}, "$inc": {"version": 1}},
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        if row is None:
            raise another_version()
        if platform:
            await Tenant.get_pymongo_collection().update_one(
                {"_id": current_scope().tenant_id},
                {"$set": {**platform, "updated_at": now()}, "$inc": {"version": 1}},
                session=session,
            )

    await in_transaction(work)


def _split(changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The checked changes for the clinic's own document, and those for its tenant, as stored paths.

    Raises VALIDATION_FAILED with the paths of all that is wrong, wherever it is stored.
    """
    parts: list[dict[str, Any]] = []
    wrong: list[FieldError] = []
    for model, names in ((Settings, Settings.model_fields.keys()), (Tenant, PROFILE), (ClinicSettings, REGIONAL)):
        try:
            parts.append(checked(model, {name: value for name, value in changes.items() if name in names}))
        except ValidationFailed as error:
            wrong += error.fields
    if wrong:
        raise ValidationFailed(fields=wrong)
    own, profile, regional = parts
    return own, profile | {f"settings.{name}": value for name, value in regional.items()}
