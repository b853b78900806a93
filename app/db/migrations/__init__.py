"""Steps that bring what is stored to what this code expects, by number. Add yours at the end, and never change or
remove one that was released: a database remembers by number what was done to it.

Collections, indexes and validators are no steps: they follow from the models (`app.db.schema`).
"""

from __future__ import annotations

from app.db.migrations import m0001_placements, m0002_admins_rights, m0003_seeded_roles, m0004_grants, m0005_doctors
from app.db.migrations.step import Migration, Site

MIGRATIONS: tuple[Migration, ...] = (
    m0001_placements.MIGRATION,
    m0002_admins_rights.MIGRATION,
    m0003_seeded_roles.MIGRATION,
    m0004_grants.MIGRATION,
    m0005_doctors.MIGRATION,
)

__all__ = ["MIGRATIONS", "Migration", "Site"]
