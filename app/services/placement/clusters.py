"""Other clusters than the home one: noted by name, with their addresses encrypted by the installation's master.

An address holds a user and a password. It is never shown, logged or kept plain: it comes in by `add` and `change`, and
goes to the driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pymongo
import structlog
from bson import ObjectId
from pymongo.asynchronous.mongo_client import AsyncMongoClient
from pymongo.errors import ConfigurationError, DuplicateKeyError, OperationFailure, PyMongoError

from app.auth.platform_secrets import place_of, unwrap_secret, wrap_secret
from app.config import Settings
from app.db.client import make_cluster_client
from app.errors import Conflict, InvalidState, NotFound, ValidationFailed
from app.integrations.kms import KeyRefused, Masters
from app.services.changes import build
from app.services.placement.provisioning import shared_database
from app.services.platform_log import note_work
from app.tenancy.clusters import ClusterUnavailable, UnknownCluster, clusters
from models import Cluster, Tenant
from models.values import now

Row = dict[str, Any]

PURPOSE = "cluster"
ANSWER_MS = 5_000
OLDEST = (6, 0)
AT_IT = ("placement.cluster", "move.source.cluster", "move.target.cluster")
"""Where a clinic's row names a cluster."""

log = structlog.get_logger(__name__)


# --- for the processes that work with them ----------------------------------------------------------------------------


def use_clusters(settings: Settings) -> None:
    """Says how this process comes to other clusters; called once at its start."""
    clusters.use(_Addresses(settings).address, partial(make_cluster_client, settings))


