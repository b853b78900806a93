"""Writes everything of one clinic into a folder: one NDJSON file per collection, its files, and a manifest with
checksums. `moving.restoring` reads it back."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pymongo
from bson import ObjectId, json_util

from app.errors import Conflict
from app.services.documents.removal import all_files
from app.services.moving.folders import FILES, MANIFEST, Lock, Writer, sync_folder
from app.services.platform_places import platform_places
from app.services.watching import Report
from app.tenancy.crossing import tenant_scope
from models import SHARED_DOCUMENTS, TENANT_DOCUMENTS, AuditEntry, Membership, Tenant, User
from models.base import GuardedDocument
from models.references import WhenGone
from models.values import now

Row = dict[str, Any]

BATCH = 1_000
_PARTIAL = ".partial"


class DeletionInProgress(Conflict):
    """Another process on this machine is deleting the same clinic."""


@contextmanager
def sole(exports: Path, subdomain: str) -> Iterator[None]:
    """Keeps a second process on this machine out. Raises `DeletionInProgress`; the claim ends with the process."""
    exports.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (exports / f".{subdomain}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeletionInProgress(f"{subdomain} is being deleted by another process.") from None
        yield


async def export_tenant(
    tenant: Tenant, exports: Path, *, lock: Lock | None = None, report: Report = lambda *_: None
) -> Path:
    """Streams the clinic's documents into `exports`/<subdomain>-<time>, readable by its owner alone; gives the folder.

    The folder gets its name when it is complete and on disk; what interrupted exports left is removed. Files hold one
    document a line in MongoDB's canonical Extended JSON, which keeps every type and which `mongoimport` reads too;
    with `lock` they are sealed. Secrets, and which other clinics share a patient, are not exported.
    """
    final = exports / f"{tenant.subdomain}-{now():%Y%m%dT%H%M%S%fZ}"
    partial = _fresh(final)
    writer = Writer(partial, lock)
    with pymongo.timeout(None):
        lost = await _write_all(writer, tenant, report)
    about = {"id": str(tenant.id), "subdomain": tenant.subdomain, "name": tenant.name}
    writer.finish({"made_at": now().isoformat(), "tenant": about, "lost": lost})
    partial.rename(final)
    sync_folder(exports)
    return final


def export_since(tenant: Tenant, exports: Path, since: datetime) -> Path | None:
    """A complete export of this clinic that was made at or after `since`."""
    for folder in sorted(exports.glob(f"{tenant.subdomain}-*"), reverse=True):
        manifest = folder / MANIFEST
        if folder.name.endswith(_PARTIAL) or not manifest.is_file():
            continue
        about = json.loads(manifest.read_text())
        if about["tenant"]["id"] == str(tenant.id) and datetime.fromisoformat(about["made_at"]) >= since:
            return folder
    return None


def _fresh(final: Path) -> Path:
    """An empty folder to write into; what earlier exports of the same clinic left unfinished is removed."""
    clinic = final.name.rpartition("-")[0]
    for stale in final.parent.glob(f"{clinic}-*{_PARTIAL}"):
        if stale.name.rpartition("-")[0] == clinic:
            shutil.rmtree(stale)
    partial = final.with_name(final.name + _PARTIAL)
    partial.mkdir(parents=True, mode=0o700)
    return partial


async def _write_all(writer: Writer, tenant: Tenant, report: Report) -> list[str]:
    """Writes everything; gives the ids of contents whose file is gone."""
    clinic = tenant.key
    platform: dict[str, AsyncIterator[Row]] = {
        Tenant.guarded_name(): _visible(Tenant, {"_id": clinic}),
        User.guarded_name(): _people(clinic),
    }
    for model, paths in platform_places("tenants", WhenGone.DELETE).items():
        platform[model.guarded_name()] = _visible(model, {"$or": [{path: clinic} for path in paths]})
    for name, rows in platform.items():
        await _write(writer, name, rows, report)
    async with tenant_scope(tenant):
        for owned in (*TENANT_DOCUMENTS, *SHARED_DOCUMENTS):
            await _write(writer, owned.guarded_name(), _visible(owned, {}), report)
        return await _contents(writer, report)


_IN_ORDER: dict[str, list[tuple[str, int]]] = {AuditEntry.guarded_name(): [("seq", 1)]}
"""Collections that are read in an order: others come as they lie, which costs least."""


async def _visible(model: type[GuardedDocument], filter: Row) -> AsyncIterator[Row]:
    """Rows without the fields that the model keeps out of its own `repr`: those are secrets."""
    secrets = {name: 0 for name, field in model.model_fields.items() if not field.repr}
    options: dict[str, Any] = {"batch_size": BATCH}
    if (order := _IN_ORDER.get(model.guarded_name())) is not None:
        options["sort"] = order
    async with model.get_pymongo_collection().find(filter, secrets or None, **options) as cursor:
        async for row in cursor:
            yield row


async def _people(clinic: ObjectId) -> AsyncIterator[Row]:
    """The people who work or worked at the clinic."""
    async for membership in _visible(Membership, {"clinic_id": clinic}):
        async for row in _visible(User, {"_id": membership["user_id"]}):
            yield row


async def _write(writer: Writer, name: str, rows: AsyncIterable[Row], report: Report) -> None:
    count = 0

    async def lines() -> AsyncIterator[bytes]:
        nonlocal count
        async for row in rows:
            yield json_util.dumps(row, json_options=json_util.CANONICAL_JSON_OPTIONS).encode() + b"\n"
            count += 1
            if count % BATCH == 0:
                report(name, BATCH)

    await writer.write(f"{name}.ndjson", 0, lines())
    writer.counted(count)
    report(name, count % BATCH)


async def _contents(writer: Writer, report: Report) -> list[str]:
    """Writes the clinic's files as they were before they were encrypted."""
    lost = []
    async for name, parts in all_files():
        if parts is None:
            lost.append(name)
            continue
        await writer.write(f"{FILES}/{name}", 1, parts)
        report(FILES, 1)
    return lost
