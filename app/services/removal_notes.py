"""What was removed for good, noted apart from the database: a restored backup knows nothing of what came after it.

The notes lie among the files (`BLOB_URL`) under `removals/`, one small file for each clinic that was deleted and each
patient who was erased. A patient's note holds the digest of clinic and patient id: whoever has the id can show that it
is meant, and nobody else learns who it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from bson import ObjectId

from app.integrations.blobs import BlobMissing, Blobs, BlobsDown, blobs
from models import Erasure, Tenant
from models.erasure import ErasureBasis
from models.values import now

log = structlog.get_logger(__name__)

FOLDER = "removals"
_CLINIC = re.compile(rf"{FOLDER}/clinics/([0-9a-f]{{24}})\.json")
_PATIENT = re.compile(rf"{FOLDER}/patients/[0-9a-f]{{24}}/([0-9a-f]{{64}})\.json")


@dataclass(frozen=True, slots=True)
class ClinicNote:
    """A clinic that was deleted."""

    tenant_id: ObjectId
    subdomain: str
    name: str
    deleted_at: datetime


async def note_clinic(tenant: Tenant) -> None:
    """Notes that a clinic is deleted. Raises `BlobsDown`: then it is not, and the next run tries again."""
    told = {"subdomain": tenant.subdomain, "name": tenant.name, "deleted_at": now().isoformat()}
    await _put(f"{FOLDER}/clinics/{tenant.key}.json", told)


async def is_noted(clinic_id: ObjectId) -> bool:
    """Whether a clinic of that id was deleted. Raises `BlobsDown`."""
    return await blobs().exists(f"{FOLDER}/clinics/{clinic_id}.json")


async def note_erasure(clinic_id: ObjectId, proof: Erasure) -> bool:
    """Notes that a patient of the clinic in scope was erased, under each id that they had here; False when the files
    are out of reach, and the job `complete-erasures` must do it."""
    told = {"basis": proof.basis.value, "erased_at": proof.created_at.isoformat()}
    try:
        for digest in (proof.digest, *proof.former_digests):
            await _put(f"{FOLDER}/patients/{clinic_id}/{digest}.json", told)
    except BlobsDown as error:
        log.warning("an erasure is not noted yet", exc_info=error)
        return False
    await Erasure.guarded().update_one({"_id": proof.key}, {"$set": {"noted_at": now()}})
    return True


async def note_missing(clinic_id: ObjectId) -> int:
    """Notes the erasures of the clinic in scope that were not noted; how many."""
    missing = await Erasure.find({"noted_at": None}).to_list()
    return sum([await note_erasure(clinic_id, proof) for proof in missing])


async def clinics(kept: Blobs | None = None) -> list[ClinicNote]:
    """All clinics that were noted, in `kept` instead of this process's files where it is given."""
    place = kept or blobs()
    found = []
    async for paths in place.below(f"{FOLDER}/clinics"):
        for path in paths:
            if (named := _CLINIC.fullmatch(path)) and (told := await _read(place, path)):
                at = datetime.fromisoformat(told["deleted_at"])
                found.append(ClinicNote(ObjectId(named[1]), told["subdomain"], told["name"], at))
    return found


async def erased(clinic_id: ObjectId, kept: Blobs | None = None) -> set[str]:
    """The digests of all patients of a clinic that were noted."""
    place = kept or blobs()
    found: set[str] = set()
    async for paths in place.below(f"{FOLDER}/patients/{clinic_id}"):
        found.update(named[1] for path in paths if (named := _PATIENT.fullmatch(path)))
    return found


async def basis_of(clinic_id: ObjectId, digest: str, kept: Blobs | None = None) -> ErasureBasis:
    """Why that patient was erased; a legal obligation where the note cannot be read any more."""
    told = await _read(kept or blobs(), f"{FOLDER}/patients/{clinic_id}/{digest}.json")
    try:
        return ErasureBasis((told or {}).get("basis", ""))
    except ValueError:
        return ErasureBasis.LEGAL_OBLIGATION


async def _put(path: str, told: Mapping[str, str]) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield json.dumps(dict(told)).encode()

    await blobs().put(path, content())


async def _read(place: Blobs, path: str) -> dict[str, str] | None:
    try:
        content = b"".join([part async for part in await place.get(path)])
        told: dict[str, str] = json.loads(content)
    except (BlobMissing, ValueError):
        return None
    return told
