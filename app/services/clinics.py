"""A clinic by its subdomain, for commands and what runs above the clinics. Whoever names one that is not there is told
so in one phrase, whatever they wanted of it."""

from __future__ import annotations

from app.errors import InvalidState, NotFound
from models import Tenant, Tombstone


class NoSuchClinic(NotFound):
    """There is no such clinic. The text says whether there was one."""


def unknown(subdomain: str) -> NoSuchClinic:
    """The failure for a clinic that never was."""
    return NoSuchClinic(f"There is no clinic {subdomain}.")


def deleted_already(subdomain: str) -> NoSuchClinic:
    """The failure for a clinic that has gone for good."""
    return NoSuchClinic(f"{subdomain} was deleted already; its name stays reserved.")


async def clinic_named(subdomain: str) -> Tenant:
    """The clinic, whatever its status. Raises `NoSuchClinic`."""
    wanted = subdomain.strip().lower()
    tenant: Tenant | None = await Tenant.find_one({"subdomain": wanted})
    if tenant is not None:
        return tenant
    if await Tombstone.guarded().find_one({"subdomain": wanted}, {"_id": 1}) is not None:
        raise deleted_already(wanted)
    raise unknown(wanted)


async def clinic_to_change(subdomain: str) -> Tenant:
    """The clinic, active or not. Raises `NoSuchClinic`, and INVALID_STATE for one that is being deleted."""
    found = await clinic_named(subdomain)
    if found.deletion_started_at is not None:
        raise InvalidState(f"{found.subdomain} is being deleted.")
    return found
