"""Visits, prescriptions, imaging, procedures and referrals of another clinic, as far as they are opened."""

from __future__ import annotations

from datetime import datetime

from app.graphql.fields import row_type, stored
from models.imaging import Laterality, Modality
from models.medicine import DosageForm
from models.prescription import PrescriptionStatus, Route
from models.procedure import ProcedureStatus
from models.referral import ReferralStatus
from models.visit import EncounterClass
from resolvers.diagnoses import DiagnosisType
from resolvers.imaging import ImagingType
from resolvers.prescriptions import PrescriptionType
from resolvers.procedures import ProcedureCodeType
from resolvers.referrals import RecipientType
from resolvers.visit_values import VitalsType

DECLARED = (ImagingType, PrescriptionType)
"""Their modules declare the enums that are used here."""


@row_type("SharedAddendum", description="What was added to a visit after it had been signed.")
class SharedAddendumType:
    at: datetime = stored(description="When.")
    text: str = stored(description="What.")


@row_type("SharedVisit", description="A signed visit at another clinic.")
class SharedVisitType:
    started_at: datetime = stored(description="When it began.")
    signed_at: datetime | None = stored(description="When it was signed.")
    doctor_name: str | None = stored(description="Who saw the patient.")
    encounter_class: EncounterClass = stored(description="How they met.")
    reason: str | None = stored(description="Why the patient came.")
    subjective: str | None = stored(description="What the patient told.")
    objective: str | None = stored(description="What was found.")
    assessment: str | None = stored(description="What was thought of it.")
    plan: str | None = stored(description="What was to be done.")
    vitals: VitalsType | None = stored(description="What was measured.")
    diagnoses: list[DiagnosisType] = stored(description="What the patient has.")
    addenda: list[SharedAddendumType] = stored(description="What was added afterwards.")


@row_type("SharedMedicine", description="A medicine and how it is taken.")
class SharedMedicineType:
    name: str = stored(description="Name.")
    form: DosageForm = stored(description="What it is given as.")
    strength: str | None = stored(description="How much is in it.")
    atc_code: str | None = stored(description="Code of the WHO's ATC classification.")
    dose: str = stored(description="How much at a time.")
    route: Route = stored(description="The way into the body.")
    frequency: str = stored(description="How often.")
    as_needed: bool = stored(description="Whether it is taken only when it is needed.")
    duration_days: int | None = stored(description="For how many days.")
    instructions: str | None = stored(description="What else the patient is to know.")


@row_type("SharedPrescription", description="A signed prescription of another clinic.")
class SharedPrescriptionType:
    prescribed_at: datetime = stored(description="When it was drafted.")
    signed_at: datetime | None = stored(description="When it was signed.")
    status: PrescriptionStatus = stored(description="Where it stands.")
    doctor_name: str | None = stored(description="Who prescribed it.")
    items: list[SharedMedicineType] = stored(description="What is taken.")


@row_type("SharedImaging", description="An imaging study of another clinic, with its released report.")
class SharedImagingType:
    modality: Modality = stored(description="How the images were made.")
    body_site: str = stored(description="What of the body.")
    laterality: Laterality | None = stored(description="Which side.")
    reason: str | None = stored(description="What was to be found out.")
    performed_at: datetime | None = stored(description="When they were made.")
    findings: str = stored(description="What is seen.")
    impression: str | None = stored(description="What it means.")


@row_type("SharedProcedure", description="A procedure that another clinic did.")
class SharedProcedureType:
    name: str = stored(description="What was done.")
    coding: ProcedureCodeType | None = stored(description="The same by a code.")
    body_site: str | None = stored(description="What of the body.")
    laterality: Laterality | None = stored(description="Which side.")
    status: ProcedureStatus = stored(description="Whether it was done or broken off.")
    doctor_name: str | None = stored(description="Who was responsible.")
    started_at: datetime | None = stored(description="When it began.")
    ended_at: datetime | None = stored(description="When it ended.")
    findings: str | None = stored(description="What was found.")
    outcome: str | None = stored(description="How it went.")
    complications: str | None = stored(description="What went otherwise.")


@row_type("SharedReferral", description="A referral that another clinic sent.")
class SharedReferralType:
    status: ReferralStatus = stored(description="Where it stands.")
    doctor_name: str | None = stored(description="Who sent the patient.")
    recipient: RecipientType | None = stored(description="To whom.")
    specialization_name: str | None = stored(description="To which field of medicine.")
    reason: str = stored(description="What was asked.")
    summary: str | None = stored(description="What they were told.")
    diagnoses: list[DiagnosisType] = stored(description="What the patient has.")
    sent_at: datetime | None = stored(description="When it was sent.")
    answer: str | None = stored(description="What came back.")
    answered_at: datetime | None = stored(description="When.")
