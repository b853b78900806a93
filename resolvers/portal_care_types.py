"""What patients see of their care: what was signed, issued or released, and nothing that is still being worked on."""

from __future__ import annotations

from datetime import datetime

import strawberry

from app.graphql.fields import Row, computed, related, row_type, stored
from app.services.pharmacy.dispensing import remaining
from models import Dispensing, Imaging, Prescription, RefillRequest, Visit
from models.imaging import Laterality, Modality
from models.medicine import DosageForm
from models.prescription import PrescriptionStatus, RefillStatus, Route
from models.visit import EncounterClass
from resolvers.diagnoses import DiagnosisType
from resolvers.dispensing_types import DispensedLotType
from resolvers.imaging import ImagingType, last_report
from resolvers.portal_types import PortalDoctorType
from resolvers.prescription_values import COUNTED, dispensed
from resolvers.prescriptions import PrescriptionType
from resolvers.refills import RefillRequestType

DECLARED = (ImagingType, PrescriptionType, RefillRequestType)
"""Their modules declare the enums that are used here."""


@row_type("PortalVisit", model=Visit, description="A visit of the patient, once it is signed.")
class PortalVisitType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    started_at: datetime = stored(description="When it began.")
    ended_at: datetime | None = stored(description="When it ended.")
    encounter_class: EncounterClass = stored(description="How patient and clinic met.")
    reason: str | None = stored(description="Why they came.")
    diagnoses: list[DiagnosisType] = stored(description="What they have.")
    plan: str | None = stored(description="What is to be done.")
    doctor: PortalDoctorType | None = related(lambda: PortalDoctorType, key="doctor_id", description="Whom they saw.")


@row_type("PortalMedicine", description="A medicine and how it is taken.")
class PortalMedicineType:
    number: int = stored(description="Its place on the prescription, from 1.")
    name: str = stored(description="Name.")
    form: DosageForm = stored(description="What it is given as.")
    strength: str | None = stored(description="How much is in it.")
    dose: str = stored(description="How much at a time.")
    route: Route = stored(description="The way into the body.")
    frequency: str = stored(description="How often.")
    as_needed: bool = stored(description="Whether it is taken only when it is needed.")
    duration_days: int | None = stored(description="For how many days.")
    quantity: int = stored(description="How much is handed out at a time.")
    refills_left: int = stored(description="How often it may still be handed out again.")
    dispensed: int = computed("dispensed", by=dispensed, description="How much was handed out, less what came back.")
    remaining: int = computed(
        *COUNTED, by=remaining, description="How much is still to be had, as far as refills are granted."
    )
    instructions: str | None = stored(description="What else to know.")


@row_type("PortalPrescription", model=Prescription, description="A prescription of the patient, once it is signed.")
class PortalPrescriptionType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    number: str | None = stored(description="The clinic's number of it.")
    status: PrescriptionStatus = stored(description="Where it stands.")
    prescribed_at: datetime = stored(description="When it was prescribed.")
    items: list[PortalMedicineType] = stored(description="What is taken.")
    doctor: PortalDoctorType | None = related(
        lambda: PortalDoctorType, key="doctor_id", description="Who prescribed it."
    )


@row_type("PortalDispensing", model=Dispensing, description="Something that was handed out to the patient.")
class PortalDispensingType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    name: str = stored(description="What.")
    unit: str = stored(description="What is counted.")
    quantity: int = stored(description="How many units.")
    returned: int = stored(description="How many of them came back.")
    lots: list[DispensedLotType] = stored(description="From which lots, as the packages say.")
    dispensed_at: datetime = stored(description="When.")
    prescription: PortalPrescriptionType | None = related(
        lambda: PortalPrescriptionType, key="prescription_id", description="By which prescription, if by one."
    )


@row_type("PortalRefillRequest", model=RefillRequest, description="A refill that the patient needs.")
class PortalRefillRequestType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when taking it back.")
    status: RefillStatus = stored(description="What became of it.")
    item_numbers: list[int] = stored(description="Which items of the prescription.")
    note: str | None = stored(description="What was said.")
    answer: str | None = stored(description="What the clinic answers.")
    requested_at: datetime = stored(description="When it was asked for.")
    prescription: PortalPrescriptionType | None = related(
        lambda: PortalPrescriptionType, key="prescription_id", description="The prescription."
    )


def _findings(row: Row) -> str | None:
    return (last_report(row) or {}).get("findings")


def _impression(row: Row) -> str | None:
    return (last_report(row) or {}).get("impression")


@row_type("PortalImaging", model=Imaging, description="An imaging study of the patient, once its report is released.")
class PortalImagingType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    modality: Modality = stored(description="How the images were made.")
    body_site: str = stored(description="What of the body.")
    laterality: Laterality | None = stored(description="Which side.")
    performed_at: datetime | None = stored(description="When they were made.")
    findings: str | None = computed("reports", by=_findings, description="What is seen.")
    impression: str | None = computed("reports", by=_impression, description="What it means.")
