"""Erasing a patient at the clinic, and the proofs that stay."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, row_type, stored
from app.graphql.inputs import object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services import erasure as service
from models import Erasure
from models.erasure import ErasureBasis, ErasureStatus
from resolvers.base import Resolver, shown
from resolvers.values import described

described(
    ErasureBasis,
    "Why a patient is erased: the grounds of GDPR, article 17 (1).",
    NO_LONGER_NEEDED="The data is no longer needed for what it was collected for.",
    CONSENT_WITHDRAWN="The patient withdrew their consent, and there is no other ground.",
    OBJECTION="The patient objects, and nothing weighs more.",
    UNLAWFUL="The data was processed unlawfully.",
    LEGAL_OBLIGATION="A law asks for it.",
)
described(
    ErasureStatus,
    "How far an erasure has come.",
    COMPLETE="Nothing is left at this clinic.",
    PARTIAL="The law still holds something; it goes by itself when its time is over.",
)


@row_type("ErasureCount", description="Documents of one kind.")
class ErasureCountType:
    kind: str = stored(description="The kind.")
    count: int = stored(description="How many.")


def _counts(column: str) -> Any:
    def of(row: Row) -> Any:
        return [{"kind": kind, "count": count} for kind, count in sorted((row.get(column) or {}).items())]

    return of


@row_type(
    "Erasure",
    model=Erasure,
    read=Permission.AUDIT_LOG_READ,
    description="A patient's erasure. Once complete, nothing in it tells who it was.",
)
class ErasureType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    digest: str = stored(description="SHA-256 of `clinic id:patient id`, in hex: shows that a given id was erased.")
    former_digests: list[str] = stored(
        description="The same of the ids under which the patient was known here before files were merged."
    )
    basis: ErasureBasis = stored(description="Why.")
    status: ErasureStatus = stored(description="How far it has come.")
    requested_at: datetime = stored("created_at", description="When it was asked for.")
    completed_at: datetime | None = stored(description="When nothing was left.")
    erased: list[ErasureCountType] = computed("erased", by=_counts("erased"), description="What went.")
    retained: list[ErasureCountType] = computed("retained", by=_counts("retained"), description="What the law holds.")
    retained_until: datetime | None = stored(description="When the last of it goes.")


@row_type("ErasurePreview", description="What an erasure would do now.")
class ErasurePreviewType:
    erased: list[ErasureCountType] = computed("erased", by=_counts("erased"), description="What would go.")
    retained: list[ErasureCountType] = computed("retained", by=_counts("retained"), description="What would stay.")
    retained_until: datetime | None = stored(description="When the last of it would go.")


@strawberry.input(description="Whom to erase, and why.")
class ErasePatientInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    code: str = strawberry.field(description="The patient's code here, typed once more: nothing brings them back.")
    basis: ErasureBasis = strawberry.field(description="Why.")


@strawberry.type
class ErasureQuery(Resolver):
    @field(Permission.PATIENT_READ, description="What erasing a patient here would take away, and what the law holds.")
    async def erasure_preview(self, patient_id: strawberry.ID) -> ErasurePreviewType:
        found = await service.preview(object_id(patient_id, "patientId"))
        return shown({"erased": found.erased, "retained": found.retained, "retained_until": found.retained_until})

    @field(Permission.AUDIT_LOG_READ, description="The clinic's erasures, the latest first.")
    async def erasures(self, info: Info, first: First = DEFAULT_PAGE, after: After = None) -> Connection[ErasureType]:
        return await self.page(
            info, ErasureType, where={}, sort=[("created_at", -1), ("_id", -1)], first=first, after=after
        )


@strawberry.type
class ErasureMutation(Resolver):
    @field(
        Permission.PATIENT_ERASE,
        description="Erases a patient at this clinic for good. What the law holds is put away, and goes by itself "
        "later. Other clinics keep what is theirs.",
        without_plan=True,
    )
    async def erase_patient(self, input: ErasePatientInput) -> ErasureType:
        return shown(await service.erase(object_id(input.patient_id, "input.patientId"), input.basis, input.code))
