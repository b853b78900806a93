"""Sharing a patient with another clinic, and reading what its consent allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Annotated, Any

import strawberry

from app.graphql.access import field, require
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.sharing import codes, history, redemption
from app.services.sharing.lending import Basis
from app.tenancy.scope import current_scope
from models import ReceivedShare, ShareCode
from models.appointment import AppointmentStatus
from models.consent import ShareCategory, SharePurpose
from models.document import DocumentCategory
from models.sharing import ShareCodeState
from resolvers.base import Resolver, shown
from resolvers.consents import ConsentType
from resolvers.lab import LabObservationType, LabPanelType
from resolvers.patients import PatientType
from resolvers.shared_care import (
    SharedImagingType,
    SharedPrescriptionType,
    SharedProcedureType,
    SharedReferralType,
    SharedVisitType,
)
from resolvers.values import described

described(
    ShareCodeState,
    "What became of a share code.",
    OPEN="It was not redeemed, and until `expiresAt` it can be.",
    USED="Another clinic redeemed it.",
    REVOKED="It was revoked, and opens nothing.",
)
described(
    Basis,
    "On the strength of what another clinic's records are shown.",
    CONSENT="The patient's consent.",
    EMERGENCY="Emergency access, which is reviewed.",
)

Chosen = Annotated[
    list[ShareCategory] | None, strawberry.argument(description="What to show; else all that you may see.")
]
NEEDED: Mapping[ShareCategory, Permission] = {
    ShareCategory.APPOINTMENTS: Permission.APPOINTMENT_READ,
    ShareCategory.NOTES: Permission.PATIENT_READ,
    ShareCategory.VISITS: Permission.VISIT_READ,
    ShareCategory.LAB_RESULTS: Permission.LAB_RESULT_READ,
    ShareCategory.PRESCRIPTIONS: Permission.PRESCRIPTION_READ,
    ShareCategory.IMAGING: Permission.IMAGING_READ,
    ShareCategory.PROCEDURES: Permission.PROCEDURE_READ,
    ShareCategory.REFERRALS: Permission.REFERRAL_READ,
    ShareCategory.DOCUMENTS: Permission.DOCUMENT_READ,
}
"""What reading another clinic's records of a category needs here: the same as for this clinic's own."""


@row_type(
    "ShareCode",
    model=ShareCode,
    read=Permission.CONSENT_READ,
    description="A code that was given to a patient, and what became of it.",
)
class ShareCodeType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when revoking.")
    patient: PatientType | None = related(lambda: PatientType, key="patient_id", description="The patient.")
    consent: ConsentType | None = related(lambda: ConsentType, key="consent_id", description="The consent behind it.")
    categories: list[ShareCategory] = stored(description="What the other clinic may see.")
    purpose: SharePurpose = stored(description="What for.")
    until: datetime = stored(description="When the other clinic's access ends, unless the consent ends first.")
    expires_at: datetime = stored(description="Until when the code can be redeemed.")
    state: ShareCodeState = stored(description="What became of it.")
    used_at: datetime | None = stored(description="When it was redeemed.")
    receiver_name: str | None = stored(description="The clinic that redeemed it.")
    created_at: datetime = stored(description="When it was made.")


@row_type("IssuedShareCode", description="A share code that was just made. The code is shown this once.")
class IssuedShareCodeType:
    code: str = stored(description="The code, for the patient to take along.")
    qr_svg: str = stored(description="The same as a QR code: an SVG image.")
    share_code: ShareCodeType = stored(description="What the clinic keeps of it.")


@row_type(
    "ReceivedShare",
    model=ReceivedShare,
    read=Permission.PATIENT_READ,
    description="What another clinic shared with this one, as it was told when the code was redeemed.",
)
class ReceivedShareType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    clinic_name: str = stored("giver_name", description="The clinic that shared.")
    categories: list[ShareCategory] = stored(description="What may be seen, unless it was revoked since.")
    purpose: SharePurpose = stored(description="What for.")
    until: datetime = stored(description="Until when, unless it was revoked since.")
    received_at: datetime = stored(description="When the code was redeemed.")


@row_type("RedeemedShare", description="What became of redeeming a share code.")
class RedeemedShareType:
    patient: PatientType | None = related(
        lambda: PatientType, key="patient_id", description="The patient, now this clinic's too; null: nothing was done."
    )
    already_here: bool = stored(description="Whether the patient was this clinic's before.")
    duplicates: list[PatientType] = related(
        lambda: PatientType,
        key="duplicate_ids",
        many=True,
        description="Patients here who may be the same person. Unless told to go on, nothing is done while there are.",
    )
    clinic_name: str | None = stored(description="The clinic that shared.")
    categories: list[ShareCategory] | None = stored(description="What may be seen.")
    purpose: SharePurpose | None = stored(description="What for.")
    until: datetime | None = stored(description="Until when.")


@row_type("SharedAppointment", description="An appointment at another clinic.")
class SharedAppointmentType:
    starts_at: datetime = stored(description="From when.")
    ends_at: datetime = stored(description="Until when.")
    status: AppointmentStatus = stored(description="What became of it.")
    doctor_name: str | None = stored(description="With whom.")
    service_name: str | None = stored(description="For what service.")


@row_type("SharedNote", description="Another clinic's notes on a patient.")
class SharedNoteType:
    text: str = stored(description="The notes.")
    written_at: datetime = stored(description="When the clinic's record was last changed.")


@row_type("SharedLabResult", description="A released lab result of another clinic.")
class SharedLabResultType:
    panel: LabPanelType = stored(description="What was ordered.")
    performed_at: datetime = stored(description="When the sample was examined.")
    observations: list[LabObservationType] = stored(description="What was measured.")
    comment: str | None = stored(description="The laboratory's comment.")


@row_type("SharedDocument", description="A document that another clinic keeps of the patient; the file stays there.")
class SharedDocumentType:
    title: str = stored(description="Its title.")
    category: DocumentCategory = stored(description="What it is.")
    content_type: str = stored(description="Its media type.")
    size: int = stored(description="Its bytes.")
    filed_at: datetime = stored(description="When it was filed there.")


def _records(category: ShareCategory) -> Callable[[Row], Any]:
    return lambda row: row["records"].get(category.value)


@row_type("SharedRecords", description="What another clinic has of a patient, by category.")
class SharedRecordsType:
    clinic_name: str = stored(description="The other clinic.")
    basis: Basis = stored(description="On the strength of what it is shown.")
    until: datetime = stored(description="Until when it may be seen.")
    appointments: list[SharedAppointmentType] | None = computed(
        "records", by=_records(ShareCategory.APPOINTMENTS), description="The latest 100; null when not opened."
    )
    notes: list[SharedNoteType] | None = computed(
        "records", by=_records(ShareCategory.NOTES), description="The clinic's notes; null when not opened."
    )
    lab_results: list[SharedLabResultType] | None = computed(
        "records",
        by=_records(ShareCategory.LAB_RESULTS),
        description="The latest 100 that were released; null when not opened.",
    )
    documents: list[SharedDocumentType] | None = computed(
        "records",
        by=_records(ShareCategory.DOCUMENTS),
        description="The latest 100, without the files; null when not opened.",
    )
    visits: list[SharedVisitType] | None = computed(
        "records", by=_records(ShareCategory.VISITS), description="The latest 100 signed; null when not opened."
    )
    prescriptions: list[SharedPrescriptionType] | None = computed(
        "records", by=_records(ShareCategory.PRESCRIPTIONS), description="The latest 100 signed; null when not opened."
    )
    imaging: list[SharedImagingType] | None = computed(
        "records", by=_records(ShareCategory.IMAGING), description="The latest 100 released; null when not opened."
    )
    procedures: list[SharedProcedureType] | None = computed(
        "records", by=_records(ShareCategory.PROCEDURES), description="The latest 100 done; null when not opened."
    )
    referrals: list[SharedReferralType] | None = computed(
        "records", by=_records(ShareCategory.REFERRALS), description="The latest 100 sent; null when not opened."
    )


@strawberry.input(description="Which share codes to list. All conditions must hold.")
class ShareCodeFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    state: ShareCodeState | None = strawberry.field(default=None, description="Of which this became.")


@strawberry.input(description="A patient to be shared with another clinic.")
class SharePatientInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    categories: list[ShareCategory] = strawberry.field(description="What the other clinic may see.")
    purpose: SharePurpose = strawberry.field(description="What for; the consent must name it.")
    until: datetime | None = strawberry.field(default=None, description="Until when; else as long as the consent.")
    consent_id: strawberry.ID | None = strawberry.field(
        default=None, description="The consent; else the longest of the patient's that covers all of it."
    )


@strawberry.input(description="A share code that a patient brought along.")
class RedeemPatientShareInput:
    code: str = strawberry.field(description="The code, in any case, with or without dashes.")
    birth_date: date = strawberry.field(description="The patient's day of birth.")
    despite_duplicates: bool = strawberry.field(
        default=False, description="Go on although there are patients here who may be the same person."
    )


@strawberry.input(description="A share to be ended.")
class RevokeShareCodeInput:
    id: strawberry.ID = strawberry.field(description="The share code.")
    version: int = strawberry.field(description="The version that the step is based on.")


def _categories(asked: list[ShareCategory] | None) -> list[ShareCategory]:
    """Those that are asked for, each with its permission; without any, all that the actor may read."""
    if asked is None:
        mine = current_scope().signed_in.permissions
        return [one for one, permission in NEEDED.items() if permission in mine]
    for one in asked:
        if one in NEEDED:
            require(NEEDED[one])
    return asked


@strawberry.type
class SharingQuery(Resolver):
    @field(Permission.CONSENT_READ, description="Share codes of this clinic, the latest first.")
    async def share_codes(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: ShareCodeFilter | None = None
    ) -> Connection[ShareCodeType]:
        chosen = filter or ShareCodeFilter()
        where: dict[str, Any] = {} if chosen.state is None else {"state": chosen.state.value}
        if chosen.patient_id is not None:
            where["patient_id"] = object_id(chosen.patient_id, "filter.patientId")
        sort = [("created_at", -1), ("_id", -1)]
        return await self.page(info, ShareCodeType, where=where, sort=sort, first=first, after=after)

    @field(Permission.PATIENT_READ, description="What other clinics shared of a patient, the latest first.")
    async def received_shares(
        self, info: Info, patient_id: strawberry.ID, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[ReceivedShareType]:
        where = {"patient_id": object_id(patient_id, "patientId")}
        sort = [("received_at", -1), ("_id", -1)]
        return await self.page(info, ReceivedShareType, where=where, sort=sort, first=first, after=after)

    @field(
        Permission.VISIT_READ,
        description="A patient's records at other clinics, as far as consents or an emergency open them now.",
    )
    async def shared_history(
        self, info: Info, patient_id: strawberry.ID, categories: Chosen = None
    ) -> list[SharedRecordsType]:
        key = object_id(patient_id, "patientId")
        return shown(await history.shared_history(key, _categories(categories)))


@strawberry.type
class SharingMutation(Resolver):
    @field(Permission.PATIENT_SHARE, description="Makes a one-time code by which another clinic gets the patient too.")
    async def share_patient(self, input: SharePatientInput) -> IssuedShareCodeType:
        issued = await codes.issue(
            object_id(input.patient_id, "input.patientId"),
            categories=input.categories,
            purpose=input.purpose,
            until=input.until,
            consent_id=object_id(input.consent_id, "input.consentId") if input.consent_id is not None else None,
        )
        return shown({"code": issued.code, "qr_svg": issued.qr_svg, "share_code": issued.row})

    @field(
        Permission.PATIENT_SHARE, description="Ends a share, whether its code was redeemed or not.", without_plan=True
    )
    async def revoke_share_code(self, input: RevokeShareCodeInput) -> ShareCodeType:
        return shown(await codes.revoke(object_id(input.id, "input.id"), input.version))

    @field(Permission.PATIENT_CREATE, description="Redeems a patient's share code: they become this clinic's too.")
    async def redeem_patient_share(self, input: RedeemPatientShareInput) -> RedeemedShareType:
        done = await redemption.redeem(input.code, input.birth_date, despite_duplicates=input.despite_duplicates)
        share = done.share or {}
        return shown(
            {
                "patient_id": done.patient_id,
                "already_here": done.already_here,
                "duplicate_ids": [row["_id"] for row in done.duplicates],
                "clinic_name": share.get("giver_name"),
                **{name: share.get(name) for name in ("categories", "purpose", "until")},
            }
        )