class _Addresses:
    """Reads addresses, and opens each once: whoever asks again and again has no key service asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, tuple[bytes, str]] = {}

    async def address(self, name: str) -> str:
        """Raises `UnknownCluster`, and `ClusterUnavailable` for one that no key here opens."""
        row = await Cluster.guarded().find_one({"name": name}, {"wrapped": 1, "provider": 1})
        if row is None:
            self._known.pop(name, None)
            raise UnknownCluster
        known = self._known.get(name)
        if known is None or known[0] != row["wrapped"]:
            known = self._known[name] = row["wrapped"], await _opened(name, row, self._settings)
        return known[1]


async def _opened(name: str, row: Row, settings: Settings) -> str:
    try:
        secret = await unwrap_secret(row["provider"], row["wrapped"], PURPOSE, row["_id"], settings)
    except KeyRefused as error:
        log.error("the address of a cluster cannot be opened", cluster=name, why=str(error))
        raise ClusterUnavailable from error
    return secret.decode()


# --- for those who run the system -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Health:
    """How a cluster was found: what is wrong with it, or None; its version and replica set, as far as it told."""

    name: str
    problem: str | None = None
    version: str = ""
    replica_set: str = ""


async def add(name: str, uri: str, settings: Settings, *, actor: str) -> Health:
    """Notes a cluster, once it answers and will do. Raises VALIDATION_FAILED at `name` or `uri`, CONFLICT."""
    health = await _looked_at(name, uri)
    id = ObjectId()
    provider, wrapped = await wrap_secret(uri.encode(), PURPOSE, id, settings)
    cluster = build(Cluster, {"name": name, "wrapped": wrapped, "provider": provider}, at="")
    cluster.id = id
    try:
        await cluster.insert()
    except DuplicateKeyError:
        raise Conflict(f"There is a cluster {name} already: change its address, or choose another name.") from None
    await note_work(actor, "cluster.add", f"added the cluster {name}")
    return health


async def change(name: str, uri: str, settings: Settings, *, actor: str) -> Health:
    """Gives a cluster another address: a new user or password, or other hosts of the same servers. Every process goes
    over to it within some seconds. Raises as `add`, and NOT_FOUND."""
    cluster = await known(name)
    health = await _looked_at(name, uri)
    if lost := await _missing(cluster, uri):
        raise ValidationFailed.at("uri", f"leads to servers without the database of {lost[0]}")
    provider, wrapped = await wrap_secret(uri.encode(), PURPOSE, cluster.key, settings)
    await Cluster.change(cluster.key, cluster.version, {"wrapped": wrapped, "provider": provider, "updated_at": now()})
    await note_work(actor, "cluster.change", f"changed the address of the cluster {name}")
    return health


async def remove(name: str, *, actor: str) -> None:
    """Forgets a cluster. Raises NOT_FOUND, and INVALID_STATE while a clinic lives there or has left something."""
    cluster = await known(name)
    if there := await clinics_at(name):
        raise InvalidState(f"Clinics have data on {name}: {', '.join(there[:10])}. Move them, and clear what is left.")
    await Cluster.guarded().delete_one({"_id": cluster.key})
    await note_work(actor, "cluster.remove", f"removed the cluster {name}")


async def known(name: str) -> Cluster:
    """A cluster by its name. Raises NOT_FOUND."""
    cluster: Cluster | None = await Cluster.find_one({"name": name})
    if cluster is None:
        raise NotFound(f"There is no cluster {name}: scripts.clusters add makes it known.")
    return cluster


async def clinics_at(name: str) -> list[str]:
    """The subdomains of clinics that have, or may have, anything on the cluster."""
    rows = await Tenant.rows({"$or": [{path: name} for path in AT_IT]}, projection={"subdomain": 1})
    return sorted(row["subdomain"] for row in rows)


async def check(name: str) -> Health:
    """How a cluster is, by the address that is kept."""
    try:
        client = await clusters.client(name)
        with pymongo.timeout(ANSWER_MS / 1000):
            hello = await client.admin.command("hello")
            build_info = await client.admin.command("buildInfo")
    except (ClusterUnavailable, PyMongoError) as error:
        return Health(name, _why(error))
    return _judged(name, hello, build_info)


async def _looked_at(name: str, uri: str) -> Health:
    """Raises VALIDATION_FAILED at `uri` for an address that will not do. The driver's own words are not passed on: they
    may repeat parts of it."""
    try:
        async with _visiting(uri) as client:
            hello = await client.admin.command("hello")
            build_info = await client.admin.command("buildInfo")
    except (ConfigurationError, ValueError):
        raise ValidationFailed.at("uri", "cannot be read: it is mongodb://… or mongodb+srv://…") from None
    except PyMongoError as error:
        raise ValidationFailed.at("uri", _why(error)) from None
    health = _judged(name, hello, build_info)
    if health.problem is not None:
        raise ValidationFailed.at("uri", health.problem)
    home = await shared_database().client.admin.command("hello")
    if {*hello.get("hosts", ())} & {*home.get("hosts", ())}:
        raise ValidationFailed.at("uri", "leads to the home cluster: --to own gives a database of its own there")
    return health


def _visiting(uri: str) -> AsyncMongoClient[Row]:
    return AsyncMongoClient(uri, appname="polyclinic", serverSelectionTimeoutMS=ANSWER_MS, timeoutMS=ANSWER_MS)


def _judged(name: str, hello: Mapping[str, Any], build_info: Mapping[str, Any]) -> Health:
    version = ".".join(map(str, build_info.get("versionArray", ())[:3]))
    found = Health(name, None, version, hello.get("setName", "sharded" if hello.get("msg") == "isdbgrid" else ""))
    if not found.replica_set:
        return Health(name, "is a lone server: transactions need a replica set", version)
    if tuple(build_info.get("versionArray", ())[:2]) < OLDEST:
        return Health(name, f"runs MongoDB {version}: 6.0 or newer is needed", version, found.replica_set)
    return found


def _why(error: Exception) -> str:
    if isinstance(error, UnknownCluster):
        return "is not known"
    if isinstance(error, ClusterUnavailable):
        return "has an address that no key here opens: see ENCRYPTION_KEYS_OLD"
    if isinstance(error, OperationFailure):
        return "refuses the user or password"
    return f"does not answer within {ANSWER_MS // 1000} s"


async def _missing(cluster: Cluster, uri: str) -> list[str]:
    """Clinics that live on the cluster and have no database where the address leads."""
    rows = await Tenant.rows({"placement.cluster": cluster.name}, projection={"subdomain": 1, "placement": 1})
    async with _visiting(uri) as client:
        there = set(await client.list_database_names())
    return sorted(row["subdomain"] for row in rows if row["placement"]["database"] not in there)


# --- the master key ---------------------------------------------------------------------------------------------------


async def clusters_under_former_keys(masters: Masters) -> list[Row]:
    """The stored rows whose address is encrypted by another master than the present one."""
    return await Cluster.rows({"provider": {"$ne": masters.present.provider}})


async def rewrap_cluster(masters: Masters, row: Row) -> bool:
    """Encrypts one address by the present master. False when it was changed meanwhile. Raises `KeyRefused`."""
    place = place_of(PURPOSE, row["_id"])
    provider, wrapped = await masters.wrap(await masters.unwrap(row["provider"], row["wrapped"], place), place)
    done = await Cluster.guarded().update_one(
        {"_id": row["_id"], "wrapped": row["wrapped"]}, {"$set": {"provider": provider, "wrapped": wrapped}}
    )
    return bool(done.matched_count)
