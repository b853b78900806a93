"""Clinics say where they live, so that they can be listed by it: those from before all live in the shared database."""

from __future__ import annotations

from app.db.migrations.step import Migration, Runs, Site
from models.tenant import Placement, Tenant

SILENT = {"placement": {"$exists": False}}


async def run(site: Site) -> int:
    """Gives each clinic that says nothing its place."""
    shared = Placement().model_dump(mode="json")
    done = await site.database[Tenant.guarded_name()].update_many(SILENT, {"$set": {"placement": shared}})
    return done.modified_count


async def pending(site: Site) -> int:
    """How many clinics say nothing."""
    return await site.database[Tenant.guarded_name()].count_documents(SILENT)


MIGRATION = Migration(1, "placements", run, pending, Runs.SHARED)
