"""What a clinic has in places where it does not live: shadows of its appointments, and what a move has left."""

from __future__ import annotations

from app.services.placement.copying import COLLECTIONS, of_clinic
from app.services.placement.provisioning import database_of, drop, own_placement, shared_database
from app.tenancy.crossing import system_scope
from app.tenancy.scope import Database
from models import Tenant
from models.tenant import Placement, PlacementKind


def places_of(tenant: Tenant) -> list[Placement]:
    """Every place that may hold anything of the clinic."""
    moved = [tenant.move.source, tenant.move.target] if tenant.move is not None else []
    found = [Placement(), tenant.placement, *moved, own_placement(tenant.key)]
    return list({(one.cluster, one.database): one for one in found}.values())


async def databases_of(tenant: Tenant) -> list[Database]:
    """The databases of those places, the shared one first. Raises `ClusterUnavailable`."""
    return [await database_of(one) for one in places_of(tenant)]


async def purge_elsewhere(tenant: Tenant) -> None:
    """Deletes what the clinic has in places where it does not live."""
    for place in places_of(tenant):
        if place == tenant.placement:
            continue
        if place.kind is not PlacementKind.SHARED:
            await drop(place, f"{tenant.subdomain} does not live there")
            continue
        async with system_scope(f"delete what {tenant.subdomain} has left in the shared database"):
            for name in COLLECTIONS:
                await shared_database()[name].delete_many(of_clinic(name, tenant.key))
