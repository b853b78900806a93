"""Makes a clinic's own database, and drops one that nobody came to use."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b

import pymongo
import structlog
from bson import ObjectId

from app.db.migrations.lease import Busy, held
from app.db.migrations.running import migrate_site
from app.db.migrations.step import Site
from app.errors import Conflict, Unavailable
from app.tenancy.crossing import system_scope
from app.tenancy.places import own_database
from app.tenancy.scope import Database, Residence
from models import JobLock, PlatformAudit, Tenant
from models.tenant import Placement, PlacementKind

log = structlog.get_logger(__name__)

LONGEST_NAME = 63
"""Bytes that MongoDB allows for a database's name."""


def shared_database() -> Database:
    """The one where the platform's documents are, and those of clinics without a database of their own."""
    return PlatformAudit.home_database()


def database_of(placement: Placement) -> Database:
    """The database of a placement."""
    shared = shared_database()
    own = own_database(shared, Residence(placement.database))
    return own if own is not None else shared


def own_placement(clinic: ObjectId) -> Placement:
    """The clinic's own database, whether it is there or not. Raises CONFLICT when its name would be too long."""
    name = f"{shared_database().name}_{clinic}"
    if len(name.encode()) > LONGEST_NAME:
        raise Conflict(f"MONGODB_DATABASE is too long for databases of clinics: {name} has over {LONGEST_NAME} bytes.")
    return Placement(kind=PlacementKind.OWN_DATABASE, database=name)


def is_clinics_own(name: str, shared: str) -> bool:
    """Whether a database is named as that of a clinic of the shared one."""
    return re.fullmatch(rf"{re.escape(shared)}_[0-9a-f]{{24}}", name) is not None


def id_for(subdomain: str) -> ObjectId:
    """The id of a clinic that is to get a database of its own. Subdomains are given out once, and so are their ids:
    a run that was killed left its database under the name that the next run looks for."""
    named = f"{shared_database().name} {subdomain}".encode()
    return ObjectId(blake2b(named, digest_size=12, person=b"own-database-id").digest())


async def provision(clinic: ObjectId, placement: Placement, name: str) -> None:
    """Makes the database with collections, indexes and validators that admit this clinic alone, or finishes it.

    Raises UNAVAILABLE when it cannot be brought there.
    """
    if placement.database is None:
        return
    report = await migrate_site(Site(name, database_of(placement), shared_database(), clinic))
    if report.failed is not None:
        log.error("a clinic's database could not be made ready", database=placement.database, why=report.failed)
        raise Unavailable(f"The database {placement.database} could not be made ready; the log says why.")


@asynccontextmanager
async def provisioned(clinic: ObjectId, subdomain: str) -> AsyncIterator[Placement]:
    """A database for a clinic that is opened in the block; when it is not opened, the database goes again.

    Raises CONFLICT while another run opens it.
    """
    placement = own_placement(clinic)
    try:
        async with held(shared_database(), JobLock.guarded_name(), f"open {subdomain}"):
            try:
                await provision(clinic, placement, subdomain)
                yield placement
            finally:
                if await Tenant.guarded().find_one({"placement.database": placement.database}, {"_id": 1}) is None:
                    await drop(placement, f"{subdomain} was not opened")
    except Busy:
        raise Conflict("This clinic is being opened by somebody else at this moment.") from None


async def drop(placement: Placement, reason: str) -> None:
    """Drops a clinic's own database with all that is in it. Never the shared one."""
    if placement.database is None or placement.database == shared_database().name:
        raise ValueError("the shared database is not dropped")
    async with system_scope(reason, action="database.drop"):
        with pymongo.timeout(None):
            await shared_database().client.drop_database(placement.database)
