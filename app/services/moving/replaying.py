"""After a restore: what was removed for good since the backup is removed again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.errors import Conflict
from app.integrations.blobs import Blobs
from app.services import removal_notes
from app.services.deletion import delete_tenant
from app.services.erasure import digest_of, erase_again
from app.services.removal_notes import ClinicNote
from app.tenancy.crossing import tenant_scope
from models import Erasure, PatientRecord, Tenant, Tombstone

BATCH = 500


@dataclass(slots=True)
class Replay:
    """What came back with a backup: `clinics` by subdomain, `patients` by clinic; `names` of dead clinics that were
    free again. All of it is gone again unless it was only looked for, or stands in `failed` with the reason."""

    executed: bool
    clinics: list[str] = field(default_factory=list)
    patients: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def found(self) -> bool:
        return bool(self.clinics or self.patients or self.names)


async def replay(*, execute: bool, actor: str, kept: Blobs | None = None) -> Replay:
    """Deletes clinics that have a note or a tombstone, reserves the names of those that are gone as they should be, and
    erases patients who have a note. Safe to repeat. `kept` is where the notes lie, when not among this system's files.
    """
    done = Replay(execute)
    notes = await removal_notes.clinics(kept)
    dead = {note.tenant_id for note in notes} | {
        row["tenant_id_was"] for row in await Tombstone.rows({"tenant_id_was": {"$exists": True}})
    }
    for tenant in await Tenant.find({"_id": {"$in": list(dead)}}).sort("subdomain").to_list():
        done.clinics.append(tenant.subdomain)
        if execute:
            try:
                await delete_tenant(tenant, actor=actor, exports=None, settle=timedelta(0))
            except Conflict as error:
                done.failed[tenant.subdomain] = error.message
    for note in notes:
        await _reserve(note, done)  # those that were just deleted have their tombstones
    async for tenant in _living(dead):
        if count := await _erase(tenant, done, kept):
            done.patients[tenant.subdomain] = count
    return done


async def _reserve(note: ClinicNote, done: Replay) -> None:
    """The tombstone of a clinic that was opened and deleted after the backup: nobody may get its name, unless somebody
    has got it already."""
    named = {"subdomain": note.subdomain}
    for model in (Tombstone, Tenant):
        if await model.guarded().find_one(named, {"_id": 1}) is not None:
            return
    done.names.append(note.subdomain)
    if done.executed:
        with suppress(DuplicateKeyError):
            await Tombstone(
                subdomain=note.subdomain, tenant_id_was=note.tenant_id, name=note.name, deleted_at=note.deleted_at
            ).insert()


async def _living(dead: set[ObjectId]) -> AsyncIterator[Tenant]:
    after: dict[str, Any] = {}
    while batch := await Tenant.find({"deletion_started_at": None, **after}).sort("_id").limit(BATCH).to_list():
        for tenant in batch:
            if tenant.key not in dead:
                yield tenant
        after = {"_id": {"$gt": batch[-1].key}}


async def _erase(tenant: Tenant, done: Replay, kept: Blobs | None) -> int:
    """Erases the patients of a clinic who are noted and have no proof here; how many there are."""
    noted = await removal_notes.erased(tenant.key, kept)
    if not noted:
        return 0
    count = 0
    async with tenant_scope(tenant):
        noted -= set(await Erasure.guarded().distinct("digest", {}))
        async for patient_id in _patients(noted):
            if (digest := digest_of(patient_id)) in noted:
                count += 1
                if done.executed:
                    await erase_again(patient_id, await removal_notes.basis_of(tenant.key, digest, kept))
    return count


async def _patients(noted: set[str]) -> AsyncIterator[ObjectId]:
    """The patients of the clinic in scope; nobody is looked at where nobody is noted."""
    after: dict[str, Any] = {}
    while noted and (
        rows := await PatientRecord.rows(after, projection=["patient_id"], sort=[("_id", 1)], limit=BATCH)
    ):
        for row in rows:
            yield row["patient_id"]
        after = {"_id": {"$gt": rows[-1]["_id"]}}
