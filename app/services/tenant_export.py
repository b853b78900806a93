"""Writes everything of one clinic into a folder: one NDJSON file per collection, and a manifest with checksums."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import pymongo
from bson import ObjectId, json_util

from app.errors import Conflict
from app.services.platform_places import platform_places
from app.tenancy.crossing import tenant_scope
from models import SHARED_DOCUMENTS, TENANT_DOCUMENTS, Membership, Tenant, User
from models.base import GuardedDocument
from models.references import WhenGone
from models.values import now

Row = dict[str, Any]
Report = Callable[[str, int], None]
"""Told of a collection and how many of its documents have just been dealt with."""

FORMAT = 1
BATCH = 1_000
MANIFEST = "manifest.json"
_PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file of the export; `sha256` in hex, `bytes` is its size."""

    name: str
    documents: int
    bytes: int
    sha256: str


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


async def export_tenant(tenant: Tenant, exports: Path, *, report: Report = lambda *_: None) -> Path:
    """Streams the clinic's documents into `exports`/<subdomain>-<time>, readable by its owner alone; gives the folder.

    The folder gets its name when it is complete and on disk; what interrupted exports left is removed. Files hold one
    document a line in MongoDB's relaxed Extended JSON, as `mongoimport` reads it. Secrets, and which other clinics
    share a patient, are not exported.
    """
    final = exports / f"{tenant.subdomain}-{now():%Y%m%dT%H%M%S%fZ}"
    partial = _fresh(final)
    with pymongo.timeout(None):
        files = await _write_all(partial, tenant, report)
    _write_manifest(partial, tenant, files)
    partial.rename(final)
    _sync_folder(exports)
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


async def _write_all(folder: Path, tenant: Tenant, report: Report) -> list[ExportedFile]:
    clinic = tenant.key
    platform: dict[str, AsyncIterator[Row]] = {
        Tenant.guarded_name(): _visible(Tenant, {"_id": clinic}),
        User.guarded_name(): _people(clinic),
    }
    for model, paths in platform_places("tenants", WhenGone.DELETE).items():
        platform[model.guarded_name()] = _visible(model, {"$or": [{path: clinic} for path in paths]})
    files = [await _write(folder, name, rows, report) for name, rows in platform.items()]
    async with tenant_scope(tenant):
        for owned in (*TENANT_DOCUMENTS, *SHARED_DOCUMENTS):
            files.append(await _write(folder, owned.guarded_name(), _visible(owned, {}), report))  # noqa: PERF401
    return files


async def _visible(model: type[GuardedDocument], filter: Row) -> AsyncIterator[Row]:
    """Rows without the fields that the model keeps out of its own `repr`: those are secrets."""
    secrets = {name: 0 for name, field in model.model_fields.items() if not field.repr}
    async with model.get_pymongo_collection().find(filter, secrets or None, batch_size=BATCH) as cursor:
        async for row in cursor:
            yield row


async def _people(clinic: ObjectId) -> AsyncIterator[Row]:
    """The people who work or worked at the clinic."""
    async for membership in _visible(Membership, {"clinic_id": clinic}):
        async for row in _visible(User, {"_id": membership["user_id"]}):
            yield row


async def _write(folder: Path, name: str, rows: AsyncIterable[Row], report: Report) -> ExportedFile:
    path = folder / f"{name}.ndjson"
    digest, count, size = sha256(), 0, 0
    with _private(path) as file:
        async for row in rows:
            line = json_util.dumps(row, json_options=json_util.RELAXED_JSON_OPTIONS).encode() + b"\n"
            file.write(line)
            digest.update(line)
            count, size = count + 1, size + len(line)
            if count % BATCH == 0:
                report(name, BATCH)
        _sync(file)
    report(name, count % BATCH)
    return ExportedFile(path.name, count, size, digest.hexdigest())


def _write_manifest(folder: Path, tenant: Tenant, files: list[ExportedFile]) -> None:
    about = {
        "format": FORMAT,
        "made_at": now().isoformat(),
        "tenant": {"id": str(tenant.id), "subdomain": tenant.subdomain, "name": tenant.name},
        "files": [asdict(file) for file in files],
    }
    with _private(folder / MANIFEST) as file:
        file.write(json.dumps(about, indent=2).encode())
        _sync(file)
    _sync_folder(folder)


def _private(path: Path) -> BinaryIO:
    """A new file that its owner alone may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
