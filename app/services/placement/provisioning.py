"""Makes a clinic's own database, and drops one that nobody came to use."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b

import pymongo
import structlog
from bson import ObjectId

from app.db.migrations.lease import Busy, held
from app.db.migrations.running import migrate_site
from app.db.migrations.step import Site
from app.errors import Conflict, Unavailable, ValidationFailed
from app.tenancy.crossing import system_scope
from app.tenancy.places import database_at
from app.tenancy.scope import Database, Residence
from models import Cluster, JobLock, PlatformAudit, Tenant
from models.tenant import Placement, PlacementKind

log = structlog.get_logger(__name__)

LONGEST_NAME = 63
"""Bytes that MongoDB allows for a database's name."""


def shared_database() -> Database:
    """The one where the platform's documents are, and those of clinics without a database of their own."""
    return PlatformAudit.home_database()


async def database_of(placement: Placement) -> Database:
    """The database of a placement. Raises `ClusterUnavailable` for one on a cluster that cannot be used."""
    return await database_at(shared_database(), Residence(placement.database, placement.cluster))


@dataclass(frozen=True, slots=True)
class Goal:
    """In what kind of place a clinic is to be; one on another cluster is named by that."""

    kind: PlacementKind = PlacementKind.SHARED
    cluster: str | None = None

    def placement(self, clinic: ObjectId) -> Placement:
        """The place for a clinic. Raises CONFLICT when the name of its database would be too long."""
        return Placement() if self.kind is PlacementKind.SHARED else own_placement(clinic, self.cluster)


async def require_cluster(goal: Goal, *, at: str) -> None:
    """Raises VALIDATION_FAILED at that path unless a cluster is named that is known, where one must be."""
    if (goal.kind is PlacementKind.CLUSTER) is not (goal.cluster is not None):
        wrong = "is needed for a place on another cluster" if goal.cluster is None else "is for a place on a cluster"
        raise ValidationFailed.at(at, wrong)
    if goal.cluster is not None and await Cluster.guarded().find_one({"name": goal.cluster}, {"_id": 1}) is None:
        raise ValidationFailed.at(at, "is not a known cluster")


def own_placement(clinic: ObjectId, cluster: str | None = None) -> Placement:
    """The clinic's own database, whether it is there or not, on the home cluster or the one that is named. Raises
    CONFLICT when its name would be too long."""
    name = f"{shared_database().name}_{clinic}"
    if len(name.encode()) > LONGEST_NAME:
        raise Conflict(f"MONGODB_DATABASE is too long for databases of clinics: {name} has over {LONGEST_NAME} bytes.")
    kind = PlacementKind.OWN_DATABASE if cluster is None else PlacementKind.CLUSTER
    return Placement(kind=kind, database=name, cluster=cluster)


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
    report = await migrate_site(Site(name, await database_of(placement), shared_database(), clinic))
    if report.failed is not None:
        log.error("a clinic's database could not be made ready", database=placement.database, why=report.failed)
        raise Unavailable(f"The database {placement.database} could not be made ready; the log says why.")


@asynccontextmanager
async def provisioned(clinic: ObjectId, subdomain: str, goal: Goal) -> AsyncIterator[Placement]:
    """A database for a clinic that is opened in the block; when it is not opened, the database goes again.

    Raises CONFLICT while another run opens it, `ClusterUnavailable`.
    """
    placement = goal.placement(clinic)
    try:
        async with held(shared_database(), JobLock.guarded_name(), f"open {subdomain}"):
            if placement.cluster is not None:
                await _drop_unless_opened(placement, f"what an earlier try left of {subdomain}")
            try:
                await provision(clinic, placement, subdomain)
                yield placement
            finally:
                await _drop_unless_opened(placement, f"{subdomain} was not opened")
    except Busy:
        raise Conflict("This clinic is being opened by somebody else at this moment.") from None


async def _drop_unless_opened(placement: Placement, reason: str) -> None:
    if await Tenant.guarded().find_one({"placement.database": placement.database}, {"_id": 1}) is None:
        await drop(placement, reason)


async def drop(placement: Placement, reason: str) -> None:
    """Drops a clinic's own database with all that is in it. Never the shared one."""
    if placement.database is None or placement.database == shared_database().name:
        raise ValueError("the shared database is not dropped")
    place = await database_of(placement)
    async with system_scope(reason, action="database.drop"):
        with pymongo.timeout(None):
            await place.client.drop_database(placement.database)
